"""A visitor's own model: building an order from the page's fields, planning it, and running it, recorded."""

from dataclasses import replace
from functools import cache

import pytest
from PIL import Image

from viz.page import limits
from viz.page.own_model import OwnModel, open_model
from viz.recipe import RecipeError

FIELDS = {"prompt": "a red monster", "negative": "", "seed": 1, "steps": 3, "guidance": 3.0, "height": 16, "width": 24}


def ignore(*_: object) -> None:
    """An `on_step` that does nothing."""


@pytest.fixture(scope="module")
def open_saved(saved_models):
    """Opens a saved model, once for all tests: they change nothing but its sampler."""

    @cache
    def open_saved(name: str) -> OwnModel:
        return open_model(saved_models / name, "float32", "cpu")

    return open_saved


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (24, 16), "red").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    ("name", "takes_prompt", "takes_image", "takes_mask"),
    [
        ("DDPM", False, False, False),
        ("Stable-Diffusion", True, False, False),
        ("image-to-image", True, True, False),
        ("inpainting", True, True, True),
    ],
)
def test_open_model_knows_what_the_model_takes(open_saved, name, takes_prompt, takes_image, takes_mask):
    model = open_saved(name)
    assert (model.takes_prompt, model.takes_image, model.takes_mask) == (takes_prompt, takes_image, takes_mask)
    assert model.samplers[0] == type(model.pipeline.scheduler).__name__
    assert model.description == f"{name} is open: {type(model.pipeline).__name__}, 16×16 pixels, float32, on cpu."


def test_build_order_takes_fields(open_saved):
    order = open_saved("DDPM").build_order(**FIELDS)
    assert (order.prompt, order.seed, order.steps, order.guidance, order.size) == ("a red monster", 1, 3, 3.0, (16, 24))


def test_build_order_takes_hidden_fields_as_empty(open_saved):
    order = open_saved("DDPM").build_order(**FIELDS | {"prompt": None, "negative": None, "guidance": None})
    assert (order.prompt, order.negative, order.guidance) == ("", "", None)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("steps", 0, "steps must be a whole number from 1 to 100; got 0"),
        ("steps", None, "steps must be a whole number from 1 to 100; it is empty"),
        ("seed", 0.5, "The seed must be a whole number"),
        ("height", 5000, "The height must be a whole number from 8"),
        ("width", 17, "multiples of 2 for this model"),
        ("guidance", 99, "Guidance must be a number from 0 to 20"),
        ("prompt", "x" * 2000, "The prompt has 2,000 characters"),
        ("negative", "x" * 2000, "The negative prompt has 2,000 characters"),
    ],
)
def test_build_order_refuses_values_out_of_range(open_saved, field, value, sentence):
    with pytest.raises(RecipeError, match=sentence):
        open_saved("DDPM").build_order(**FIELDS | {field: value})


def test_build_order_opens_mask_where_the_model_takes_one(open_saved, tmp_path, photo):
    assert open_saved("inpainting").build_order(**FIELDS, mask=photo).mask.size == (24, 16)
    assert open_saved("DDPM").build_order(**FIELDS, mask=photo).mask is None
    (tmp_path / "broken.png").write_bytes(b"none")
    with pytest.raises(ValueError, match="can't be read as an image"):
        open_saved("inpainting").build_order(**FIELDS, mask=tmp_path / "broken.png")


def test_plan_run_keeps_every_layer(open_saved):
    model = open_saved("Stable-Diffusion")
    plan = model.plan_run(model.build_order(**FIELDS))
    assert {layer.kind for layer in plan.layers.values()} == {"self", "cross"} and plan.skipped == {}
    assert len(plan.steps) == model.count_calls(model.build_order(**FIELDS)) == 4  # PNDM takes one more for 3 steps


def test_plan_run_counts_both_halves_of_a_guided_run(open_saved):
    model = open_saved("Stable-Diffusion")
    order = model.build_order(**FIELDS)
    one = model.plan_run(order).step_bytes
    assert model.plan_run(order, both=True).step_bytes == 2 * one
    assert model.plan_run(replace(order, guidance=1.0), both=True).step_bytes == one
    assert not open_saved("DDPM").has_halves and open_saved("DDPM").plan_run(order, both=True).step_bytes > 0


def test_plan_run_names_layers_it_cannot_record(saved_models):
    model = open_model(saved_models / "Stable-Diffusion", "float32", "cpu")
    model.pipeline.unet.fuse_qkv_projections()
    plan = model.plan_run(model.build_order(**FIELDS))
    fused = [name for name in plan.skipped if name.endswith("attn1")]
    assert fused and all("fuse" in plan.skipped[name] for name in fused)
    assert set(fused).isdisjoint(plan.layers)


