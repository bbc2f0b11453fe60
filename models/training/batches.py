"""The bundled model's training data: drawn critters, captions that leave things open, and timesteps."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from models.attributes import ATTRIBUTES, COLORS
from models.critters import SIZE, Critter, draw_critter
from models.training.config import DECIDING, TrainConfig


@dataclass(frozen=True)
class Batch:
    """The training data of one step."""

    pixels: torch.Tensor  # (B, 3, 64, 64) in [-1, 1]: the clean pictures to predict
    shown: torch.Tensor  # like `pixels`, with an eye in a wrong colour in some: the pictures that noise is added to
    weights: torch.Tensor  # (B, 1, 64, 64), of mean 1: how much each pixel counts
    captions: list[str]


def training_batch(step: int, config: TrainConfig) -> Batch:
    """The pictures and captions of one step."""
    rng = random.Random(f"{config.seed} {step}")
    first = config.seed * 10_000_000 + step * config.batch  # a run with another seed sees other critters
    critters = [draw_critter(seed=first + index) for index in range(config.batch)]
    mentions = [sample_mentioned(rng) for _ in critters]
    captions = [critter.caption(names) if names else "" for critter, names in zip(critters, mentions, strict=True)]
    weights = torch.stack([pixel_weights(critter, config.face) for critter in critters])
    pixels = to_pixels([critter.image for critter in critters])
    shown = pixels.clone()
    for index, critter in enumerate(critters):
        if rng.random() < config.misled and critter.attributes.eye_count != "one":
            # At most half of the way: if both colours were equally likely, the right answer would be a blend.
            shown[index].lerp_(with_wrong_eye(first + index, critter, rng), rng.random() / 2)
    return Batch(pixels, shown, weights, captions)


def sample_mentioned(rng: random.Random) -> list[str]:
    """The attributes that a training caption mentions: none in a tenth, all in a fifth; most leave some parts open.

    Only where the eyes are left open does the model have to learn that they agree.
    """
    choice = rng.random()
    if choice < 0.1:
        return []
    if choice < 0.3:
        return list(ATTRIBUTES)
    if choice < 0.65:
        part = rng.choice(("eye", "eye", "eye", "crown", "mouth"))
        return [name for name in ATTRIBUTES if not name.startswith(part)]
    return [name for name in ATTRIBUTES if rng.random() < 0.5]


def with_wrong_eye(seed: int, critter: Critter, rng: random.Random) -> torch.Tensor:
    """(3, 64, 64): the critter of `seed` with one of its several eyes in another colour.

    Under high noise, the traces of one eye often contradict those of the other. While sampling, a network that believes
    both widens the difference at every step, until the eyes have two colours. In training that would never happen,
    because the traces come from the true picture; these critters make it happen.
    """
    eye = rng.choice([name for name in critter.part_names if name.endswith("eye")])
    colors = [name for name in COLORS if name not in (critter.attributes.eye_color, critter.attributes.body_color)]
    return to_pixels([draw_critter(seed, eye_colors={eye: rng.choice(colors)}).image])[0]


def pixel_weights(critter: Critter, face: float) -> torch.Tensor:
    """(1, 64, 64), of mean 1: `face` times as much where this body may have eyes as elsewhere.

    The box depends on the body only: weights that followed the eyes would teach the network to see eyes everywhere.
    """
    rows, columns = (np.flatnonzero(critter.masks["body"].any(axis)) for axis in (1, 0))
    weights = torch.ones(1, SIZE, SIZE)
    bottom = rows[0] + (rows[-1] - rows[0]) * 2 // 3
    weights[:, rows[0] : bottom + 1, columns[0] : columns[-1] + 1] = face
    return weights / weights.mean()


def draw_timesteps(config: TrainConfig, total: int, generator: torch.Generator) -> torch.Tensor:
    """The timesteps (B,) of one step: uniform over all of them, but for a part of the batch over `DECIDING` only."""
    anywhere = torch.randint(0, total, (config.batch,), generator=generator)
    deciding = torch.randint(int(DECIDING[0] * total), int(DECIDING[1] * total), (config.batch,), generator=generator)
    return torch.where(torch.rand(config.batch, generator=generator) < config.deciding, deciding, anywhere)


def to_pixels(images: Sequence[Image.Image]) -> torch.Tensor:
    """Pictures as a (B, 3, h, w) tensor in [-1, 1]."""
    array = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 127.5 - 1
