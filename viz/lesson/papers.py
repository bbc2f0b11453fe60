"""The small networks around the papers' attention blocks, all given the same picture, so that they can be compared.

A network without text would draw a picture of its own. So an existing critter is noised to a timestep and given to the
network once; the classifier gets it without noise.

`python -m viz.lesson.papers` measures what the trained networks have learned and writes `assets/classic/findings.json`.
"""

# Imports inside functions keep torch from being loaded when the page starts.
from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cachetools import LRUCache, cached

from models.assets import ASSETS
from models.opening.revision import revision_of

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from models.classic import AttentionClassifier
    from models.pipeline import CritterPipeline
    from viz.lesson.watch import Call

    Model = CritterPipeline | AttentionClassifier

FOLDER = ASSETS / "classic"
PAPERS = {
    "sagan": "SAGAN: unscaled, with a learned γ (Zhang et al. 2018)",
    "ddpm": "DDPM: one head over all channels (Ho et al. 2020)",
    "multihead": "Multi-head, after scale and shift (Dhariwal & Nichol 2021)",
    "cross": "Multi-head with cross-attention to words",
    "classifier": "An attention-only classifier (Cordonnier et al. 2020)",
}


def available_networks() -> dict[str, str]:
    """The networks whose weights exist, as {name for `models.load`: label}."""
    return {f"critters-{kind}": label for kind, label in PAPERS.items() if (FOLDER / kind).is_dir()}


_loaded: LRUCache[str, Model] = LRUCache(2)


def is_loaded(name: str) -> bool:
    """Whether `load_model` has the network of that name already."""
    return name in _loaded


@cached(_loaded, key=lambda name: name, lock=threading.Lock())
def load_model(name: str) -> Model:
    """`models.load(name)`, keeping the last two."""
    from models import load

    return load(name)


def network_of(model: Model) -> nn.Module:
    """The network with the attention: a pipeline's U-Net, or the classifier itself."""
    return cast("nn.Module", getattr(model, "unet", model))


def layers_of(model: Model) -> list[str]:
    """The names of the attention layers."""
    from viz.probes import find_sites

    return list(find_sites(network_of(model))[0])


def words_of(model: Model, caption: str) -> list[str]:
    """The label of each key of a cross-attention layer: a word of the caption, or the padding after the words."""
    if getattr(model, "encoder", None) is None:
        return []
    words = list(model.encoder.read(caption).words)
    return words + ["(padding)"] * (model.encoder.config.length - len(words))


def call_of(model: Model, picture: np.ndarray, timestep: float, caption: str) -> Call:
    """The call that shows a model a picture (h, w, 3) uint8 under the noise of a timestep, always the same noise."""
    import torch

    from viz.lesson.watch import Call

    pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    if not hasattr(model, "unet"):
        return Call((pixels,))
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    noisy = model.scheduler.add_noise(pixels, noise, torch.tensor([int(timestep)]))
    with torch.no_grad():
        words = () if model.encoder is None else (model.encoder(model.encoder.ids([caption])),)
    return Call((noisy, torch.tensor(int(timestep)), *words))


def measure(name: str, count: int = 20, timestep: int = 359) -> dict:
    """Measure what a trained network has learned.

    Returns:
        "revision": of the weights that were measured; "how_far": how far each head looks, on `count` held-out critters;
        "gamma": SAGAN's learned factors; "right": the share of right answers that the classifier gives.
    """
    import numpy as np

    from models.critters import draw_critter
    from models.training.config import HELD_OUT
    from models.training.train_classic import classifier_accuracy, learned_gammas
    from viz.lesson.experiments import mean_distances

    model = load_model(name)
    critters = [draw_critter(HELD_OUT + 9_000_000 + index) for index in range(count)]
    calls = [call_of(model, np.asarray(critter.image), timestep, critter.caption()) for critter in critters]
    findings = {"revision": revision_of(folder_of(name)), "how_far": mean_distances(network_of(model), calls)}
    if gammas := learned_gammas(network_of(model)):
        findings["gamma"] = gammas
    if not hasattr(model, "unet"):
        findings["right"] = classifier_accuracy(model, 2000)
    return findings


def folder_of(name: str) -> Path:
    """Where the weights of one of `available_networks` lie."""
    return FOLDER / name.removeprefix("critters-")


if __name__ == "__main__":
    text = json.dumps({name: measure(name) for name in available_networks()}, indent=2)
    (FOLDER / "findings.json").write_text(text + "\n")
    print(text)
