"""Finds the irises of critters in pictures whose masks nobody knows: those that the bundled model draws.

    irises = teach()
    irises.find(pixels)[:, EYES.index("left eye")]    # (B, 64, 64) bool

It learns from drawn critters, weathered as in `models.training.judge`; half of their pairs of eyes do not match.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from models.critters import Critter
from models.training.judge import convolution, lesson, weathered
from models.training.train import to_pixels, warm_then_falling

EYES = ("left eye", "right eye", "middle eye", "eye")
_SMALLEST = 12  # pixels; less is a speck
_SHADE = 40  # of 255, in the channel that differs most: what of an eye is still its iris and neither pupil nor edge
_FIRST = 300_000_000  # seed: its critters are neither the model's nor the judge's


class Irises(nn.Module):
    """A small U-Net of convolutions, 0.4 M parameters."""

    def __init__(self, channels: tuple[int, int, int, int] = (24, 48, 64, 96)) -> None:
        super().__init__()
        first, second, third, last = channels
        self.down = nn.ModuleList(
            nn.Sequential(*block)
            for block in (
                convolution(3, first, size=3, stride=1),  # 64x64
                convolution(first, second, size=4, stride=2),  # 32x32
                convolution(second, third, size=4, stride=2),  # 16x16
                convolution(third, last, size=4, stride=2),  # 8x8
            )
        )
        self.middle = nn.Sequential(*convolution(last, third, size=3, stride=1))
        self.up = nn.ModuleList(
            nn.Sequential(*convolution(below + beside, out, size=3, stride=1))
            for below, beside, out in ((third, third, third), (third, second, second), (second, first, first))
        )
        self.head = nn.Conv2d(first, 1 + len(EYES), 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, 64, 64) in [-1, 1] to logits (B, 5, 64, 64): no iris, then those of `EYES`."""
        x, seen = pixels.contiguous(memory_format=torch.channels_last), []
        for block in self.down:
            x = block(x)
            seen.append(x)
        x = self.middle(x)
        for block, beside in zip(self.up, reversed(seen[:-1]), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2), beside], dim=1))
        return self.head(x).float()

    @torch.no_grad()
    def find(self, pixels: torch.Tensor, batch: int = 100) -> torch.Tensor:
        """Masks (B, 4, 64, 64), bool, of the irises of `EYES` in pictures (B, 3, 64, 64); empty where there is none."""
        self.eval()
        best = torch.cat([self(some).argmax(1) for some in pixels.split(batch)])
        masks = torch.stack([best == index for index in range(1, 1 + len(EYES))], dim=1)
        return masks & (masks.sum((2, 3), keepdim=True) >= _SMALLEST)


def labels(critter: Critter) -> torch.Tensor:
    """(64, 64): 0, or 1 + the place in `EYES` of the eye whose iris a pixel of a drawn critter belongs to."""
    picture, found = np.asarray(critter.image).astype(int), np.zeros(critter.image.size[::-1], dtype=np.int64)
    for index, name in enumerate(EYES):
        if (mask := critter.masks.get(name)) is not None:
            color = np.median(picture[mask], axis=0)
            found[mask & (np.abs(picture - color).max(axis=2) < _SHADE)] = 1 + index
    return torch.from_numpy(found)


def teach(steps: int = 500, batch: int = 48, learning_rate: float = 3e-3, seed: int = 0) -> Irises:
    """A network taught on `steps * batch` drawn critters. The same arguments give the same network."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    irises = Irises().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(irises.parameters(), lr=learning_rate)
    weights = torch.tensor([0.3] + [1.0] * len(EYES))  # most pixels are no iris
    for step in tqdm(range(steps), desc="irises", unit="step", smoothing=0.02):
        critters = [lesson(_FIRST + step * batch + index)[0] for index in range(batch)]
        pixels = weathered(to_pixels([critter.image for critter in critters]), generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = irises(pixels)
        loss = F.cross_entropy(logits.float(), torch.stack([labels(critter) for critter in critters]), weights)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * warm_then_falling(step, steps, warmup=30)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return irises.eval()
