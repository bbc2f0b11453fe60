"""Long and short events through the real queue over HTTP: who left, who does not listen, and what is never behind."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest

from viz.page import callers
from viz.page.callers import HEAVY, Page
from viz.page.line import Line
from viz.page.runs import stoppable_run


class Server:
    """A page with a long event, `work`, which ends only when it is stopped or told to, and a short one, `look`."""

    def __init__(self) -> None:
        self.go, self.line = threading.Event(), Line(most=100)
        self._http = httpx.Client()  # making one takes a tenth of a second of processor time
        self.begun: list[str] = []
        self.ended: list[str] = []
        with Page() as self.page:
            gr.api(self.work, api_name="work", **HEAVY)
            gr.api(self.look, api_name="look")
        _, self.url, _ = self.page.queue().launch(prevent_thread_lock=True, quiet=True, max_threads=callers.THREADS)

    def work(self, name: str) -> str:
        with stoppable_run(name) as stopped, self.line.turn(stopped):
            self.begun.append(name)
            while not stopped.wait(0.02) and not self.go.is_set():
                pass
            self.ended.append(name)
        return "done"

    def look(self, name: str) -> str:
        return name

    def call(self, function: str, argument: str) -> httpx.Response:
        return self._http.post(f"{self.url}gradio_api/call/{function}", json={"data": [argument]})

    def outcome(self, function: str, event: str, timeout: float = 10) -> str:
        return self._http.get(f"{self.url}gradio_api/call/{function}/{event}", timeout=timeout).text

    def look_now(self) -> str:
        name = uuid.uuid4().hex
        return self.outcome("look", self.call("look", name).json()["event_id"])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(callers, "DEAF", 1.0)
    monkeypatch.setattr(callers, "LOOK", 0.05)
    server = Server()
    yield server
    server.go.set()
    server.page.close(verbose=False)


@contextmanager
def listening(server: Server, function: str, argument: str):
    """A caller who reads the news of its event, and leaves at the end."""
    event = server.call(function, argument).json()["event_id"]
    with httpx.stream("GET", f"{server.url}gradio_api/call/{function}/{event}", timeout=30) as answer:
        yield answer


def wait_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def test_run_ends_when_its_caller_leaves(server):
    with listening(server, "work", "a"):
        wait_for(lambda: server.begun == ["a"])
        time.sleep(2)  # longer than one may be deaf
        assert server.ended == []
    wait_for(lambda: server.ended == ["a"])


@pytest.mark.parametrize("reads", [True, False])
def test_caller_who_reads_is_there_however_many_messages_wait(monkeypatch, reads):
    monkeypatch.setattr(callers, "DEAF", 0.2)
    messages = asyncio.Queue()
    queue = SimpleNamespace(pending_messages_per_session={"one": messages})
    caller = callers.Caller(queue, SimpleNamespace(alive=True, session_hash="one", request=None))
    for _ in range(2):
        messages.put_nowait(object())
    gone = []
    for _ in range(12):
        gone.append(caller.is_gone())
        messages.put_nowait(object())  # a run that reports often: never empty when one looks
        if reads:
            messages.get_nowait()
        time.sleep(0.05)
    assert any(gone) == (not reads)


def test_calls_that_nobody_comes_back_for_end(server):
    for number in range(30):
        server.call("work", str(number))
    wait_for(lambda: server.begun and len(server.ended) == len(server.begun) and len(server.page._queue) == 0)
    with listening(server, "work", "a listener"):
        wait_for(lambda: server.begun[-1] == "a listener")


def listen(server: Server, name: str) -> str:
    while (answer := server.call("work", name)).status_code == 503:  # too many at once
        time.sleep(0.1)
    return server.outcome("work", answer.json()["event_id"])


@contextmanager
def releasing(server: Server):
    """Let its runs end after the block, however that ends."""
    try:
        yield
    finally:
        server.go.set()


def test_who_listens_is_served_however_long_it_takes(server, monkeypatch):
    """Messages about their places are on their way at any time, also when the queue looks."""
    monkeypatch.setattr(callers, "DEAF", 3.0)
    count = callers.HEAVY["concurrency_limit"] + 8
    with ThreadPoolExecutor(count) as threads:
        answers = [threads.submit(listen, server, str(number)) for number in range(count)]
        with releasing(server):
            wait_for(lambda: len(server.page._queue) == 8)
            time.sleep(4)  # longer than one may be deaf
            waiting = len(server.page._queue)
        texts = [answer.result(20) for answer in answers]
    assert waiting == 8 and all("event: complete" in text for text in texts)


def test_who_did_not_read_is_dropped_and_told_when_they_come_back(server, monkeypatch):
    monkeypatch.setattr(callers, "DEAF", 3.0)
    count = callers.HEAVY["concurrency_limit"]
    with ThreadPoolExecutor(count) as threads:
        answers = [threads.submit(listen, server, str(number)) for number in range(count)]
        with releasing(server):
            wait_for(lambda: server.begun and len(server.line) == count)
            deaf = server.call("work", "deaf").json()["event_id"]
            wait_for(lambda: len(server.page._queue) == 1)
            wait_for(lambda: len(server.page._queue) == 0)
            told = server.outcome("work", deaf)
        texts = [answer.result(20) for answer in answers]
    assert "event: error" in told and callers.AWAY in told and "deaf" not in server.begun
    assert all("event: complete" in text for text in texts)


def test_short_events_are_never_behind_long_ones(server, monkeypatch):
    monkeypatch.setattr(callers, "DEAF", 60)
    answers = [server.call("work", str(number)) for number in range(60)]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused and all("Please try again" in answer.json()["detail"] for answer in refused)
    began = time.monotonic()
    assert "event: complete" in server.look_now()
    assert time.monotonic() - began < 5


def test_session_can_not_fill_the_queue(server, monkeypatch):
    monkeypatch.setattr(callers, "DEAF", 60)
    monkeypatch.setattr(callers, "PER_SESSION", 5)
    url, body = f"{server.url}gradio_api/queue/join", {"fn_index": 0, "session_hash": "one"}
    answers = [httpx.post(url, json=body | {"data": [str(number)]}) for number in range(24 + 5 + 3)]
    assert [answer.status_code for answer in answers[:24]] == [200] * 24
    assert answers[-1].status_code == 503 and "This page has asked for too much" in answers[-1].json()["detail"]
    assert server.call("work", "another").status_code == 200


def test_functions_can_not_be_called_past_the_queue(server):
    answer = httpx.post(f"{server.url}gradio_api/run/work", json={"data": ["a"]})
    assert answer.status_code == 404 and server.begun == []


def test_no_caller_outside_of_the_queue():
    assert callers.present_caller() is None
    with stoppable_run("a") as stopped:
        assert not stopped.is_set()
