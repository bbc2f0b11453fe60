"""Following the gallery's recipes in the background: for all exhibits, and never in front of a visitor."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from viz import Trace
from viz.page import ahead, runs
from viz.page.gallery import exhibits
from viz.page.line import Stopped
from viz.page.store import Store

EXHIBITS = exhibits()[:2]


@pytest.fixture
def kept(tmp_path, monkeypatch, tiny_pipeline):
    """A store of its own, and a tiny model in place of the bundled one."""
    monkeypatch.setattr(ahead, "store", own := Store(tmp_path / "store"))
    monkeypatch.setattr(ahead, "load_bundled", lambda recipe: tiny_pipeline)
    monkeypatch.setattr(ahead, "PAUSE", 0)
    monkeypatch.setattr(ahead, "exhibits", lambda: EXHIBITS)
    monkeypatch.setattr(runs, "before_visitors", [own.stop_background])
    return own


def test_follow_ahead_keeps_every_exhibit_whole(kept):
    ahead.follow_ahead()
    paths = [kept.find(exhibit.recipe) for exhibit in EXHIBITS]
    assert len(set(paths)) == len(EXHIBITS) and None not in paths
    assert all(Trace.load(path).steps == list(range(25)) for path in paths)


def test_follow_ahead_gives_way_to_visitors_and_goes_on_afterwards(kept, monkeypatch):
    begun, stopped = threading.Event(), []
    follow = ahead.follow_recipe

    def observed(*arguments, **options):
        try:
            for update in follow(*arguments, **options):
                begun.set()
                yield update
        except Stopped:
            stopped.append(arguments[0])
            raise

    monkeypatch.setattr(ahead, "follow_recipe", observed)
    with ThreadPoolExecutor() as pool:
        following = pool.submit(ahead.follow_ahead)
        assert begun.wait(60)
        with runs.hold_model():  # as a visitor's run does
            while not stopped:
                assert not following.done()
            begun.clear()
            assert not begun.wait(0.3), "a run in the background begins while a visitor's is in progress"
        following.result(timeout=120)
    assert len(stopped) == 1 and all(kept.find(exhibit.recipe) for exhibit in EXHIBITS)


def test_run_in_the_background_does_not_begin_while_a_visitor_waits(kept, tiny_pipeline):
    recipe = EXHIBITS[1].recipe
    with runs._as_visitor(), pytest.raises(Stopped):
        list(runs.follow_recipe(recipe, tiny_pipeline, threading.Event(), background=True))


def test_follow_ahead_ends_where_nothing_can_be_kept(kept, monkeypatch):
    followed = []
    monkeypatch.setattr(ahead, "_follow", followed.append)
    kept.limit = 0
    ahead.follow_ahead()
    assert followed == []
    monkeypatch.undo()


def test_follow_ahead_ends_when_the_disk_is_full(kept):
    kept.folder.write_text("a file where the folder should be")
    ahead.follow_ahead()
    assert kept.find(EXHIBITS[1].recipe) is None
