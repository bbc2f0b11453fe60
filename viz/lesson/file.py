"""The lesson's file: one layer in one call, packed for the browser, which computes the panels of any query itself.

A safetensors file: numbers in float32, pictures (h, w, 3) in uint8, the rest as JSON in its metadata under "lesson".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from models.classic import RelativeAttention
from viz.layer import Layer
from viz.lesson.experiments import Shuffle, on_cells, position_scores, shuffle, where_heads_look
from viz.lesson.panels import feature_colors
from viz.lesson.stages import stages_of
from viz.lesson.watch import Call, LayerCall, watch_layer
from viz.probes import find_sites
from viz.probes.site import first_result

GridFunction = Callable[[torch.Tensor], torch.Tensor]  # of (1, C, h, w)


def write_lesson(
    network: nn.Module,
    call: Call,
    layer: str,
    path: Path,
    *,
    picture: np.ndarray,
    caption: str,
    step: int,
    words: Sequence[str] = (),
) -> Path:
    """Watch a layer of `network` in one call and write everything the page needs, including the shuffled cells.

    Args:
        picture: (h, w, 3) uint8, the result of the run that the call comes from.
        caption, step: of that run, for the page to show.
        words: the labels of a cross-attention layer's keys; keys without one are numbered.

    Raises:
        KeyError, ValueError: as `viz.lesson.watch.watch_layer`; ValueError for a layer that looks at pixels and at
            something else, or at a coarser map, which the page does not draw.
    """
    layer_call, around = watch_layer(network, call, layer), where_heads_look(network, call)
    _require_drawable(layer_call.layer)
    attention, shuffles = network.get_submodule(layer), _shuffles(network, layer_call)
    tensors = _numbers(layer_call) | {
        "picture": torch.from_numpy(np.array(picture)),
        "shuffled": _shuffled_features(layer_call),
        "order": _order(layer_call).float(),  # the cell that each place of a shuffled map shows
    }
    for name, result in shuffles.items():
        tensors |= {f"{name}/{when}": pixels for when, pixels in _pictures(result).items()}
    if isinstance(attention, RelativeAttention):
        tensors |= {f"position/{name}": part for name, part in position_scores(attention).items()}
    tensors |= {f"around/{index}": moments for index, (_, moments) in enumerate(around)}
    metadata = _metadata(layer_call, words) | {"caption": caption, "step": step, "timestep": layer_call.timestep}
    metadata["gaps"] = {name: result.gap for name, result in shuffles.items()}
    metadata["layers"] = list(find_sites(network)[0])
    grids = {one.name: one.grid for one, _ in around} | {layer: layer_call.layer.grid}
    metadata["stages"] = [vars(stage) for stage in stages_of(network, call, grids)]
    metadata["around"] = [{"name": one.name, "grid": one.grid, "heads": one.heads} for one, _ in around]
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path, {"lesson": json.dumps(metadata)})
    return path


def _require_drawable(layer: Layer) -> None:
    if layer.key_grid is not None and (layer.key_grid, layer.key_count) != (layer.grid, layer.tokens):
        raise ValueError(
            f"the lesson shows layers whose pixels look at one another alone, or at no pixels; {layer.name!r} looks at "
            + " and ".join(f"{segment.tokens} {segment.kind}" for segment in layer.keys)
        )


def _order(layer_call: LayerCall) -> torch.Tensor:
    """The order (N,) in which the cells are shuffled, always the same."""
    return torch.randperm(layer_call.layer.tokens, generator=torch.Generator().manual_seed(0))


def _shuffles(network: nn.Module, layer_call: LayerCall) -> dict[str, Shuffle]:
    """Shuffle the input of the layer and that of a convolution of the same network, if it has one that fits."""
    attention = network.get_submodule(layer_call.layer.name)

    def attend(x: torch.Tensor) -> torch.Tensor:
        return first_result((), {}, attention(x, *layer_call.other_args, **layer_call.other_kwargs))

    shuffles = {"attention": shuffle(_as_grid_function(attend, layer_call), layer_call.given, _order(layer_call))}
    convolution = find_convolution(network, len(layer_call.given))
    if convolution is not None:
        shuffles["convolution"] = shuffle(convolution, layer_call.given, _order(layer_call))
    return shuffles


def _shuffled_features(layer_call: LayerCall) -> torch.Tensor:
    """The colours of the layer's input, shuffled, (h, w, 3) uint8."""
    colors = feature_colors(layer_call.given).flatten(0, 1)  # (N, 3)
    return _bytes(colors[_order(layer_call)].unflatten(0, layer_call.layer.grid))


def _numbers(layer_call: LayerCall) -> dict[str, torch.Tensor]:
    """The layer's inputs, outputs and weights."""
    numbers = {
        "features": _bytes(feature_colors(layer_call.features)),
        "before": layer_call.features.flatten(1).T,
        "tokens": layer_call.tokens,
        "query": layer_call.query,
        "key": layer_call.key,
        "value": layer_call.value,
        "output": layer_call.output,
    }
    weights = ("query_weight", "query_bias", "out_weight", "out_bias")
    return numbers | {name: weight for name in weights if (weight := getattr(layer_call, name)) is not None}


def _metadata(layer_call: LayerCall, words: Sequence[str]) -> dict:
    """Everything the page needs except tensors."""
    layer = layer_call.layer
    shape = {name: getattr(layer, name) for name in ("name", "kind", "grid", "heads", "head_dim", "scale")}
    metadata = {name: getattr(layer_call, name) for name in ("gamma", "rescale", "residual")} | {"layer": shape}
    if layer.kind == "cross":
        metadata["words"] = [words[i] if i < len(words) else f"key {i}" for i in range(layer.key_count)]
    return metadata


def find_convolution(network: nn.Module, channels: int) -> nn.Conv2d | None:
    """The network's first 3×3 convolution that takes this many channels and keeps the grid, if any."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    shape = channels, (3, 3), (1, 1), (1, 1)
    return next((c for c in convolutions if (c.in_channels, c.kernel_size, c.stride, c.padding) == shape), None)


def _as_grid_function(attend: GridFunction, layer_call: LayerCall) -> GridFunction:
    """The module as a function of grids, whether it takes grids or, as in a transformer block, lists of cells."""
    try:
        with torch.no_grad():
            takes_grids = attend(layer_call.given[None]).shape[2:] == layer_call.given.shape[1:]
    except (RuntimeError, ValueError):
        takes_grids = False
    return attend if takes_grids else on_cells(attend, layer_call.layer.grid)


def _pictures(result: Shuffle) -> dict[str, torch.Tensor]:
    """Both outputs, coloured together so that the same numbers have the same colour."""
    both = feature_colors(torch.cat([result.shuffled_first, result.shuffled_after], dim=2))
    first, after = both.chunk(2, dim=1)
    return {"first": _bytes(first), "after": _bytes(after)}


def _bytes(colors: torch.Tensor) -> torch.Tensor:
    return (colors * 255).round().byte()
