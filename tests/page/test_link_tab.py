"""Opening the page with a link, and drawing what it asks for."""

from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from viz import Trace
from viz.page import runs
from viz.page.gallery import exhibits
from viz.page.links import encode
from viz.page.tabs import generate, link
from viz.recipe import Recipe
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


def open_link(text: str | None) -> tuple:
    query = {} if text is None else {"look": text}
    request: Any = SimpleNamespace(query_params=query, session_hash="a visitor")
    return link._open_link(request)


def test_open_link_changes_nothing_without_a_link(warnings):
    assert open_link(None) == (SKIP,) * 8 and warnings == []


def test_open_link_warns_of_a_damaged_link(warnings):
    assert open_link("<img>") == (SKIP,) * 8
    assert len(warnings) == 1 and "Here is a recorded picture instead." in warnings[0]


def test_open_link_shows_exhibit_at_once(warnings):
    exhibit = exhibits()[1]
    view = View(exhibit.point, exhibit.layer, exhibit.steps[1], exhibit.head)
    shown, strip, pending, *fields = open_link(encode(Recipe(exhibit.caption, exhibit.seed), view))
    assert shown["trace"]["path"] == str(exhibit.trace) and View.from_json(shown["view"]) == view
    assert (strip, pending) == (SKIP, SKIP) and fields == [exhibit.caption, exhibit.seed, 25, 1.5, False]
    assert warnings == []


def test_open_link_warns_if_exhibit_lacks_the_layer(warnings):
    exhibit = exhibits()[1]
    open_link(encode(exhibit.recipe, View((0.5, 0.5), "no.such.layer", exhibit.steps[0])))
    assert len(warnings) == 1 and "the layer “no.such.layer”" in warnings[0]


@pytest.mark.parametrize(
    "shown",
    [
        {"pins": (WordQuery("eyes"),), "active": -1},
        {"winner": True},
        {"branch": "unconditional"},
        {"branch": "difference"},
    ],
    ids=lambda shown: "-".join(shown),
)
def test_open_link_draws_again_what_the_exhibit_does_not_hold(warnings, monkeypatch, shown):
    """Words, and the other half of guidance."""
    exhibit = exhibits()[1]
    description = {"timesteps": [[exhibit.steps[0], 1]], "layers": [], "branches": ["conditional"]}
    monkeypatch.setattr(link, "read_description", lambda path: description)
    view = View(exhibit.point, exhibit.layer, exhibit.steps[0], **shown)
    opened, _, pending, *_, both = open_link(encode(exhibit.recipe, view))
    assert opened == SKIP and pending == (exhibit.recipe, view)
    assert both is ("branch" in shown)
    with runs.stoppable_run("a visitor"):
        pass
    description |= {"branches": ["unconditional", "conditional"], "words": {"conditional": {}}}
    assert open_link(encode(exhibit.recipe, view))[0]["trace"]["path"] == str(exhibit.trace)


def test_draw_records_both_halves_if_the_view_shows_them(pipeline, warnings):
    request: Any = SimpleNamespace(session_hash="a visitor")
    for branch, halves in (("difference", 2), ("unconditional", 2), ("conditional", 1), (None, 1)):
        recipe, view = Recipe("a red monster", steps=1), View((0.5, 0.5), "a.layer", 0, branch=branch)
        *_, (shown, _) = link._draw((recipe, view), request)
        assert len(Trace.load(shown["trace"]["path"]).branches) == halves


def test_open_link_queues_other_recipes(warnings):
    recipe, view = Recipe("a red monster", 3, 4), View((0.5, 0.5), "a.layer", 2)
    shown, strip, pending, *fields = open_link(encode(recipe, view))
    assert shown == SKIP and (strip["step"], strip["steps"]) == (0, 4)
    assert pending == (recipe, view) and fields == ["a red monster", 3, 4, 1.5, False]
    with runs.stoppable_run("a visitor"):
        assert runs._queued == {}


def test_draw_recipe_yields_progress_and_then_the_trace(pipeline, warnings):
    *news, (shown, strip) = generate.draw_recipe(Recipe("a red monster", steps=2), None, "a visitor")
    assert [value["step"] for _, value in news] == [1, 2] and all(viewer == SKIP for viewer, _ in news)
    assert strip is None and Trace.load(shown["trace"]["path"]).steps == [0, 1] and warnings == []


def test_draw_recipe_warns_of_ignored_words_and_missing_layers(pipeline, warnings):
    view = View((0.5, 0.5), "no.such.layer", 7)
    *_, (shown, _) = generate.draw_recipe(Recipe("a yelow red monster", steps=2), view, "a visitor")
    assert View.from_json(shown["view"]) == view
    assert "'yelow'" in warnings[0] and "the layer “no.such.layer” and step 7" in warnings[1]


def test_draw_recipe_records_both_halves_where_there_are_two(pipeline, warnings):
    def branches(guidance: float, both: bool) -> list[str]:
        recipe = Recipe("a red monster", steps=1, guidance=guidance)
        *_, (shown, _) = generate.draw_recipe(recipe, None, "a visitor", both=both)
        return list(Trace.load(shown["trace"]["path"]).branches)

    assert branches(1.5, False) == ["conditional"]
    assert branches(1.5, True) == ["unconditional", "conditional"] and warnings == []
    assert branches(1, True) == ["conditional"] and warnings == [generate.ONE_HALF]


def test_draw_recipe_warns_of_failure_and_hides_the_strip(pipeline, warnings, monkeypatch):
    assert list(generate.draw_recipe(Recipe("xyzzy"), None, "a visitor")) == [(SKIP, None)]
    assert "knows none of these words" in warnings.pop()
    monkeypatch.setattr(pipeline, "unet", None)
    assert list(generate.draw_recipe(Recipe("a red monster"), None, "a visitor"))[-1] == (SKIP, None)
    assert warnings and warnings[-1].startswith("The picture could not be drawn and recorded")
