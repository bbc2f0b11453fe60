"""The trained networks of the papers' blocks, by name: what `models.load` opens them with."""

from __future__ import annotations

import json

import torch

from models.assets import ASSETS
from models.classic.classifier import AttentionClassifier
from models.pipeline import CritterPipeline

FOLDER = ASSETS / "classic"
KINDS = ("sagan", "ddpm", "multihead", "cross", "classifier")  # of `models.training.train_classic`
FOLDERS = {f"critters-{kind}": FOLDER / kind for kind in KINDS}


def load_trained(name: str, *, device: str | torch.device, dtype: torch.dtype) -> CritterPipeline | AttentionClassifier:
    """Open one of `FOLDERS`: a pipeline that draws, or the classifier, a module.

    Raises:
        FileNotFoundError: when it has not been trained, saying how to.
    """
    folder = FOLDERS[name]
    if not folder.is_dir():
        kind = name.removeprefix("critters-")
        raise FileNotFoundError(
            f"{name!r} has not been trained here; `make train-classic` makes all of {', '.join(FOLDERS)}, "
            f"`python -m models.training.train_classic --kind {kind}` that one alone"
        )
    config = folder / "config.json"
    if config.is_file() and json.loads(config.read_text()).get("_class_name") == AttentionClassifier.__name__:
        return AttentionClassifier.from_pretrained(folder, dtype=dtype, use_safetensors=True).to(device).eval()
    pipeline = CritterPipeline.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
