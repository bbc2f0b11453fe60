"""Finds the irises of critters in pictures that come without masks: those that the bundled model draws.

    finder = train_irises()
    finder.find(pixels)[:, EYES.index("left eye")]    # (B, 64, 64) bool

It learns from drawn critters, degraded as in `models.training.judge`; half of their pairs of eyes do not match.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from models.critters import Critter
from models.training.batches import to_pixels
from models.training.judge import conv_block, degrade, judge_example
from models.training.trainer import warmup_cosine

EYES = ("left eye", "right eye", "middle eye", "eye")
_SMALLEST = 12  # pixels; anything smaller is a speck
_SHADE = 40  # of 255: pixels of an eye that differ more from its colour in any channel are its pupil or edge
_FIRST = 300_000_000  # the first seed: other critters than the model's and the judge's


class Irises(nn.Module):
    """A small U-Net of convolutions, 0.4 M parameters."""

    def __init__(self, channels: tuple[int, int, int, int] = (24, 48, 64, 96)) -> None:
        super().__init__()
        first, second, third, last = channels
        self.down = nn.ModuleList(
            nn.Sequential(*block)
            for block in (
                conv_block(3, first, size=3, stride=1),  # 64x64
                conv_block(first, second, size=4, stride=2),  # 32x32
                conv_block(second, third, size=4, stride=2),  # 16x16
                conv_block(third, last, size=4, stride=2),  # 8x8
            )
        )
        self.middle = nn.Sequential(*conv_block(last, third, size=3, stride=1))
        self.up = nn.ModuleList(
            nn.Sequential(*conv_block(below + beside, out, size=3, stride=1))
            for below, beside, out in ((third, third, third), (third, second, second), (second, first, first))
        )
        self.head = nn.Conv2d(first, 1 + len(EYES), 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, 64, 64) in [-1, 1] to logits (B, 5, 64, 64) of no iris and the irises of `EYES`."""
        x, skips = pixels.contiguous(memory_format=torch.channels_last), []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = self.middle(x)
        for block, beside in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2), beside], dim=1))
        return self.head(x).float()

    @torch.no_grad()
    def find(self, pixels: torch.Tensor, batch: int = 100) -> torch.Tensor:
        """Masks (B, 4, 64, 64), bool, of the irises of `EYES` in pictures (B, 3, 64, 64); empty for missing eyes."""
        self.eval()
        best = torch.cat([self(some).argmax(1) for some in pixels.split(batch)])
        masks = torch.stack([best == index for index in range(1, 1 + len(EYES))], dim=1)
        return masks & (masks.sum((2, 3), keepdim=True) >= _SMALLEST)


def iris_classes(critter: Critter) -> torch.Tensor:
    """(64, 64) classes of a drawn critter's pixels: 0 for no iris, 1 + i for the iris of `EYES[i]`."""
    picture, classes = np.asarray(critter.image).astype(int), np.zeros(critter.image.size[::-1], dtype=np.int64)
    for index, name in enumerate(EYES):
        if (mask := critter.masks.get(name)) is not None:
            color = np.median(picture[mask], axis=0)
            classes[mask & (np.abs(picture - color).max(axis=2) < _SHADE)] = 1 + index
    return torch.from_numpy(classes)


def train_irises(steps: int = 500, batch: int = 48, learning_rate: float = 3e-3, seed: int = 0) -> Irises:
    """A network trained on `steps * batch` critters. The same arguments give the same network."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    irises = Irises().train()
    irises.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(irises.parameters(), lr=learning_rate)
    weights = torch.tensor([0.3] + [1.0] * len(EYES))  # most pixels belong to no iris
    for step in tqdm(range(steps), desc="irises", unit="step", smoothing=0.02):
        critters = [judge_example(_FIRST + step * batch + index)[0] for index in range(batch)]
        pixels = degrade(to_pixels([critter.image for critter in critters]), generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = irises(pixels)
        loss = F.cross_entropy(logits.float(), torch.stack([iris_classes(critter) for critter in critters]), weights)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * warmup_cosine(step, steps, warmup=30)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return irises.eval()
