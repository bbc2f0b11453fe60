"""The lesson of a visitor's own model: its run is repeated, and its numbers are those of the recording."""

import gc
import json
import threading
import weakref

import pytest
import torch
from safetensors import safe_open

from viz.page import own_lesson
from viz.page.line import Stopped
from viz.page.open_models import OpenModels
from viz.page.own_lesson import own_choice, own_layers, own_recipe, write_own_lesson
from viz.page.own_model import open_model
from viz.recipe import RecipeError

VISITOR = "a visitor"
FIELDS = {"prompt": "a red monster", "negative": "", "seed": 1, "steps": 3, "guidance": 3.0, "height": 16, "width": 24}


@pytest.fixture
def open_in_slot(saved_models, monkeypatch):
    """Opens a model as the visitor's."""

    def open_in_slot(name: str):
        models, model = OpenModels(), open_model(saved_models / name, "float32", "cpu")
        models._keep(VISITOR, model, "cpu")
        monkeypatch.setattr(own_lesson, "open_models", models)
        return model

    return open_in_slot


def draw(model, sampler: str | None = None):
    sampler = sampler or model.samplers[0]
    return model.draw(model.build_order(**FIELDS), sampler, None, False, lambda step, preview: None)


@pytest.mark.parametrize(("name", "sampler"), [("DDPM", None), ("Stable-Diffusion", "DDIMScheduler")])
def test_own_lesson_has_picture_and_numbers_of_recording(open_in_slot, tmp_path, name, sampler):
    trace = draw(open_in_slot(name), sampler)
    run = own_choice(trace.recipe, trace.picture.shape[:2], VISITOR)
    assert own_recipe(run) == trace.recipe and set(trace.layers) <= set(own_layers(run, VISITOR))
    step = trace.steps[-1]
    for layer in trace:
        write_own_lesson(run, layer.name, step, tmp_path / "lesson", threading.Event(), VISITOR)
        with safe_open(tmp_path / "lesson", "pt") as file:
            assert (file.get_tensor("picture").numpy() == trace.picture).all()
            for part, recorded in (("query", trace.queries), ("key", trace.keys)):
                expected = recorded[(trace.branches[-1], layer.name, step)].float()
                assert torch.allclose(file.get_tensor(part), expected, rtol=2e-3, atol=2e-3), (layer.name, part)
            description = json.loads(file.metadata()["lesson"])
        assert description["step"] == step and layer.name in description["layers"]
        if layer.kind == "cross":
            words = description["words"]  # this tokenizer's are letters
            assert words[0].startswith("(") and "aredmonster" in "".join(words[1:]) and words[-1].startswith("(")


def test_own_choice_says_what_to_do_where_run_cannot_be_repeated(open_in_slot):
    recipe = {"model": "DDPM", "caption": "", "seed": 1, "steps": 3, "sampler": "DDPMScheduler"}
    open_in_slot("image-to-image")
    with pytest.raises(RecipeError, match=r"made with DDPM, which isn't open now\. Open it"):
        own_choice(recipe, (16, 16), VISITOR)
    with pytest.raises(RecipeError, match="starts from a picture"):
        own_choice(recipe | {"model": "image-to-image"}, (16, 16), VISITOR)
    with pytest.raises(RecipeError, match="made from a photo"):
        own_choice(recipe | {"photo": True}, (16, 16), VISITOR)
    for nothing in (None, {"caption": "x"}, {"model": 3, "sampler": "x"}):
        with pytest.raises(RecipeError, match="doesn't say how it was made"):
            own_choice(nothing, (16, 16), VISITOR)


def test_own_recipe_is_none_for_other_runs():
    assert own_recipe(json.dumps({"caption": "a monster"})) is None


@pytest.mark.parametrize(("field", "value"), [("steps", 10**9), ("seed", "x"), ("guidance", -1)])
def test_own_lesson_refuses_values_of_page_out_of_range(open_in_slot, tmp_path, field, value):
    trace = draw(open_in_slot("DDPM"))
    run = json.dumps({"own": trace.recipe | {field: value}, "size": [16, 24]})
    with pytest.raises((RecipeError, TypeError)):
        write_own_lesson(run, next(iter(trace.layers)), 0, tmp_path / "x", threading.Event(), VISITOR)


def test_own_lesson_is_of_the_visitors_own_model(open_in_slot):
    recipe = {"model": "DDPM", "caption": "", "seed": 1, "steps": 3, "sampler": "DDPMScheduler"}
    open_in_slot("DDPM")
    assert own_choice(recipe, (16, 16), VISITOR)
    with pytest.raises(RecipeError, match="made with DDPM, which isn't open now"):
        own_choice(recipe, (16, 16), "another visitor")


def test_own_lesson_keeps_no_closed_model(open_in_slot, tmp_path):
    model = open_in_slot("DDPM")
    trace = draw(model)
    run = own_choice(trace.recipe, trace.picture.shape[:2], VISITOR)
    write_own_lesson(run, next(iter(trace.layers)), 0, tmp_path / "lesson", threading.Event(), VISITOR)
    closed = weakref.ref(model)
    own_lesson.open_models._close(VISITOR, "")
    del model
    gc.collect()
    assert closed() is None


def test_own_lesson_ends_when_its_visitor_leaves_while_it_is_written(open_in_slot, tmp_path, monkeypatch):
    trace, stopped = draw(open_in_slot("DDPM")), threading.Event()
    run = own_choice(trace.recipe, trace.picture.shape[:2], VISITOR)
    plain = own_lesson._words_of

    def leave(*arguments):  # after the run was followed, before the layer is watched
        stopped.set()
        return plain(*arguments)

    monkeypatch.setattr(own_lesson, "_words_of", leave)
    with pytest.raises(Stopped):
        write_own_lesson(run, next(iter(trace.layers)), 0, tmp_path / "lesson", stopped, VISITOR)
