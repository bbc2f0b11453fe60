"""Closing pages, over HTTP: each is noticed, and none costs the server a session."""

from __future__ import annotations

import time
from contextlib import ExitStack

import gradio as gr
import httpx
import pytest
from starlette.middleware import Middleware

from viz.page.leaving import Leaving


@pytest.fixture
def server():
    """The address of a page, the page, and the sessions that left it."""
    left: list[str] = []
    with gr.Blocks() as page:
        gr.State(0)
    middleware = [Middleware(Leaving, leave=left.append)]
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, app_kwargs={"middleware": middleware})
    yield url, page, left
    page.close()


def test_closed_pages_are_noticed_and_make_no_sessions(server):
    url, page, left = server
    names, lines = [f"session{number}" for number in range(20)], []
    limits = httpx.Limits(max_connections=50)
    with httpx.Client(limits=limits, timeout=10) as client, ExitStack() as open_pages:
        for name in names:
            stream = open_pages.enter_context(client.stream("GET", f"{url}gradio_api/heartbeat/{name}"))
            lines.append(stream.iter_lines())  # kept: a stream is closed with its iterator
            assert next(lines[-1]) == "data: ALIVE"
        assert left == []
    deadline = time.monotonic() + 10
    while len(left) < len(names) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sorted(left) == sorted(names)
    assert len(page.state_holder.session_data) == 0


def test_other_requests_are_no_leaving(server):
    url, _, left = server
    assert httpx.get(url).status_code == 200 and httpx.get(f"{url}gradio_api/info").status_code == 200
    time.sleep(0.2)
    assert left == []
