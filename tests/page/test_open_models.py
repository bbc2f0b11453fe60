"""The visitors' models: one each, in a budget; the one used longest ago goes, and its owner is told."""

import shutil
import time

import pytest

from tests.support import single_file
from tests.support.pipelines import PIPELINES
from viz.page import limits, open_models
from viz.page.open_models import GONE, LEFT, MADE_ROOM, NOT_OPEN, OpenModels
from viz.page.own_model import OwnModel, expected_bytes
from viz.recipe import RecipeError


def open_named(models: OpenModels, name: str, upload: str | None = None, config: str | None = None, session="A"):
    *messages, model = models.open_model(session, name, upload, "float32", "cpu", config)
    assert messages and all(isinstance(message, str) for message in messages)
    assert isinstance(model, OwnModel)
    return model


def why_not(models: OpenModels, session: str, name: str | None) -> str:
    with pytest.raises(RecipeError) as raised:
        models.get(session, name)
    return str(raised.value)


@pytest.fixture
def room_for(models, monkeypatch):
    """Limits what visitors' models may take, to that of these models together."""

    def room_for(*names: str, spare: int = 0) -> int:
        size = sum(expected_bytes(models / name, "float32") for name in names) + spare
        monkeypatch.setattr(limits, "_limits", limits.Limits(None, models, open_models=str(size)))
        return size

    return room_for


def test_open_model_replaces_the_visitors_own(models):
    opened = OpenModels()
    first = open_named(opened, "Stable-Diffusion")
    assert opened.get("A", "Stable-Diffusion") is first
    second = open_named(opened, "DDPM")
    assert opened.get("A", "DDPM") is second
    assert why_not(opened, "A", "Stable-Diffusion") == GONE


def test_visitors_keep_their_models_while_there_is_room(models):
    opened = OpenModels()
    first, second = open_named(opened, "DDPM", session="A"), open_named(opened, "DDPM", session="B")
    assert opened.get("A", "DDPM") is first is not second and opened.get("B", "DDPM") is second
    assert why_not(opened, "C", "DDPM") == GONE and why_not(opened, "A", None) == NOT_OPEN


@pytest.mark.parametrize("name", ["DDPM", "Stable-Diffusion", "inpainting"])
def test_expected_bytes_are_those_of_the_open_model(models, name):
    """They are read from the files' headers before anything is loaded; a few buffers come on top."""
    model = open_named(OpenModels(), name)
    assert 0 < expected_bytes(models / name, "float32") <= model.size < 1.02 * expected_bytes(models / name, "float32")
    assert expected_bytes(models / name, "float16") * 2 == expected_bytes(models / name, "float32")


def test_model_used_longest_ago_is_closed_and_its_owner_told(models, room_for):
    opened = OpenModels()
    open_named(opened, "DDPM", session="A")
    open_named(opened, "DDPM", session="B")
    opened.get("A", "DDPM")
    room_for("DDPM", "inpainting", spare=100_000)
    open_named(opened, "inpainting", session="C")
    assert why_not(opened, "B", "DDPM") == MADE_ROOM
    assert opened.get("A", "DDPM") and opened.get("C", "inpainting")
    room_for("DDPM", "DDPM", "inpainting", spare=100_000)
    open_named(opened, "DDPM", session="B")
    assert opened.get("B", "DDPM") and opened.get("A", "DDPM")


def test_model_that_runs_is_not_closed(models, room_for):
    opened = OpenModels()
    open_named(opened, "DDPM", session="A")
    room_for("DDPM", spare=1000)
    with opened.in_use("A", "DDPM"):
        with pytest.raises(RecipeError, match=r"of which other visitors' runs take .* Please try again in a few"):
            open_named(opened, "DDPM", session="B")
        assert opened.get("A", "DDPM")
    open_named(opened, "DDPM", session="B")
    assert why_not(opened, "A", "DDPM") == MADE_ROOM


def test_model_larger_than_the_room_is_refused_before_it_is_loaded(models, room_for, monkeypatch):
    monkeypatch.setattr("viz.page.own_model.load", lambda *_, **__: pytest.fail("it was loaded"))
    room_for("DDPM", spare=-1)
    with pytest.raises(
        RecipeError, match=r"This model takes .*; there are .* for models here\. Try a lower precision\."
    ):
        open_named(OpenModels(), "DDPM")


def test_leaving_closes_the_model_after_a_while(models, monkeypatch):
    monkeypatch.setattr(open_models, "AWAY", 0.05)
    opened = OpenModels()
    open_named(opened, "DDPM", session="A")
    open_named(opened, "DDPM", session="B")
    opened.leave("A")
    deadline = time.monotonic() + 5
    while "A" in opened._places and time.monotonic() < deadline:
        time.sleep(0.01)
    assert why_not(opened, "A", "DDPM") == LEFT and opened.get("B", "DDPM")


def test_page_that_comes_back_keeps_its_model(models, monkeypatch):
    monkeypatch.setattr(open_models, "AWAY", 0.3)
    opened = OpenModels()
    open_named(opened, "DDPM")
    opened.leave("A")
    opened.get("A", "DDPM")
    time.sleep(0.6)
    assert opened.get("A", "DDPM")


def test_open_model_says_why_it_failed_without_paths(models, tmp_path, monkeypatch):
    shutil.copytree(models, tmp_path / "models")
    (tmp_path / "models" / "DDPM" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    monkeypatch.setattr(limits, "_limits", limits.Limits(None, tmp_path / "models"))
    opened = OpenModels()
    open_named(opened, "Stable-Diffusion")
    with pytest.raises(RecipeError, match="holds no safetensors weights") as raised:
        open_named(opened, "DDPM")
    assert str(tmp_path) not in str(raised.value)
    assert why_not(opened, "A", "Stable-Diffusion") == GONE


def test_open_model_takes_single_file_with_config_of_another(models, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    single_file.write(PIPELINES["Stable Diffusion"](tmp_path / "words"), tmp_path / "one.safetensors")
    opened, upload = OpenModels(), str(tmp_path / "one.safetensors")
    with pytest.raises(RecipeError, match="configuration and tokenizer are not in the file"):
        open_named(opened, "", upload)
    assert open_named(opened, "", upload, "Stable-Diffusion").takes_prompt
    with pytest.raises(RecipeError, match="Expected a Hugging Face model ID"):
        open_named(opened, "", upload, "/etc")
