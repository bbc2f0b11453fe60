"""The file of a lesson: one watched layer, packed for the browser, which computes the panels of any query itself.

A safetensors file: numbers in float32, pictures (h, w, 3) uint8, the rest as JSON under "lesson" in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from models.classic import RelativeAttention
from viz.layer import Layer
from viz.lesson.experiments import Shuffle, on_pixels, position_scores, shuffle
from viz.lesson.panels import feature_colors
from viz.lesson.watch import Watched
from viz.probes import find_sites

OfGrids = Callable[[torch.Tensor], torch.Tensor]


def write(
    seen: Watched,
    network: nn.Module,
    path: Path,
    *,
    picture: np.ndarray,
    about: dict,
    around: Sequence[tuple[Layer, torch.Tensor]] = (),
    words: Sequence[str] = (),
) -> Path:
    """Write what the page needs of a layer, with the experiment of the shuffled pixels already done.

    Args:
        picture: (h, w, 3) uint8, the run's result.
        about: what the page says of the run: caption, step, timestep.
        around: what `viz.lesson.experiments.where_heads_look` found.
        words: what the keys of a cross-attention layer are; those that are missing are called by their number.
    """
    channels, (height, width) = len(seen.given), seen.layer.grid
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))
    attention, (positional, named) = network.get_submodule(seen.layer.name), seen.beside

    def attend(x: torch.Tensor) -> torch.Tensor:
        return attention(x, *positional, **named)

    shuffles = {"attention": shuffle(_of_grids(attend, seen), seen.given, order)}
    convolution = own_convolution(network, channels)
    if convolution is not None:
        shuffles["convolution"] = shuffle(convolution, seen.given, order)
    tensors = _numbers(seen) | {
        "picture": torch.from_numpy(np.array(picture)),
        "shuffled": _bytes(feature_colors(seen.given).flatten(0, 1)[order].unflatten(0, (height, width))),
    }
    for name, result in shuffles.items():
        tensors |= {f"{name}/{when}": pixels for when, pixels in _pictures(result).items()}
    if isinstance(attention, RelativeAttention):
        tensors |= {f"position/{name}": part for name, part in position_scores(attention).items()}
    tensors |= {f"around/{index}": where for index, (_, where) in enumerate(around)}
    said = _said(seen, words) | about
    said["gaps"] = {name: result.gap for name, result in shuffles.items()}
    said["layers"] = list(find_sites(network)[0])
    said["around"] = [{"name": layer.name, "grid": layer.grid, "heads": layer.heads} for layer, _ in around]
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path, {"lesson": json.dumps(said)})
    return path


def _numbers(seen: Watched) -> dict[str, torch.Tensor]:
    """What the layer was given, made and has learnt."""
    numbers = {
        "features": _bytes(feature_colors(seen.features)),
        "before": seen.features.flatten(1).T,
        "tokens": seen.tokens,
        "query": seen.query,
        "key": seen.key,
        "value": seen.value,
        "output": seen.output,
    }
    weights = ("query_weight", "query_bias", "out_weight", "out_bias")
    return numbers | {name: weight for name in weights if (weight := getattr(seen, name)) is not None}


def _said(seen: Watched, words: Sequence[str]) -> dict:
    """What the page is told of a layer beside its numbers."""
    said = {name: getattr(seen, name) for name in ("gamma", "rescale", "residual")} | {"layer": asdict(seen.layer)}
    if seen.layer.kind == "cross":
        said["words"] = [words[index] if index < len(words) else f"key {index}" for index in range(seen.layer.keys)]
    return said


def own_convolution(network: nn.Module, channels: int) -> nn.Conv2d | None:
    """A 3×3 convolution of the network's own that takes as many channels and keeps the grid."""

    def fits(module: nn.Module) -> bool:
        if not isinstance(module, nn.Conv2d) or module.in_channels != channels:
            return False
        return (module.kernel_size, module.stride, module.padding) == ((3, 3), (1, 1), (1, 1))

    return next(filter(fits, network.modules()), None)


def _of_grids(attend: OfGrids, seen: Watched) -> OfGrids:
    """The module as a function of grids, whether it takes them itself or, as in a transformer block, lists."""
    try:
        with torch.no_grad():
            keeps = attend(seen.given[None]).shape[2:] == seen.given.shape[1:]
    except (RuntimeError, ValueError):
        keeps = False
    return attend if keeps else on_pixels(attend, seen.layer.grid)


def _pictures(result: Shuffle) -> dict[str, torch.Tensor]:
    """Both outputs in one set of colours, so that the same numbers look the same."""
    both = feature_colors(torch.cat([result.shuffled_first, result.shuffled_after], dim=2))
    first, after = both.chunk(2, dim=1)
    return {"first": _bytes(first), "after": _bytes(after)}


def _bytes(colors: torch.Tensor) -> torch.Tensor:
    return (colors * 255).round().byte()