def test_draw_records_run(open_saved):
    model, steps = open_saved("Stable-Diffusion"), []
    order = model.build_order(**FIELDS)
    trace = model.draw(order, "DDIMScheduler", None, False, lambda step, preview: steps.append(step))
    assert trace.recipe["sampler"] == "DDIMScheduler" and trace.recipe["model"] == "Stable-Diffusion"
    assert steps == trace.steps == [0, 1, 2] and trace.picture.shape == (16, 24, 3)
    assert {layer.kind for layer in trace} == {"self", "cross"} and list(trace.branches) == ["conditional"]


def test_recipe_does_not_name_guidance_that_a_model_does_not_take(open_saved):
    model = open_saved("DDPM")
    trace = model.draw(model.build_order(**FIELDS | {"prompt": None}), model.samplers[0], None, False, ignore)
    assert trace.recipe["model"] == "DDPM" and trace.recipe["guidance"] is None


def test_draw_records_both_halves_if_the_run_is_guided(open_saved):
    model = open_saved("Stable-Diffusion")
    order, sampler = model.build_order(**FIELDS), model.samplers[0]
    trace = model.draw(order, sampler, None, False, ignore, both=True)
    assert list(trace.branches) == ["unconditional", "conditional"]
    trace = model.draw(replace(order, guidance=1.0), sampler, None, False, ignore, both=True)
    assert list(trace.branches) == ["conditional"]


def test_draw_knows_the_words_of_the_pipeline(open_saved):
    """Of both halves; the word's tokens are those of the tokenizer."""
    model = open_saved("Stable-Diffusion")
    order = replace(model.build_order(**FIELDS), negative="two eye")
    trace = model.draw(order, model.samplers[0], None, False, ignore, both=True)
    assert [word.text for word in trace.words["conditional"].words][:3] == ["a", "red", "monster"]
    assert [word.text for word in trace.words["unconditional"].words][:2] == ["two", "eye"]
    (encoding,) = trace.words["conditional"].encodings
    assert "".join(encoding.tokens[token] for token in trace.words["conditional"].find("red").tokens) == "red</w>"
    cross = next(layer for layer in trace if layer.kind == "cross")
    assert trace.word_map(cross.name, "red", step=0).shape == (cross.heads, *cross.grid)


def test_draw_starts_from_photo_where_the_model_does(open_saved, photo):
    model = open_saved("image-to-image")
    order = model.build_order(**FIELDS)
    assert model.draw(order, model.samplers[0], photo, False, ignore).layers
    with pytest.raises(RecipeError, match="starts from a picture"):
        model.draw(order, model.samplers[0], None, False, ignore)


def test_draw_repaints_white_of_mask(open_saved, tmp_path, photo):
    """Without a mask all is repainted; a black mask keeps the photo."""
    model = open_saved("inpainting")
    Image.new("L", (24, 16), 0).save(tmp_path / "black.png")
    black = model.build_order(**FIELDS, mask=tmp_path / "black.png")
    repainted, kept = (
        model.draw(order, model.samplers[0], photo, False, ignore).picture
        for order in (replace(black, mask=None), black)
    )
    assert (repainted != kept).any()


def test_draw_refuses_sampler_that_does_not_fit(open_saved):
    model = open_saved("DDPM")
    with pytest.raises(RecipeError, match="sampler"):
        model.draw(model.build_order(**FIELDS), "NoScheduler", None, False, ignore)


def test_draw_thins_only_if_told_to(open_saved, monkeypatch):
    model = open_saved("DDPM")
    order = model.build_order(**FIELDS | {"steps": 8})
    total = model.plan_run(order).total
    monkeypatch.setattr(limits, "_limits", limits.Limits(str(total - 1)))
    with pytest.raises(RecipeError, match="All 4 layers and 7 of its 8 steps would fit"):
        model.draw(order, model.samplers[0], None, False, ignore)
    assert len(model.draw(order, model.samplers[0], None, True, ignore).steps) == 7
    monkeypatch.setattr(limits, "_limits", limits.Limits("100"))
    for thin in (False, True):
        with pytest.raises(RecipeError, match="Not even one layer at one step would fit"):
            model.draw(order, model.samplers[0], None, thin, ignore)


@pytest.mark.parametrize("name", ["DDPM", "image-to-image"])
def test_record_photo_needs_a_photo(open_saved, name, photo):
    model = open_saved(name)
    order = model.build_order(**FIELDS)
    trace = model.record_photo(order, model.samplers[0], photo, False, ignore)
    assert len(trace.recipe["photo"]) == 64 and trace.recipe["model"] == name
    with pytest.raises(RecipeError, match="Upload a photo first"):
        model.record_photo(order, model.samplers[0], None, False, ignore)


def test_size_at_which_one_layer_could_not_be_stopped_for_minutes_is_refused(open_saved, monkeypatch):
    monkeypatch.setattr(limits, "_limits", limits.Limits("1TB"))
    model = open_saved("DDPM")
    order = model.build_order(**FIELDS | {"height": 2048, "width": 2048})
    with pytest.raises(RecipeError, match=r"At 2048×2048 pixels, the layer .* Choose a smaller size"):
        model.draw(order, model.samplers[0], None, False, ignore)
