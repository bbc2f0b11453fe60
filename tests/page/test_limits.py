"""Limits set on the command line: amounts of memory, and which models can be named."""

import shutil
from pathlib import Path

import pytest

from viz.page import limits
from viz.recipe import RecipeError


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A models folder with a folder, a file and something that is not a model; the limits are reset afterwards."""
    folder = tmp_path / "models"
    (folder / "DDPM" / "unet").mkdir(parents=True)
    (folder / "one.safetensors").touch()
    (folder / "notes.txt").touch()
    monkeypatch.setattr(limits, "_limits", limits.Limits(None, folder))
    return folder


def test_set_limits_takes_amounts_and_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_limits", limits.Limits())
    assert limits.model_names() == [] and limits.browser_limit() == limits.BROWSER_BYTES
    limits.set_limits("2GB", str(tmp_path), "1MB")
    assert limits.memory_limit() == 2_000_000_000 and limits.browser_limit() == 1_000_000


def test_set_limits_refuses_other_values(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_limits", limits.Limits())
    with pytest.raises(ValueError, match="--models must be a folder"):
        limits.set_limits(None, str(tmp_path / "none"))
    for amounts in (("plenty", None, None), (None, None, "plenty")):
        with pytest.raises(ValueError, match="amount of memory"):
            limits.set_limits(*amounts)
    assert limits._limits == limits.Limits()


def test_model_names_lists_folders_and_files(models):
    assert limits.model_names() == ["DDPM", "one.safetensors"]


def test_folders_without_a_unet_are_not_offered(saved_models, tmp_path, monkeypatch):
    """They can still be typed, and opening them says what is wrong."""
    folder = tmp_path / "models"
    shutil.copytree(saved_models / "DDPM", folder / "pipeline")
    shutil.copytree(saved_models / "DDPM" / "unet", folder / "unet alone")
    (folder / "one.safetensors").touch()
    for name, file, text in (
        (
            "flux",
            "model_index.json",
            '{"_class_name": "FluxPipeline", "transformer": ["diffusers", "T"]}',
        ),
        ("cut", "model_index.json", '{"_class_name": "DDPM'),
        ("vae", "config.json", '{"_class_name": "AutoencoderKL"}'),
        ("notes", "notes.txt", "nothing"),
    ):
        (folder / name).mkdir()
        (folder / name / file).write_text(text)
    monkeypatch.setattr(limits, "_limits", limits.Limits(None, folder))
    assert limits.offered_names() == ["one.safetensors", "pipeline", "unet alone"]
    assert len(limits.model_names()) == 7 and limits.resolve_source("flux") == folder / "flux"


def test_resolve_source_takes_uploads_names_and_hub_ids(models, tmp_path):
    assert limits.resolve_source("", str(tmp_path / "upload.safetensors")) == tmp_path / "upload.safetensors"
    assert limits.resolve_source(" DDPM ") == models / "DDPM"
    assert limits.resolve_source("google/ddpm-cifar10-32") == "google/ddpm-cifar10-32"


@pytest.mark.parametrize(
    "name", ["/etc", "../models", "~/x", "./a/b", "a/b/c", "C:\\x", "notes.txt", "x" * 300, "a/" + "x" * 300]
)
def test_resolve_source_refuses_paths(models, name):
    with pytest.raises(RecipeError, match=r"Expected a Hugging Face model ID .* \(DDPM, one.safetensors\)"):
        limits.resolve_source(name)


def test_resolve_source_refuses_full_path_of_a_model(models):
    with pytest.raises(RecipeError, match="Expected a Hugging Face model ID"):
        limits.resolve_source(str(models / "DDPM"))


def test_resolve_source_takes_path_inside_a_model_for_a_hub_id(models):
    """A name with one slash is a Hub ID, also where it is a path in the models folder: no local path comes back."""
    assert (models / "DDPM" / "unet").is_dir()
    source = limits.resolve_source("DDPM/unet")
    assert source == "DDPM/unet" and not isinstance(source, Path)


def test_resolve_source_refuses_empty_name(models):
    with pytest.raises(RecipeError, match="Enter a Hugging Face model ID"):
        limits.resolve_source("  ")
