"""The model somebody opened on the page: what may be opened, what a run takes, and running it."""

import pytest
from PIL import Image

from tests.support import single_file
from tests.support.pipelines import PIPELINES
from viz.page import limits
from viz.page import own_model as box
from viz.recipe import RecipeError
from viz.recording.budget import amount

ASKED = {"prompt": "a red monster", "negative": "", "seed": 1, "steps": 3, "guidance": 3.0, "height": 16, "width": 24}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A models folder with small pipelines; what is open and allowed is forgotten afterwards."""
    for name in ("DDPM", "Stable Diffusion", "image to image", "inpainting"):
        PIPELINES[name](tmp_path / "words").save_pretrained(tmp_path / "models" / name.replace(" ", "-"))
    monkeypatch.setattr(limits, "_limits", limits.Limits(None, tmp_path / "models"))
    monkeypatch.setattr(box, "_opened", None)
    return tmp_path / "models"


def opened(name: str) -> box.Opened:
    *said, found = box.opening(name, None, "float32", "cpu")
    assert said and all(isinstance(words, str) for words in said)
    assert box.current(name) is found
    return found


def test_a_model_that_cannot_be_opened_is_one_sentence_without_paths(models):
    (models / "DDPM" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"holds no safetensors weights") as caught:
        list(box.opening("DDPM", None, "float32", "cpu"))
    assert str(models) not in str(caught.value)
    with pytest.raises(RecipeError, match="No model is open"):
        box.current("DDPM")


def test_drawing_is_recorded_and_another_model_takes_its_place(models):
    model, steps = opened("Stable-Diffusion"), []
    order = box.order_of(model, ASKED)
    trace = box.draw(model, order, "DDIMScheduler", None, False, lambda step, preview: steps.append(step))
    assert trace.recipe["sampler"] == "DDIMScheduler" and trace.recipe["model"] == "Stable-Diffusion"
    assert steps == trace.steps == [0, 1, 2] and trace.picture.shape == (16, 24, 3)
    assert {layer.kind for layer in trace} == {"self"}
    opened("DDPM")
    with pytest.raises(RecipeError, match="open yours again"):
        box.current("Stable-Diffusion")


def test_a_photo_is_looked_at_or_started_from(models, tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "photo.png")
    for name in ("DDPM", "image-to-image"):
        model = opened(name)
        order = box.order_of(model, ASKED)
        trace = box.look(model, order, model.samplers[0], tmp_path / "photo.png", False, lambda *_: None)
        assert len(trace.recipe["photo"]) == 64 and trace.recipe["model"] == name
        with pytest.raises(RecipeError, match="Upload a photo first"):
            box.look(model, order, model.samplers[0], None, False, lambda *_: None)
    assert box.draw(model, order, model.samplers[0], tmp_path / "photo.png", False, lambda *_: None).layers
    with pytest.raises(RecipeError, match="starts from a picture"):
        box.draw(model, order, model.samplers[0], None, False, lambda *_: None)


def test_of_an_inpainting_model_the_mask_s_white_is_drawn_anew(models, tmp_path):
    model = opened("inpainting")
    Image.new("RGB", (24, 16), "red").save(tmp_path / "photo.png")
    Image.new("L", (24, 16), 0).save(tmp_path / "none.png")
    order = box.order_of(model, ASKED)
    assert box.masked(model, order, None) is order
    assert box.masked(opened("DDPM"), order, tmp_path / "none.png") is order  # it takes none
    model = opened("inpainting")
    pictures = []
    for mask in (None, tmp_path / "none.png"):
        asked = box.masked(model, order, mask)
        trace = box.draw(model, asked, model.samplers[0], tmp_path / "photo.png", False, lambda *_: None)
        pictures.append(trace.picture)
    assert (pictures[0] != pictures[1]).any()
    (tmp_path / "broken.png").write_bytes(b"none")
    with pytest.raises(ValueError, match="can't be read as an image"):
        box.masked(model, order, tmp_path / "broken.png")


def test_a_single_file_is_opened_like_a_model_that_is_here(models, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    single_file.write(PIPELINES["Stable Diffusion"](models.parent / "words"), models / "one.safetensors")
    with pytest.raises(RecipeError, match="configuration and tokenizer are not in the file"):
        list(box.opening("one.safetensors", None, "float32", "cpu"))
    *_, found = box.opening("", str(models / "one.safetensors"), "float32", "cpu", "Stable-Diffusion")
    assert box.planned(found, box.order_of(found, ASKED)).layers
    with pytest.raises(RecipeError, match="Expected a Hugging Face model ID"):
        list(box.opening("one.safetensors", None, "float32", "cpu", "/etc"))


def test_what_is_not_shown_is_known_before_a_run(models):
    model = opened("Stable-Diffusion")
    plan = box.planned(model, box.order_of(model, ASKED))
    assert box.skipped_words(plan) == ""
    model.pipeline.unet.fuse_qkv_projections()
    plan = box.planned(model, box.order_of(model, ASKED))
    words = box.skipped_words(plan)
    assert "attn1: " in words and "fuse" in words
    assert {name for name in plan.skipped if name.endswith("attn1")}.isdisjoint(plan.layers)


def test_the_forecast_is_exact_and_what_does_not_fit_is_refused(models, monkeypatch):
    model = opened("DDPM")
    order = box.order_of(model, ASKED | {"steps": 8})
    whole = box.planned(model, order)
    assert box.forecast(box.planned(model, order)).startswith(
        f"{amount(whole.total)} (4 layers × 8 calls of the network)"
    )
    monkeypatch.setattr(limits, "_limits", limits.Limits(str(whole.total - 1), None))
    part = whole.fit(whole.total - 1)
    assert f"too much. All 4 layers and {len(part.steps)} of its 8 steps" in box.forecast(box.planned(model, order))
    with pytest.raises(RecipeError, match="All 4 layers and 7 of its 8 steps would fit"):
        box.draw(model, order, model.samplers[0], None, False, lambda *_: None)
    assert len(box.draw(model, order, model.samplers[0], None, True, lambda *_: None).steps) == len(part.steps) == 7
    monkeypatch.setattr(limits, "_limits", limits.Limits("100", None))
    for thin in (False, True):
        with pytest.raises(RecipeError, match="Not even one layer and step would fit"):
            box.draw(model, order, model.samplers[0], None, thin, lambda *_: None)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("steps", 0, "steps must be a whole number from 1"),
        ("steps", None, "steps must be"),
        ("seed", 0.5, "The seed must be a whole number"),
        ("height", 5000, "The height must be a whole number from 8"),
        ("width", 17, "multiples of 2 for this model"),
        ("guidance", 99, "Guidance must be a number from 0 to 20"),
        ("prompt", "x" * 2000, "The prompt has 2,000 characters"),
    ],
)
def test_values_out_of_range_are_sentences(models, field, value, sentence):
    with pytest.raises(RecipeError, match=sentence):
        box.order_of(opened("DDPM"), ASKED | {field: value})


def test_fields_that_are_not_shown_say_nothing(models):
    order = box.order_of(opened("DDPM"), ASKED | {"prompt": None, "negative": None, "guidance": None})
    assert (order.prompt, order.negative, order.guidance) == ("", "", None)
