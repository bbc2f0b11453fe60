"""The settings of a training run, also as command-line options, and the seeds that it must not use."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from typing import Any

# Seeds from here on are never trained on: they belong to models.training.evaluate and to the gallery.
HELD_OUT = 1_000_000_000

# The part of all timesteps in which a U-Net in training decides on the colour of eyes: at 880 of 1000 a
# quarter of its estimates were right, at 700 nine in ten.
DECIDING = (0.55, 0.95)


@dataclass
class TrainConfig:
    out: str = "runs/critters"
    steps: int = 6000
    batch: int = 16  # on two cores 16 and 24 cost the same per picture, and 16 gives more steps
    learning_rate: float = 1e-3
    warmup: int = 200
    ema: float = 0.999
    min_snr: float = 5.0  # Hang et al. 2023, arXiv 2303.09556
    min_weight: float = 0.3  # under high noise min-SNR weighs next to nothing, and there the parts are decided
    deciding: float = 0.4  # the fraction of a batch whose timesteps are drawn from DECIDING
    misled: float = 0.25  # the fraction of critters with several eyes that are shown with one eye in a wrong colour
    face: float = 3.0  # how much more the upper body's pixels count: eyes are a thirtieth of the picture
    clip: float = 1.0
    seed: int = 0
    checkpoint_every: int = 250
    samples_every: int = 1000
    device: str = "cpu"
    start_from: str = ""  # the folder of a pipeline whose weights to start from; empty: random weights


# The settings that a resumed run may change: its weights depend on none of them.
CHANGEABLE = ("out", "checkpoint_every", "samples_every", "device")


def add_options(parser: argparse.ArgumentParser, config: Any) -> None:
    """Add an option to `parser` for each field of `config`, a dataclass whose fields all have defaults."""
    for field in fields(config):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
