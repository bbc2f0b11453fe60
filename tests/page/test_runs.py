"""Runs: one at a time, streamed from a thread, stopped by the visitor who started them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from viz.page import runs

PICTURE = np.zeros((2, 2, 3), np.uint8)


def request(session: str) -> SimpleNamespace:
    return SimpleNamespace(session_hash=session)


def test_stream_thread_yields_messages_then_the_result():
    def work(report):
        report("one")
        report("two")
        return threading.current_thread()

    *messages, thread = runs.stream_thread(work)
    assert messages == ["one", "two"] and thread is not threading.current_thread()


def test_stream_thread_raises_error_of_the_work():
    def work(report):
        report("one")
        raise KeyError("two")

    news = runs.stream_thread(work)
    assert next(news) == "one"
    with pytest.raises(KeyError, match="two"):
        next(news)


def test_run_with_progress_repeats_latest_preview():
    previews = [None, PICTURE, None]

    def run(on_step):
        for step, preview in enumerate(previews):
            on_step(step, preview)
        return "a trace"

    *progress, trace = runs.run_with_progress(run, 3, threading.Event())
    assert [news["step"] for news in progress] == [1, 2, 3] and trace == "a trace"
    assert progress[0]["preview"] is None and progress[1]["preview"] == progress[2]["preview"] is not None


def test_run_with_progress_ends_at_the_step_when_stopped():
    stopped, done = threading.Event(), []

    def run(on_step):
        for step in range(3):
            done.append(step)
            if step == 1:
                stopped.set()
            on_step(step, None)

    with pytest.raises(runs.Stopped):
        list(runs.run_with_progress(run, 3, stopped))
    assert done == [0, 1]


def test_run_with_progress_does_not_begin_if_stopped_while_waiting():
    stopped, begun = threading.Event(), []
    news = runs.run_with_progress(lambda on_step: begun.append(True), 3, stopped)
    with ThreadPoolExecutor() as pool:
        with runs.hold_model():
            waiting = pool.submit(list, news)
            stopped.set()
        with pytest.raises(runs.Stopped):
            waiting.result(timeout=10)
    assert begun == []


def test_stop_runs_stops_runs_of_one_session_only():
    with runs.stoppable_run("a") as first, runs.stoppable_run("a") as second, runs.stoppable_run("b") as other:
        runs.stop_runs(request("a"))
        assert first.is_set() and second.is_set() and not other.is_set()


def test_stop_runs_stops_announced_run():
    runs.announce_run("a")
    runs.stop_runs(request("a"))
    with runs.stoppable_run("a") as stopped:
        assert stopped.is_set()
    with runs.stoppable_run("a") as stopped:  # the next run of the session is another
        assert not stopped.is_set()


def test_stoppable_run_is_stopped_and_forgotten_on_leaving():
    with runs.stoppable_run("a") as stopped:
        pass
    assert stopped.is_set() and not runs._stop_events and not runs._queued
