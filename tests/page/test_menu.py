"""What the menu Export can do on the page only: a link, one HTML file, opening a saved trace."""

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from viz import Trace
from viz.page import menu
from viz.page.gallery import exhibits
from viz.page.temporary import save_temporary
from viz.recipe import Recipe
from viz.view import View

VIEW = {"point": [0, 0], "layer": "a", "step": 0}


@pytest.fixture
def warnings(monkeypatch):
    """The warnings shown so far."""
    warnings = []
    monkeypatch.setattr(menu, "warn", warnings.append)
    return warnings


@pytest.fixture
def trace():
    """A recorded trace, saved in Gradio's cache as an upload is."""
    return Trace.load(exhibits()[0].trace)


def open_trace(path) -> tuple[dict, dict]:
    event: Any = SimpleNamespace(path=str(path))
    return menu.open_trace(event)


def test_check_recipe_returns_what_links_hold():
    checked = menu.check_recipe({"caption": "a red monster", "sampler": "DDIM", "seed": 3.0})
    recipe = Recipe("a red monster", seed=3)
    assert checked == {"recipe": recipe.to_json()} and Recipe.from_json(checked["recipe"]) == recipe


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ({"caption": "a red monster", "photo": "0123"}, "from a photo"),
        ({"caption": "a red monster", "negative": "no horns"}, "with a negative prompt"),
        ({"caption": "a cat", "model": "my-tiny-sd"}, "a model of your own, my-tiny-sd, which a link can't hold"),
        ({"model": "my-ddpm"}, "a model of your own, my-ddpm, which a link can't hold"),
        ({"caption": "a cat", "model": ["critters"]}, "The model"),
        ({}, "does not say what to draw"),
        ([], "does not say what to draw"),
        (None, "does not say what to draw"),
    ],
)
def test_check_recipe_says_why_there_is_no_link(recipe, reason):
    (problem,) = menu.check_recipe(recipe).values()
    assert problem.startswith("No link: ") and reason in problem and problem.endswith(".")


def test_clean_recipe_keeps_what_can_be_followed():
    recipe = {"caption": "a red monster", "seed": 3, "sampler": "DDIMScheduler", "versions": {"torch": "2"}}
    assert menu.clean_recipe(recipe) is recipe


def test_clean_recipe_keeps_only_plain_values_of_others():
    recipe = {"caption": "x" * 5000, "photo": "0123", "seed": [1], "steps": {}, "guidance": None, "<b>": "<b>"}
    assert menu.clean_recipe(recipe) == {"caption": "x" * 1000, "photo": "0123"}
    assert menu.check_recipe(menu.clean_recipe(recipe))["problem"].startswith("No link")


def test_open_trace_shows_trace(trace, warnings):
    viewer, outcome = open_trace(save_temporary(trace))
    assert viewer["opened"] and Trace.load(viewer["trace"]["path"]).steps == trace.steps
    assert outcome["message"] == "Opened." and warnings == []


def test_open_trace_refuses_traces_without_self_attention(trace, warnings):
    viewer, outcome = open_trace(save_temporary(trace.select(layers=[])))
    assert viewer == gr.skip() and warnings == [outcome["message"]] == ["This trace has no self-attention to show."]


def test_open_trace_refuses_traces_that_keep_some_queries_only(trace, warnings):
    viewer, outcome = open_trace(save_temporary(trace.select(queries=(0.5, 0.5))))
    assert viewer == gr.skip() and "keeps only the queries that were asked for" in outcome["message"]
    assert warnings == [outcome["message"]]


def test_open_trace_refuses_damaged_and_foreign_files(trace, warnings, tmp_path, monkeypatch):
    path = save_temporary(trace)
    path.write_bytes(path.read_bytes()[:1000])
    for refused in (path, "/etc/passwd"):
        viewer, outcome = open_trace(refused)
        assert viewer == gr.skip() and warnings.pop() == outcome["message"]
    monkeypatch.setattr(menu, "MAX_FILE", 999_000)
    assert "too large: 17 MB; the limit is 1 MB" in open_trace(save_temporary(trace))[1]["message"]


