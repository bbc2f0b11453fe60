"""Runs: one at a time, streamed from a thread, stopped by the visitor who started them."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest

import models
from viz.page import runs
from viz.page.line import Busy, Stopped
from viz.page.store import Store
from viz.page.tabs import generate
from viz.page.tabs.generate import Wanted, draw
from viz.recipe import Recipe

PICTURE = np.zeros((2, 2, 3), np.uint8)
WANTED = Wanted(Recipe("a red monster", steps=2))


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


def test_stream_thread_leaves_work_that_takes_long_once_stopped():
    stopped, end, ended = threading.Event(), threading.Event(), threading.Event()

    def work(report):
        report("one")
        end.wait(timeout=10)
        ended.set()

    news = runs.stream_thread(work, stopped)
    assert next(news) == "one"
    stopped.set()
    with pytest.raises(Stopped):
        next(news)
    assert not ended.is_set()
    end.set()
    assert ended.wait(timeout=10)  # the thread was not lost


class SlowLoader:
    """Stands in for `models.load`, and returns the pipeline once it is told to."""

    def __init__(self, pipeline):
        self.pipeline, self.go, self.loads = pipeline, threading.Event(), 0

    def __call__(self, name, revision):
        self.loads += 1
        assert self.go.wait(timeout=30)
        return self.pipeline


@pytest.fixture
def loader(tiny_pipeline, monkeypatch, tmp_path):
    """A server that has just been started, and whose model takes long to load."""
    loader = SlowLoader(tiny_pipeline)
    monkeypatch.setattr(models, "load", loader, raising=False)
    monkeypatch.setattr(runs, "_bundled", {})
    monkeypatch.setattr(generate, "store", Store(tmp_path / "store"))
    yield loader
    loader.go.set()


def test_first_run_says_that_the_model_is_loading_and_goes_on_once_it_is(loader):
    threading.Thread(target=runs.load_bundled).start()  # as `main` does
    news = draw(WANTED, "a visitor")
    _, strip = next(news)
    assert strip == {"step": 0, "steps": 2, "preview": None, "note": "Loading the model…"}
    loader.go.set()
    strips = [strip for _, strip in news]
    assert [strip["step"] for strip in strips[:-1]] == [0, 1, 2] and not any("note" in strip for strip in strips[:-1])
    assert strips[-1] is None and loader.loads == 1
    _, strip = next(draw(Wanted(Recipe("a red monster", seed=1, steps=2)), "a visitor"))
    assert strip["step"] == 1  # the second run waits for nothing


def test_run_stopped_while_the_model_loads_never_begins(loader):
    news = draw(WANTED, "a visitor")
    next(news)
    runs.stop_runs(request("a visitor"))
    ((_, strip),) = news
    assert strip is None and not loader.go.is_set()
    loader.go.set()
    assert runs.load_bundled() is loader.pipeline and loader.loads == 1  # loading went on


def test_run_that_cannot_load_its_model_says_why(loader, monkeypatch, caplog):
    warnings = []
    monkeypatch.setattr("viz.page.tabs.generate.warn", warnings.append)
    monkeypatch.setattr(models, "load", lambda name, revision: 1 / 0)
    *_, (_, strip) = draw(WANTED, "a visitor")
    assert strip is None and warnings == ["The picture could not be drawn and recorded: division by zero."]


def test_load_bundled_does_not_wait_for_another_model_once_it_is_loaded(loader):
    loader.go.set()
    runs.load_bundled()
    with runs.opening_lock:
        assert runs.load_bundled() is loader.pipeline


def test_run_with_progress_repeats_latest_preview():
    previews = [None, PICTURE, None]

    def run(on_step):
        for step, preview in enumerate(previews):
            on_step(step, preview)
        return "a trace"

    *progress, trace = runs.run_with_progress(run, 3, threading.Event())
    assert [news["step"] for news in progress] == [1, 2, 3] and trace == "a trace"
    assert progress[0]["preview"] is None and progress[1]["preview"] == progress[2]["preview"] is not None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, a thread has no priority of its own")
def test_runs_go_behind_what_is_answered_at_once_and_runs_in_the_background_behind_those():
    def priorities(on_step):  # of the run's thread, and of one that it starts, as torch does
        with ThreadPoolExecutor(1) as pool:
            started = pool.submit(own).result()
        return own(), started

    def own():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = own()
    if before > 4:
        pytest.skip("the tests themselves run with so low a priority that nothing lies below it")
    (visitors,) = runs.run_with_progress(priorities, 1, threading.Event())
    (background,) = runs.run_with_progress(priorities, 1, threading.Event(), background=True)
    assert own() == before < visitors[0] == visitors[1] < background[0] == background[1]


def test_run_with_progress_ends_at_the_step_when_stopped():
    stopped, done = threading.Event(), []

    def run(on_step):
        for step in range(3):
            done.append(step)
            if step == 1:
                stopped.set()
            on_step(step, None)

    with pytest.raises(Stopped):
        list(runs.run_with_progress(run, 3, stopped))
    assert done == [0, 1]


def test_run_with_progress_does_not_begin_if_stopped_while_waiting():
    stopped, begun = threading.Event(), []
    news = runs.run_with_progress(lambda on_step: begun.append(True), 3, stopped)
    with ThreadPoolExecutor() as pool:
        with runs.hold_model():
            waiting = pool.submit(list, news)
            stopped.set()
        with pytest.raises(Stopped):
            waiting.result(timeout=10)
    assert begun == []


def test_stop_runs_stops_runs_of_one_session_only():
    with runs.stoppable_run("a") as first, runs.stoppable_run("a") as second, runs.stoppable_run("b") as other:
        runs.stop_runs(request("a"))
        assert first.is_set() and second.is_set() and not other.is_set()


def test_stop_runs_stops_announced_run():
    runs.announce_run("a", "first")
    runs.stop_runs(request("a"))
    with runs.stoppable_run("a", "first") as stopped:
        assert stopped.is_set()
    with runs.stoppable_run("a") as stopped:  # the next run of the session is another
        assert not stopped.is_set()


def test_run_that_was_refused_and_stopped_does_not_stop_the_next_one():
    """Gradio's queue may be full after a run was announced: it never begins, and the visitor presses Stop."""
    runs.announce_run("a", "refused")
    runs.stop_runs(request("a"))
    runs.announce_run("a", "next")
    with runs.stoppable_run("a", "next") as stopped:
        assert not stopped.is_set()
    runs.leave("a")
    assert not runs._stop_events and not runs._announced


