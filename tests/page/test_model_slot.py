"""The server's place for a visitor's model: one at a time, opened by name, released when another is opened."""

import shutil

import pytest

from tests.support import single_file
from tests.support.pipelines import PIPELINES
from viz.page import limits
from viz.page.model_slot import ModelSlot
from viz.page.own_model import OwnModel
from viz.recipe import RecipeError


def open_named(slot: ModelSlot, name: str, upload: str | None = None, config: str | None = None) -> OwnModel:
    *messages, model = slot.open_model(name, upload, "float32", "cpu", config)
    assert messages and all(isinstance(message, str) for message in messages)
    assert isinstance(model, OwnModel)
    return model


def test_open_model_replaces_the_one_before(models):
    slot = ModelSlot()
    first = open_named(slot, "Stable-Diffusion")
    assert slot.get("Stable-Diffusion") is first
    second = open_named(slot, "DDPM")
    assert slot.get("DDPM") is second
    with pytest.raises(RecipeError, match="no longer loaded"):
        slot.get("Stable-Diffusion")


def test_get_refuses_when_nothing_is_open():
    with pytest.raises(RecipeError, match="No model is open"):
        ModelSlot().get(None)
    with pytest.raises(RecipeError, match="no longer loaded"):
        ModelSlot().get("DDPM")


def test_open_model_says_why_it_failed_without_paths(models, tmp_path, monkeypatch):
    shutil.copytree(models, tmp_path / "models")
    (tmp_path / "models" / "DDPM" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    monkeypatch.setattr(limits, "_limits", limits.Limits(None, tmp_path / "models"))
    slot = ModelSlot()
    open_named(slot, "Stable-Diffusion")
    with pytest.raises(RecipeError, match="holds no safetensors weights") as raised:
        list(slot.open_model("DDPM", None, "float32", "cpu"))
    assert str(tmp_path) not in str(raised.value)
    with pytest.raises(RecipeError, match="no longer loaded"):
        slot.get("Stable-Diffusion")


def test_open_model_takes_single_file_with_config_of_another(models, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    single_file.write(PIPELINES["Stable Diffusion"](tmp_path / "words"), tmp_path / "one.safetensors")
    slot, upload = ModelSlot(), str(tmp_path / "one.safetensors")
    with pytest.raises(RecipeError, match="configuration and tokenizer are not in the file"):
        list(slot.open_model("", upload, "float32", "cpu"))
    assert open_named(slot, "", upload, "Stable-Diffusion").takes_prompt
    with pytest.raises(RecipeError, match="Expected a Hugging Face model ID"):
        list(slot.open_model("", upload, "float32", "cpu", "/etc"))


def test_slots_are_independent(models):
    """Each visitor can be given one."""
    first, second = ModelSlot(), ModelSlot()
    model = open_named(first, "DDPM")
    with pytest.raises(RecipeError, match="no longer loaded"):
        second.get("DDPM")
    assert open_named(second, "DDPM") is not model and first.get("DDPM") is model
