"""What can be opened, and opening it: the bundled model, a folder, or a Hub id."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from models.classic import AttentionClassifier
from models.pipeline import CritterPipeline

ASSETS = Path(__file__).parent.parent / "assets"
CLASSIC = ("sagan", "ddpm", "multihead", "cross", "classifier")  # the kinds of `models.train_classic`
BUNDLED = {"critters": ASSETS / "critters"} | {f"critters-{kind}": ASSETS / "classic" / kind for kind in CLASSIC}


def load(name: str | Path = "critters", *, device: str = "cpu", dtype: torch.dtype = torch.float32):
    """Open a diffusion pipeline, or the classifier of `models.classic`.

    Args:
        name: "critters", "critters-" and a kind of `models.train_classic` ("critters-sagan"), a folder written by
            `save_pretrained`, or a Hub id such as "google/ddpm-cifar10-32".
        device, dtype: where the networks go and their precision.

    Raises:
        FileNotFoundError: when `name` is a folder without a pipeline in it, or neither a folder nor found on the Hub.

    Only safetensors weights are opened, and no code that comes with a model is run.
    """
    path = BUNDLED.get(str(name), Path(name))
    if str(name) in BUNDLED and not path.is_dir():
        kind = str(name).removeprefix("critters-")
        raise FileNotFoundError(
            f"{str(name)!r} has not been trained here; `make train-classic` makes {path.parent}, "
            f"`python -m models.train_classic --kind {kind}` that one alone"
        )
    if path.is_dir():
        if _class_name(path / "config.json") == AttentionClassifier.__name__:
            return AttentionClassifier.from_pretrained(path, dtype=dtype, use_safetensors=True).to(device).eval()
        index = path / "model_index.json"
        if not index.is_file():
            raise FileNotFoundError(f"expected a diffusers pipeline in {path}, found no model_index.json there")
        # A pipeline of our own opens only through its own class: diffusers looks for it inside diffusers.
        ours = _class_name(index) == CritterPipeline.__name__
        source, opener = path, CritterPipeline if ours else DiffusionPipeline
    else:
        source, opener = str(name), DiffusionPipeline
    try:
        pipeline = opener.from_pretrained(source, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError) as error:  # a path that is no folder is, to diffusers, a malformed Hub id: ValueError
        known = ", ".join(repr(bundled) for bundled, folder in BUNDLED.items() if folder.is_dir())
        raise FileNotFoundError(
            f"could not open {str(name)!r}: expected {known}, a pipeline's folder with safetensors weights, "
            f"or a Hub id ({error})"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _class_name(configuration: Path) -> str | None:
    return json.loads(configuration.read_text()).get("_class_name") if configuration.is_file() else None
