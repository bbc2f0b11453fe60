"""The store of traces: one run per recipe, whole files or none, within its limit, whatever the disk does."""

import errno
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.support.stores import OTHER, RECIPE, Maker, follow
from tests.support.traces import trace_of_segments
from viz import Trace
from viz.page import store as module
from viz.page.progress import describe_progress
from viz.page.runs import Stopped
from viz.page.store import Store, address
from viz.recipe import Recipe


@pytest.fixture
def make():
    maker = Maker()
    maker.go.set()
    return maker


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    return tmp_path / "store"


def wait_for(store: Store, count: int) -> None:
    """Wait until that many wait for a run."""
    deadline = time.monotonic() + 10
    while sum(len(run.waiting) for run in list(store._runs.values())) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_idle(store: Store) -> None:
    """Wait until no run is left: one that was stopped ends at its next step."""
    deadline = time.monotonic() + 10
    while store._runs:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "locks")


def test_address_depends_on_all_that_a_trace_depends_on():
    recipe = Recipe("a red monster", 3, 25, 2)
    others = [replace(recipe, caption="a red monster "), replace(recipe, seed=4), replace(recipe, steps=24)]
    others += [replace(recipe, guidance=2.5), replace(recipe, revision="1cf47f349234")]
    addresses = {address(each, both=both) for each in [recipe, *others] for both in (False, True)}
    expected = 12 if replace(recipe, revision="1cf47f349234").weights != recipe.weights else 10
    assert len(addresses) == expected and all(len(each) == 64 for each in addresses)
    assert address(recipe) == address(replace(recipe, guidance=2.0, versions={"torch": "1"}))
    assert address(recipe) == address(replace(recipe, revision=recipe.weights))
    unguided = replace(recipe, guidance=1)
    assert address(unguided) == address(unguided, both=True)


@pytest.mark.parametrize("changed", ["FORMAT", "VERSION", "BROWSER_STEPS", "versions"])
def test_file_of_another_program_is_not_found(folder, make, monkeypatch, changed):
    store = Store(folder)
    follow(store, make)
    assert store.find(RECIPE) is not None
    monkeypatch.setattr(module, changed, (lambda: {"torch": "0"}) if changed == "versions" else 99)
    assert store.find(RECIPE) is None


def test_follow_tells_the_progress_and_keeps_the_trace(folder, make):
    store = Store(folder)
    assert store.find(RECIPE) is None and not folder.exists()
    *news, kept = store.follow(RECIPE, make, threading.Event())
    assert [value["step"] for value in news] == [1, 2]
    assert store.find(RECIPE) == kept.path and kept.path.parent == folder and kept.problem == ""
    assert store.find(RECIPE, both=True) is None and store.find(OTHER) is None
    assert Trace.load(kept.path).recipe == trace_of_segments().recipe
    assert list(store.follow(RECIPE, make, threading.Event())) == [kept] and make.runs == 1
    assert list(Store(folder).follow(RECIPE, make, threading.Event())) == [kept] and make.runs == 1


def test_many_who_ask_at_once_get_one_run(folder):
    store, make = Store(folder), Maker()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(lambda: list(store.follow(RECIPE, make, threading.Event())))
        assert make.begun.wait(10)
        others = [pool.submit(lambda: list(store.follow(RECIPE, make, threading.Event()))) for _ in range(7)]
        wait_for(store, 8)
        make.go.set()
        results = [each.result(timeout=10) for each in (first, *others)]
    assert make.runs == 1 and len({result[-1] for result in results}) == 1
    assert all([value["step"] for value in result[:-1]] == [1, 2] for result in results)  # also of those who came late
    assert files(folder) == [results[0][-1].path.name]


def test_run_goes_on_while_anyone_waits_and_stops_with_the_last(folder):
    store, make = Store(folder), Maker()
    stops = [threading.Event(), threading.Event()]
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(lambda stop=stop: list(store.follow(RECIPE, make, stop))) for stop in stops]
        wait_for(store, 2)
        stops[0].set()
        with pytest.raises(Stopped):
            waiting[0].result(timeout=10)
        run = next(iter(store._runs.values()))
        assert not run.stopped.is_set()
        stops[1].set()
        with pytest.raises(Stopped):
            waiting[1].result(timeout=10)
    assert run.stopped.is_set()
    wait_until_idle(store)
    assert make.runs == 1 and store.find(RECIPE) is None
    make.go.set()
    assert follow(store, make).path.is_file() and make.runs == 2


def test_run_in_the_background_stops_for_others_but_not_once_somebody_waits(folder):
    store, make = Store(folder), Maker()
    with ThreadPoolExecutor() as pool:
        ahead = pool.submit(follow, store, make, background=True)
        assert make.begun.wait(10)
        store.stop_background()
        with pytest.raises(Stopped):
            ahead.result(timeout=10)
        make.begun.clear()
        ahead = pool.submit(follow, store, make, background=True)
        assert make.begun.wait(10)
        visitor = pool.submit(follow, store, make)
        wait_for(store, 2)
        store.stop_background()
        make.go.set()
        assert visitor.result(timeout=10) == ahead.result(timeout=10) and make.runs == 2


def test_visitor_who_joins_a_run_that_was_just_stopped_begins_another(folder):
    store, make = Store(folder), Maker()
    with ThreadPoolExecutor() as pool:
        ahead = pool.submit(follow, store, make, background=True)
        assert make.begun.wait(10)
        with store._guard:
            next(iter(store._runs.values())).stopped.set()
        visitor = pool.submit(follow, store, make)
        with pytest.raises(Stopped):
            ahead.result(timeout=10)
        make.go.set()
        assert visitor.result(timeout=10).path.is_file() and make.runs == 2