def test_open_trace_outcomes_differ(trace, warnings):
    """The browser is told only of a value that changed."""
    first, second = (open_trace("/etc/passwd")[1] for _ in range(2))
    assert first != second and first["message"] == second["message"]


def test_save_page_writes_one_html_file(trace):
    exhibit = exhibits()[0]
    value = {"trace": {"path": str(exhibit.trace)}}
    view = View(exhibit.point, exhibit.layer, exhibit.step).to_json()
    outcome = menu.save_page(SimpleNamespace(view=view), value)
    assert outcome["name"].startswith("pixelgaze-") and outcome["name"].endswith(".html")
    with open(outcome["file"]["path"], "rb") as file:
        assert file.read(15).lower() == b"<!doctype html>"
    assert outcome["message"].startswith("Saved, ")


@pytest.mark.parametrize(
    ("value", "view", "message"),
    [
        ({"trace": {"path": "/etc/passwd"}}, {}, "does not serve that file"),
        ({"trace": {"path": None}}, {}, "does not serve that file"),
        ({"trace": {"path": str(exhibits()[0].trace)}}, {}, "The view lacks"),
        ({"trace": {"path": str(exhibits()[0].trace)}, "outline": {"path": "x"}}, VIEW, "Save the trace itself"),
    ],
)
def test_save_page_says_why_it_cannot(value, view, message):
    outcome = menu.save_page(SimpleNamespace(view=view), value)
    assert message in outcome["message"] and "file" not in outcome


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(30, "Read-only file system")])
def test_save_page_says_that_the_disk_takes_no_file(trace, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(menu, "_new_folder", fail)
    value = {"trace": {"path": str(save_temporary(trace))}}
    outcome = menu.save_page(SimpleNamespace(view=VIEW), value)
    assert outcome["message"] == f"The file could not be written on the server: {error.strerror}."


@pytest.mark.parametrize("value", [None, {}, [], {"trace": None}, {"trace": {"path": None}}])
@pytest.mark.parametrize("event", [{}, {"view": None}, {"view": VIEW}])
def test_save_page_takes_odd_requests(value, event):
    assert menu.save_page(SimpleNamespace(**event), value)["message"]


def test_open_trace_refuses_proofs_that_cost_much(trace, warnings, monkeypatch):
    monkeypatch.setattr(menu, "MAX_PROOF", 1000)
    viewer, outcome = open_trace(save_temporary(trace))
    assert viewer == gr.skip() and "rows, too many to compute here" in outcome["message"]


def save_first() -> Any:
    exhibit = exhibits()[0]
    event: Any = SimpleNamespace(view=View(exhibit.point, exhibit.layer, exhibit.step).to_json())
    return menu.save_page(event, {"trace": {"path": str(exhibit.trace)}})


def test_save_page_asks_the_file_and_not_the_visitor_whether_it_is_too_large(monkeypatch):
    """A browser is sent no such file, but any program can name one."""
    monkeypatch.setattr(menu, "browser_limit", lambda: 1_000_000)
    monkeypatch.setattr(menu, "BESIDE", 0)
    assert "too large for one HTML file (11 MB)" in save_first()["message"]


def test_what_works_on_whole_files_ends_after_a_time(trace, warnings, monkeypatch):
    path = save_temporary(trace)
    monkeypatch.setattr(menu, "FILE_SECONDS", -1.0)
    viewer, outcome = open_trace(path)
    assert viewer == gr.skip() and warnings == [outcome["message"]]
    for message in (outcome["message"], save_first()["message"]):
        assert message.startswith("It was ended because it took longer than") and "viz.export.write_html" in message


def test_what_works_on_whole_files_ends_when_its_visitor_leaves(trace, warnings, monkeypatch):
    path = save_temporary(trace)

    @contextmanager
    def left(stopped):
        stopped.set()
        yield

    monkeypatch.setattr(menu, "watched", left)
    assert save_first() == gr.skip() and open_trace(path) == (gr.skip(), gr.skip()) and warnings == []