def test_refused_runs_are_forgotten_in_the_end():
    for number in range(50):
        runs.announce_run("a", str(number))
    assert len(runs._stop_events["a"]) == len(runs._announced["a"]) == runs.MOST_RUNS
    runs.leave("a")
    assert not runs._stop_events and not runs._announced


def test_session_has_so_many_runs_and_others_are_not_affected():
    with ExitStack() as stack:
        for _ in range(runs.MOST_RUNS):
            stack.enter_context(runs.stoppable_run("a"))
        with pytest.raises(Busy, match="6 runs under way"), runs.stoppable_run("a"):
            pass
        with runs.stoppable_run("b"):
            pass
    with runs.stoppable_run("a"):
        pass


def test_stoppable_run_is_stopped_and_forgotten_on_leaving():
    with runs.stoppable_run("a") as stopped:
        pass
    assert stopped.is_set() and not runs._stop_events and not runs._announced


def test_run_says_how_many_come_first_and_begins_when_they_are_done():
    with ThreadPoolExecutor() as pool:
        with runs.hold_model():
            news = runs.run_with_progress(lambda on_step: "a trace", 3, threading.Event())
            assert next(news)["note"] == "One run comes first."
        assert list(pool.submit(list, news).result(timeout=10))[-1] == "a trace"
