"""Opening the trained networks of the papers' blocks by name, for `models.load`."""

from __future__ import annotations

import json

import torch

from models.assets import ASSETS
from models.classic.classifier import AttentionClassifier
from models.opening.networks import memory_options
from models.pipeline import CritterPipeline

KINDS = ("sagan", "ddpm", "multihead", "cross", "classifier")  # as in `models.training.train_classic`
FOLDERS = {f"critters-{kind}": ASSETS / "classic" / kind for kind in KINDS}


def load_paper_network(
    name: str, *, device: str | torch.device, dtype: torch.dtype
) -> CritterPipeline | AttentionClassifier:
    """Open one of `FOLDERS`: a pipeline, or the classifier, which is a module.

    Raises:
        FileNotFoundError: when it has not been trained, saying how to train it.
    """
    folder = FOLDERS[name]
    if not folder.is_dir():
        kind = name.removeprefix("critters-")
        raise FileNotFoundError(
            f"{name!r} has not been trained here; `make train-classic` trains all of {', '.join(FOLDERS)}, "
            f"`python -m models.training.train_classic --kind {kind}` only this one"
        )
    options = {"dtype": dtype, "use_safetensors": True, **memory_options()}
    config = folder / "config.json"
    if config.is_file() and json.loads(config.read_text()).get("_class_name") == AttentionClassifier.__name__:
        return AttentionClassifier.from_pretrained(folder, **options).to(device).eval()
    pipeline = CritterPipeline.from_pretrained(folder, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
