"""What can be opened, and opening it: the bundled model, a folder, or a Hub id."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from models.classic.trained import FOLDERS, load_trained
from models.pipeline import CritterPipeline

BUNDLED = {"critters": Path(__file__).parent.parent / "assets" / "critters"}


def load(name: str | Path = "critters", *, device: str = "cpu", dtype: torch.dtype = torch.float32):
    """Open a diffusion pipeline.

    Args:
        name: "critters", one of `models.classic.trained` ("critters-sagan"), a folder written by `save_pretrained`,
            or a Hub id such as "google/ddpm-cifar10-32".
        device, dtype: where the networks go and their precision.

    Raises:
        FileNotFoundError: when `name` is a folder without a pipeline in it, or neither a folder nor found on the Hub.

    Only safetensors weights are opened, and no code that comes with a model is run.
    """
    if str(name) in FOLDERS:
        return load_trained(str(name), device=device, dtype=dtype)
    path = BUNDLED.get(str(name), Path(name))
    if path.is_dir():
        index = path / "model_index.json"
        if not index.is_file():
            raise FileNotFoundError(f"expected a diffusers pipeline in {path}, found no model_index.json there")
        # A pipeline of our own opens only through its own class: diffusers looks for it inside diffusers.
        ours = json.loads(index.read_text()).get("_class_name") == CritterPipeline.__name__
        source, opener = path, CritterPipeline if ours else DiffusionPipeline
    else:
        source, opener = str(name), DiffusionPipeline
    try:
        pipeline = opener.from_pretrained(source, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError) as error:  # a path that is no folder is, to diffusers, a malformed Hub id: ValueError
        known = ", ".join(map(repr, BUNDLED))
        raise FileNotFoundError(
            f"could not open {str(name)!r}: expected {known}, a pipeline's folder with safetensors weights, "
            f"or a Hub id ({error})"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
