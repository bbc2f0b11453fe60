"""Opening the page with a link, and drawing what it asks for."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from viz import Trace
from viz.page import runs
from viz.page.gallery import exhibits
from viz.page.links import encode
from viz.page.store import Store
from viz.page.tabs import generate, link
from viz.page.tabs.generate import Wanted
from viz.recipe import Recipe
from viz.trace_header import read_description
from viz.view import View, WordQuery

SKIP = gr.skip()


@pytest.fixture
def warnings(monkeypatch):
    """The warnings shown so far."""
    warnings = []
    for module in (link, generate):
        monkeypatch.setattr(module, "warn", warnings.append)
    return warnings


@pytest.fixture
def pipeline(tiny_pipeline, monkeypatch):
    """A tiny pipeline in place of the bundled one."""
    monkeypatch.setattr(runs, "_bundled", {Recipe("a monster").weights: tiny_pipeline})
    return tiny_pipeline


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A store of its own, in place of the page's."""
    monkeypatch.setattr(generate, "store", own := Store(tmp_path / "store"))
    return own


REQUEST: Any = SimpleNamespace(session_hash="a visitor")


def open_link(text: str | None) -> tuple:
    query = {} if text is None else {"look": text}
    request: Any = SimpleNamespace(query_params=query, session_hash="a visitor")
    return link._open_link(request)


def draw(recipe: Recipe, view: View | None = None, both: bool = False) -> list[tuple]:
    return list(generate.draw(Wanted(recipe, view, both), "a visitor"))


def test_open_link_changes_nothing_without_a_link(warnings):
    assert open_link(None) == (SKIP,) * 8 and warnings == []


def test_open_link_warns_of_a_damaged_link(warnings):
    assert open_link("<img>") == (SKIP,) * 8
    assert len(warnings) == 1 and "Here is a recorded picture instead." in warnings[0]


def test_open_link_shows_exhibit_at_once(warnings):
    exhibit = exhibits()[0]
    view = View(exhibit.point, exhibit.layer, exhibit.steps[1], exhibit.head)
    shown, strip, pending, *fields = open_link(encode(Recipe(exhibit.caption, exhibit.seed), view))
    assert shown["trace"]["path"] == str(exhibit.trace) and View.from_json(shown["view"]) == view
    assert (strip, pending) == (SKIP, SKIP) and fields == [exhibit.caption, exhibit.seed, 25, 1.5, False]
    assert warnings == []


def test_open_link_warns_if_exhibit_lacks_the_layer(warnings):
    exhibit = exhibits()[0]
    open_link(encode(exhibit.recipe, View((0.5, 0.5), "no.such.layer", exhibit.steps[0])))
    assert len(warnings) == 1 and "the layer “no.such.layer”" in warnings[0]


@pytest.mark.parametrize(
    "shown", [{"branch": "unconditional"}, {"branch": "difference"}], ids=lambda shown: shown["branch"]
)
def test_open_link_draws_again_what_the_exhibit_does_not_hold(warnings, kept, shown):
    """The other half of guidance, or another step."""
    exhibit = exhibits()[0]
    for view in (View(exhibit.point, exhibit.layer, exhibit.step, **shown), replace(exhibit.view, step=1)):
        opened, strip, wanted, *_, both = open_link(encode(exhibit.recipe, view))
        assert opened == SKIP and (strip["step"], strip["steps"]) == (0, 25)
        assert (wanted.recipe, wanted.view, wanted.both) == (exhibit.recipe, view, both)
        assert both is (view.branch is not None)
        with runs.stoppable_run("a visitor"):
            pass


@pytest.mark.parametrize(
    "shown", [{"pins": (WordQuery("eyes"),), "active": -1}, {"winner": True}], ids=lambda shown: "-".join(shown)
)
def test_open_link_draws_again_if_the_exhibit_lacks_words(warnings, monkeypatch, kept, shown):
    exhibit = exhibits()[0]
    view = replace(exhibit.view, **shown)
    assert open_link(encode(exhibit.recipe, view))[0]["trace"]["path"] == str(exhibit.trace)  # it has words
    description = read_description(exhibit.trace)
    del description["words"]
    monkeypatch.setattr(generate, "read_description", lambda path: description)
    opened, _, wanted, *_ = open_link(encode(exhibit.recipe, view))
    assert opened == SKIP and (wanted.recipe, wanted.view) == (exhibit.recipe, view)
    with runs.stoppable_run("a visitor"):
        pass


def test_draw_records_both_halves_if_the_view_shows_them(pipeline, warnings, kept):
    for branch, halves in (("difference", 2), ("unconditional", 2), ("conditional", 1), (None, 1)):
        recipe, view = Recipe("a red monster", steps=1), View((0.5, 0.5), "a.layer", 0, branch=branch)
        wanted = open_link(encode(recipe, view))[2]
        if isinstance(wanted, Wanted):
            *_, (shown, _) = generate._draw_pending(wanted, REQUEST)
        else:  # it is kept by now
            shown = open_link(encode(recipe, view))[0]
        assert len(Trace.load(shown["trace"]["path"]).branches) == halves


