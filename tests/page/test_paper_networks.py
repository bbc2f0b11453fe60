"""Loading a paper's network for the story: one at a time, and not for a visitor who has left."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import gradio as gr
import pytest
from torch import nn

import models
from viz.lesson import papers
from viz.page import callers, runs
from viz.page.line import Stopped, line
from viz.page.paper_networks import paper_network
from viz.page.runs import opening_lock
from viz.page.tabs import lesson
from viz.recipe import Recipe

NAME, PARTS = "critters-sagan", 100
NOTHING = gr.skip()


class Loading:
    """Stands in for loading a paper's network: it makes as many parts as `PARTS`, slowly, and then loads it really."""

    def __init__(self) -> None:
        self.made: list[nn.Module] = []
        self.on_third = lambda: None
        self._load = models.load

    def __call__(self, name: str, **options: object):
        while name == NAME and len(self.made) < PARTS:
            self.made.append(nn.Linear(1, 1))
            if len(self.made) == 3:
                self.on_third()
            time.sleep(0.02)
        return self._load(name, **options)


@pytest.fixture
def loading(monkeypatch):
    loading = Loading()
    monkeypatch.setattr(models, "load", loading)
    papers._loaded.clear()
    yield loading
    papers._loaded.clear()


def test_layers_of_a_network_are_not_waited_for_once_its_visitor_left(loading, monkeypatch):
    gone = threading.Event()
    monkeypatch.setattr(callers, "present_caller", lambda: SimpleNamespace(is_gone=gone.is_set))
    monkeypatch.setattr(callers, "LOOK", 0.05)
    loading.on_third = gone.set
    assert lesson._list_layers([lesson.BUNDLED], NAME, "") == (NOTHING,) * 4
    assert 3 <= len(loading.made) < PARTS and not papers.is_loaded(NAME) and not opening_lock.locked()
    gone.clear()
    layers = lesson._list_layers([lesson.BUNDLED], NAME, "")[2]
    assert "up.2.attention" in layers["choices"] or ("up.2.attention", "up.2.attention") in layers["choices"]
    assert len(loading.made) == PARTS and papers.is_loaded(NAME)


def test_story_of_a_network_is_not_begun_once_its_visitor_left(loading):
    loading.on_third = lambda: runs.leave("A")
    chosen = lesson._to_choice(Recipe("a red monster", seed=3, steps=1))
    request = SimpleNamespace(session_hash="A")
    assert lesson._show_layer([], NAME, chosen, "up.2.attention", 0, request) == (NOTHING, NOTHING)
    assert 3 <= len(loading.made) < PARTS and len(line) == 0 and not opening_lock.locked()


def test_network_waits_until_another_model_is_open(loading):
    """While diffusers opens one, every thread makes tensors without storage."""
    stopped = threading.Event()
    with opening_lock:
        threading.Timer(0.3, stopped.set).start()
        with pytest.raises(Stopped):
            paper_network(NAME, stopped)
    assert loading.made == []
    network = paper_network(NAME, threading.Event())
    with opening_lock:
        assert paper_network(NAME, stopped) is network  # it is loaded: nothing to wait for
