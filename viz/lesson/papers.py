"""The small networks of the papers' blocks, all shown the same picture, to be asked about the same pixel.

A network without text would draw a picture of its own. So a drawn critter is noised to a timestep instead, and shown to
the network once; the classifier is shown it as it is. No torch is imported until a network is opened.

`python -m viz.lesson.papers` finds out what the networks that were trained have learnt, and keeps it beside them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from models.assets import ASSETS

if TYPE_CHECKING:
    from torch import nn

    from viz.lesson.watch import Call

FOLDER = ASSETS / "classic"
PAPERS = {
    "sagan": "SAGAN: unscaled, with a learned γ (Zhang et al. 2018)",
    "ddpm": "DDPM: one head over all channels (Ho et al. 2020)",
    "multihead": "Multi-head, after scale and shift (Dhariwal & Nichol 2021)",
    "cross": "Multi-head with cross-attention to words",
    "classifier": "A classifier of nothing but attention (Cordonnier et al. 2020)",
}


def trained() -> dict[str, str]:
    """{name for `models.load`: what to call it}, of the networks whose weights are there."""
    return {f"critters-{kind}": label for kind, label in PAPERS.items() if (FOLDER / kind).is_dir()}


@lru_cache(maxsize=2)
def opened(name: str):
    """What `models.load(name)` gives, kept."""
    from models import load

    return load(name)


def network_of(model) -> nn.Module:
    """The network that attends: a pipeline's U-Net, or the classifier itself."""
    return getattr(model, "unet", model)


def layers_of(model) -> list[str]:
    """The attention layers, by name."""
    from viz.probes import find_sites

    return list(find_sites(network_of(model))[0])


def words_of(model, caption: str) -> list[str]:
    """What each key of a cross-attention layer is: a word of the caption, or the padding after them."""
    if getattr(model, "encoder", None) is None:
        return []
    words = list(model.encoder.read(caption).words)
    return words + ["(padding)"] * (model.encoder.config.length - len(words))


def call_of(model, picture, timestep: float, caption: str) -> Call:
    """The call that shows a network a picture, (h, w, 3) uint8, at the noise of a timestep: always the same noise."""
    import torch

    from viz.lesson.watch import Call

    pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    if not hasattr(model, "unet"):
        return Call((pixels,), {})
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    noisy = model.scheduler.add_noise(pixels, noise, torch.tensor([int(timestep)]))
    with torch.no_grad():
        words = () if model.encoder is None else (model.encoder(model.encoder.ids([caption])),)
    return Call((noisy, torch.tensor(int(timestep)), *words), {})


def findings(name: str, count: int = 20, timestep: int = 359) -> dict:
    """What a trained network has learnt: how far each head looks on `count` held-out critters; γ; answers right."""
    import numpy as np

    from models.critters import draw
    from models.training.train import HELD_OUT
    from models.training.train_classic import accuracy, learned_gammas
    from viz.lesson.experiments import how_far

    model = opened(name)
    critters = [draw(HELD_OUT + 9_000_000 + index) for index in range(count)]
    calls = [call_of(model, np.asarray(critter.image), timestep, critter.caption()) for critter in critters]
    found = {"how_far": how_far(network_of(model), calls)}
    if gammas := learned_gammas(network_of(model)):
        found["gamma"] = gammas
    if not hasattr(model, "unet"):
        found["right"] = accuracy(model, 2000)
    return found


if __name__ == "__main__":
    found = json.dumps({name: findings(name) for name in trained()}, indent=2)
    (FOLDER / "findings.json").write_text(found + "\n")
    print(found)
