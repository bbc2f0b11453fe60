"""Closing pages, over HTTP: each is noticed, and none costs the server a session."""

from __future__ import annotations

import time
from contextlib import ExitStack

import gradio as gr
import httpx
import pytest
from starlette.middleware import Middleware

from tests.support.chromium import server
from viz.page.leaving import Leaving, is_open


@pytest.fixture
def plain():
    """The address of a page, the page, and the sessions that left it."""
    left: list[str] = []
    with gr.Blocks() as page:
        gr.State(0)
    middleware = [Middleware(Leaving, leave=left.append)]
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, app_kwargs={"middleware": middleware})
    yield url, page, left
    page.close()


def test_closed_pages_are_noticed_and_make_no_sessions(plain):
    url, page, left = plain
    names, lines = [f"session{number}" for number in range(20)], []
    limits = httpx.Limits(max_connections=50)
    with httpx.Client(limits=limits, timeout=10) as client, ExitStack() as open_pages:
        for name in names:
            stream = open_pages.enter_context(client.stream("GET", f"{url}gradio_api/heartbeat/{name}"))
            lines.append(stream.iter_lines())  # kept: a stream is closed with its iterator
            assert next(lines[-1]) == "data: ALIVE"
        assert left == [] and all(map(is_open, names))
    deadline = time.monotonic() + 10
    while len(left) < len(names) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sorted(left) == sorted(names) and not any(map(is_open, names))
    assert len(page.state_holder.session_data) == 0


def test_other_requests_are_no_leaving(plain):
    url, _, left = plain
    assert httpx.get(url).status_code == 200 and httpx.get(f"{url}gradio_api/info").status_code == 200
    time.sleep(0.2)
    assert left == []


@pytest.mark.slow
def test_many_pages_closed_at_once_silence_nobody():
    """The page itself, each of whose sessions has done something: 300 of them once took 34 seconds."""
    count, waits = 60, []
    limits = httpx.Limits(max_connections=2 * count)
    with server() as (url, _), httpx.Client(limits=limits, timeout=60, base_url=url) as client:
        listed = next(each for each in client.get("/config").json()["dependencies"] if each["api_name"] == "models")
        with ExitStack() as open_pages:
            lines = []
            for name in (f"session{number}" for number in range(count)):
                stream = open_pages.enter_context(client.stream("GET", f"/gradio_api/heartbeat/{name}"))
                lines.append(stream.iter_lines())
                assert next(lines[-1]) == "data: ALIVE"
                client.post("/gradio_api/queue/join", json={"fn_index": listed["id"], "data": [], "session_hash": name})
                assert "process_completed" in client.get("/gradio_api/queue/data", params={"session_hash": name}).text
        end = time.monotonic() + 3
        while time.monotonic() < end:
            began = time.monotonic()
            assert client.get("/theme.css").status_code == 200
            waits.append(time.monotonic() - began)
    assert max(waits) < 2