def test_open_link_queues_other_recipes(warnings, kept):
    recipe, view = Recipe("a red monster", 3, 4), View((0.5, 0.5), "a.layer", 2)
    shown, strip, wanted, *fields = open_link(encode(recipe, view))
    assert shown == SKIP and (strip["step"], strip["steps"]) == (0, 4)
    assert (wanted.recipe, wanted.view, wanted.both) == (recipe, view, False)
    assert fields == ["a red monster", 3, 4, 1.5, False]
    with runs.stoppable_run("a visitor", wanted.id):
        assert wanted.id not in runs._announced.get("a visitor", {})


def test_open_link_shows_at_once_what_was_drawn_before(pipeline, warnings, kept):
    recipe, view = Recipe("a red monster", steps=2), View((0.5, 0.5), "no.such.layer", 1)
    *_, (drawn, _) = draw(recipe)
    shown, strip, wanted, *_ = open_link(encode(recipe, view))
    assert shown["trace"] == drawn["trace"] and View.from_json(shown["view"]) == view
    assert (strip, wanted) == (SKIP, SKIP) and "the layer “no.such.layer”" in warnings[0]


def test_wanted_traces_never_equal_so_that_the_state_changes():
    assert Wanted(Recipe("a red monster")) != Wanted(Recipe("a red monster"))


def test_draw_says_that_a_trace_cannot_be_kept(pipeline, warnings, kept):
    kept.folder.write_text("a file where the folder should be")
    *_, (shown, strip) = draw(Recipe("a red monster", steps=1))
    assert Trace.load(shown["trace"]["path"]).steps == [0] and strip is None
    assert len(warnings) == 1 and "could not be kept for next time" in warnings[0]


def test_draw_yields_progress_and_then_the_trace(pipeline, warnings, kept):
    *news, (shown, strip) = draw(Recipe("a red monster", steps=2), None)
    assert [value["step"] for _, value in news] == [1, 2] and all(viewer == SKIP for viewer, _ in news)
    assert strip is None and Trace.load(shown["trace"]["path"]).steps == [0, 1] and warnings == []


def test_draw_warns_of_ignored_words_and_missing_layers(pipeline, warnings, kept):
    view = View((0.5, 0.5), "no.such.layer", 7)
    *_, (shown, _) = draw(Recipe("a yelow red monster", steps=2), view)
    assert View.from_json(shown["view"]) == view
    assert "'yelow'" in warnings[0] and "the layer “no.such.layer” and step 7" in warnings[1]


def test_draw_records_both_halves_where_there_are_two(pipeline, warnings, kept):
    def branches(guidance: float, both: bool) -> list[str]:
        recipe = Recipe("a red monster", steps=1, guidance=guidance)
        *_, (shown, _) = draw(recipe, None, both)
        return list(Trace.load(shown["trace"]["path"]).branches)

    assert branches(1.5, False) == ["conditional"]
    assert branches(1.5, True) == ["unconditional", "conditional"] and warnings == []
    assert branches(1, True) == ["conditional"] and warnings == [generate.ONE_HALF]


def test_draw_warns_of_failure_and_hides_the_strip(pipeline, warnings, kept, monkeypatch):
    assert draw(Recipe("xyzzy"), None) == [(SKIP, None)]
    assert "knows none of these words" in warnings.pop()
    monkeypatch.setattr(pipeline, "unet", None)
    assert draw(Recipe("a red monster"), None)[-1] == (SKIP, None)
    assert warnings and warnings[-1].startswith("The picture could not be drawn and recorded")


def test_strip_goes_on_showing_the_run_begun_right_after_stop(pipeline, kept):
    stopped, next_one = (Wanted(Recipe("a monster", seed=seed, steps=2)) for seed in (1, 2))
    runs.announce_run("a visitor", stopped.id)
    runs.stop_runs(REQUEST)
    runs.announce_run("a visitor", next_one.id)
    assert list(generate.draw(stopped, "a visitor"))[-1] == (SKIP, SKIP)  # and does not hide the other's progress
    assert list(generate.draw(next_one, "a visitor"))[-1][1] is None
    runs.announce_run("a visitor", stopped.id)
    runs.stop_runs(REQUEST)
    assert list(generate.draw(stopped, "a visitor"))[-1] == (SKIP, None)


def test_strip_is_hidden_after_a_run_though_one_before_was_refused(pipeline, kept):
    """Gradio's queue was full: that run was announced, and never begins."""
    refused, drawn = (Wanted(Recipe("a monster", seed=seed, steps=2)) for seed in (3, 4))
    for wanted in (refused, drawn):
        runs.announce_run("a visitor", wanted.id)
    assert list(generate.draw(drawn, "a visitor"))[-1][1] is None
    runs.leave("a visitor")
