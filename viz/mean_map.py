"""A mean of maps, which says what was averaged; maps relative to their means; and maps on another grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from viz.labels import describe_steps
from viz.layer import Branch, Grid


@dataclass(frozen=True)
class MeanMap:
    """A word's map averaged over layers, heads and steps.

    Attributes:
        map: (h, w) float32.
        word: the text that was asked for.
        heads: {layer: the heads of it that were averaged}.
        steps: all steps that were averaged.
        gaps: {layer: those steps at which it has no map, which were left out}.
        relative: whether the mean was divided by its own mean.
    """

    map: torch.Tensor
    word: str
    branch: Branch
    heads: dict[str, tuple[int, ...]]
    steps: tuple[int, ...]
    gaps: dict[str, tuple[int, ...]]
    relative: bool

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that were averaged."""
        return tuple(self.heads)

    def describe(self) -> str:
        """What was averaged: "mean of 10 layers, 4 heads, 25 steps"."""
        counts = {len(heads) for heads in self.heads.values()}
        total = sum(len(heads) for heads in self.heads.values())
        heads = _count(counts.pop(), "head") if len(counts) == 1 else f"{total} heads in all"
        text = f"mean of {_count(len(self.heads), 'layer')}, {heads}, {_count(len(self.steps), 'step')}"
        for layer, steps in self.gaps.items():
            text += f"; {layer} has no map at {describe_steps(list(steps))}"
        return text + (", relative to its own mean" if self.relative else "")


def relative_to_mean(maps: torch.Tensor) -> torch.Tensor:
    """Maps (…, h, w) divided by their own means; 1 where a map is 0 everywhere."""
    means = maps.mean((-2, -1), keepdim=True)
    return torch.where(means > 0, maps / means.clamp_min(torch.finfo(maps.dtype).tiny), torch.ones_like(maps))


def resized(maps: torch.Tensor, size: Grid) -> torch.Tensor:
    """Maps (…, h, w) on another grid over the same picture: every cell is the mean of the area that it covers."""
    down, across = (
        torch.from_numpy(_overlaps(old, new)).to(maps.dtype) for old, new in zip(maps.shape[-2:], size, strict=True)
    )
    return down @ maps @ across.T


def _overlaps(old: int, new: int) -> np.ndarray:
    """(new, old): the share of each of `new` equal parts of a line that lies in each of `old` equal parts."""
    edges, parts = np.arange(new + 1) / new * old, np.arange(old)
    start, end = edges[:-1, None], edges[1:, None]
    return np.maximum(0, np.minimum(end, parts + 1) - np.maximum(start, parts)) * new / old


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