def test_error_of_a_run_reaches_all_and_nothing_is_kept(folder, make):
    def fails(stopped):
        yield describe_progress(1, 2)
        raise ValueError("the model is broken")

    store = Store(folder)
    with pytest.raises(ValueError, match="the model is broken"):
        follow(store, fails)
    assert files(folder) == [] and store._runs == {}
    assert follow(store, make).path.is_file()


def test_least_recently_used_go_first(folder, make):
    size = follow(Store(folder), make).path.stat().st_size
    store = Store(folder, limit=int(2.5 * size))
    recipes = [replace(RECIPE, seed=seed) for seed in range(4)]
    store.find(RECIPE)
    os.utime(next(folder.glob("*.safetensors")), (0, 0))
    for number, recipe in enumerate(recipes[:2]):
        path = follow(store, make, recipe).path
        os.utime(path, (number + 1, number + 1))
    assert [store.find(recipe) is not None for recipe in (RECIPE, *recipes[:2])] == [False, True, True]
    os.utime(store.find(recipes[1]), (5, 5))
    assert store.find(recipes[0]) is not None  # used now
    follow(store, make, recipes[2])
    assert [store.find(recipe) is not None for recipe in recipes] == [True, False, True, False]


def test_newest_is_kept_even_if_it_exceeds_the_limit(folder, make):
    store = Store(folder, limit=1)
    for recipe in (RECIPE, OTHER):
        assert follow(store, make, recipe).path.is_file() and len(files(folder)) == 1


def test_limit_of_nothing_keeps_nothing(folder, make, tmp_path):
    store = Store(folder, limit=0)
    kept = follow(store, make)
    assert kept.path.is_relative_to(tmp_path / "gradio") and kept.problem == "" and not folder.exists()
    follow(store, make)
    assert make.runs == 2


@pytest.mark.parametrize("damage", ["short", "altered", "empty"])
def test_damaged_file_is_thrown_away_and_made_again(folder, make, damage):
    store = Store(folder)
    path = follow(store, make).path
    content = path.read_bytes()
    altered = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    path.write_bytes({"short": content[:-1], "altered": altered, "empty": b""}[damage])
    os.utime(path, (1, 1))  # even by another process
    assert store.find(RECIPE) is None and files(folder) == []
    assert follow(store, make).path.read_bytes() == content and make.runs == 2


def test_folder_that_vanished_is_made_again(folder, make):
    store = Store(folder)
    for path in [follow(store, make).path, *(folder / "locks").iterdir()]:
        path.unlink()
    (folder / "locks").rmdir()
    folder.rmdir()
    assert store.find(RECIPE) is None
    assert follow(store, make).path.is_file() and make.runs == 2


def test_full_disk_is_survived_with_a_sentence(folder, make, monkeypatch, tmp_path):
    fsync, calls = os.fsync, []

    def full(number):
        calls.append(number)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    store = Store(folder)
    kept = follow(store, make)
    assert kept.problem == "This trace could not be kept for next time: No space left on device."
    assert kept.path.is_relative_to(tmp_path / "gradio") and Trace.load(kept.path).steps == [0, 4, 6]
    assert files(folder) == []
    calls.clear()
    with pytest.raises(OSError, match="could not be kept"):  # nobody waits for it, so it is not written elsewhere
        follow(store, make, background=True)
    monkeypatch.setattr(os, "fsync", fsync)
    assert follow(store, make).problem == ""


def test_disk_that_is_full_everywhere_is_an_error_for_all_who_wait(folder, make, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        follow(Store(folder), make)
    assert files(folder) == []


def test_folder_that_cannot_be_made_is_survived_with_a_sentence(folder, make, tmp_path):
    folder.write_text("a file where the folder should be")
    store = Store(folder)
    assert store.find(RECIPE) is None
    store.sweep()
    kept = follow(store, make)
    assert kept.problem.endswith("Not a directory.") or kept.problem.endswith("File exists.")
    assert kept.path.is_relative_to(tmp_path / "gradio") and kept.path.is_file()


# Follows the recipe; prints a line for each run, and "writing" while the file is half written.
PROGRAM = """
import os, sys, threading, time
from tests.page.test_store import RECIPE
from tests.support.stores import OTHER, RECIPE, Maker, follow
from tests.support.traces import trace_of_segments
from viz.page.store import Store

def make(stopped):
    print("a run", flush=True)
    time.sleep(0.5)
    yield trace_of_segments()

if sys.argv[2] == "hang":
    os.fsync = lambda number: (print("writing", flush=True), time.sleep(60))
*_, kept = Store(sys.argv[1]).follow(RECIPE, make, threading.Event())
print(kept.path.name, flush=True)
"""


def start(folder, how: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, folder, how], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_make_one_run(folder):
    outputs = [process.communicate(timeout=120)[0].split("\n") for process in [start(folder, "") for _ in range(2)]]
    assert sorted(len(output) for output in outputs) == [2, 3]  # with "a run", and without
    assert outputs[0][-2] == outputs[1][-2] == files(folder)[0]


@pytest.mark.slow
def test_process_killed_while_it_writes_leaves_nothing_that_is_found(folder, make):
    process = start(folder, "hang")
    assert process.stdout is not None
    try:
        assert [process.stdout.readline() for _ in range(2)] == ["a run\n", "writing\n"]
        (partial,) = files(folder)
        store = Store(folder)
        store.sweep()  # not while it is being written
        assert files(folder) == [partial] and store.find(RECIPE) is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    store.sweep()
    assert files(folder) == []
    assert follow(store, make).path.is_file() and make.runs == 1
