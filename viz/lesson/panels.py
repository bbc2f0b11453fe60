"""One cell's way through self-attention, panel by panel, with the real numbers: what the tab *How it works* shows.

    from viz.lesson.panels import compute_panels
    from viz.lesson.watch import watch_recipe

    layer_call = watch_recipe(pipeline, recipe, layer, step)
    panels = compute_panels(layer_call, query=(3, 5), head=0)
    panels.scores, panels.row, panels.total, panels.top, panels.difference

The page computes the same numbers in `viz/web/lesson/panels.js`; tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from viz.layer import Layer
from viz.lesson.watch import LayerCall


@dataclass(frozen=True)
class TopKey:
    """One of a row's largest entries: the key's index in the list, its cell (None if it is not one), its weight."""

    index: int
    cell: tuple[int, int] | None
    weight: float


@dataclass(frozen=True)
class Panels:
    """The numbers of one query in one head. Keys are laid out (h, w) in self-attention, (M,) in cross-attention.

    Attributes:
        index: the query's row in the list of cells.
        pixel: (C,), the input of W_q.
        query: (d,).
        query_difference: the largest difference between `query` and W_q x + b, computed from `pixel`; None without W_q.
        keys: (M, d).
        scores: q·k times the layer's scale.
        row: the softmax of the scores over `temperature`.
        total: the sum of that softmax over all keys.
        top: the largest entries of the row, largest first.
        attended: (dv,), the sum of V weighted by the row.
        contributions: (n, dv), the part of that sum that comes from each key in `top`.
        joined: (H·dv,), the `attended` of all heads side by side.
        contribution: (C,), `joined` through W_out and times gamma.
        output: (C,), `contribution` plus the residual, if there is one.
        difference: the largest difference between `output` and the block's own.
    """

    index: int
    pixel: torch.Tensor
    query: torch.Tensor
    query_difference: float | None
    keys: torch.Tensor
    scores: torch.Tensor
    row: torch.Tensor
    total: float
    top: list[TopKey]
    attended: torch.Tensor
    contributions: torch.Tensor
    joined: torch.Tensor
    contribution: torch.Tensor
    output: torch.Tensor
    difference: float


def compute_panels(
    layer_call: LayerCall, query: tuple[int, int], head: int, *, temperature: float = 1.0, top: int = 5
) -> Panels:
    """Compute the numbers of all panels.

    Args:
        query: (row, column) on the layer's grid.
        temperature: divides the scores before the softmax. The block's own is 1; with any other, `difference` tells
            how much that changes the output.
        top: how many of the largest entries to list.

    Raises:
        IndexError: for a query outside the grid, or a head that does not exist.
        ValueError: for a temperature that is not above 0.
    """
    layer = layer_call.layer
    if not 0 <= head < layer.heads:
        raise IndexError(f"head {head} is outside the {layer.heads} heads of {layer.name}")
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, got {temperature:g}")
    index = flatten(layer.grid, query)
    scores = (layer_call.key @ layer_call.query[:, index, :, None]).squeeze(-1) * layer.scale  # (H, M)
    weights = torch.softmax(scores / temperature, dim=-1)  # (H, M)
    heads = (weights[:, None] @ layer_call.value).squeeze(1)  # (H, dv)
    largest = weights[head].topk(min(top, weights.shape[1]))
    contribution = layer_call.project(heads.flatten())
    residual = layer_call.features.flatten(1)[:, index] if layer_call.residual else 0
    output = (contribution + residual) / layer_call.rescale
    return Panels(
        index=index,
        pixel=layer_call.tokens[index],
        query=layer_call.query[head, index],
        query_difference=_query_difference(layer_call, index, head),
        keys=layer_call.key[head],
        scores=on_grid(layer, scores[head]),
        row=on_grid(layer, weights[head]),
        total=weights[head].double().sum().item(),
        top=[TopKey(key, cell_of_key(layer, key), weights[head, key].item()) for key in largest.indices.tolist()],
        attended=heads[head],
        contributions=largest.values[:, None] * layer_call.value[head, largest.indices],
        joined=heads.flatten(),
        contribution=contribution,
        output=output,
        difference=(output - layer_call.output[index]).abs().max().item(),
    )


def _query_difference(layer_call: LayerCall, index: int, head: int) -> float | None:
    if layer_call.query_weight is None or layer_call.query_bias is None:
        return None
    recomputed = layer_call.query_weight[head] @ layer_call.tokens[index] + layer_call.query_bias[head]
    return (recomputed - layer_call.query[head, index]).abs().max().item()


# -- cells and rows ----------------------------------------------------------------------------------------------------


def flatten(grid: tuple[int, int], cell: tuple[int, int]) -> int:
    """The row of the list that the cell (row, column) of the grid becomes.

    Raises:
        IndexError: for a cell outside the grid.
    """
    (row, column), (height, width) = cell, grid
    if not (0 <= row < height and 0 <= column < width):
        raise IndexError(f"({row}, {column}) is outside the {height}x{width} grid")
    return row * width + column


def unflatten(grid: tuple[int, int], index: int) -> tuple[int, int]:
    """The cell that became row `index` of the list: the inverse of `flatten`.

    Raises:
        IndexError: for a row that the list does not have.
    """
    height, width = grid
    if not 0 <= index < height * width:
        raise IndexError(f"row {index} is outside a list of {height * width} cells")
    return divmod(index, width)


def on_grid(layer: Layer, values: torch.Tensor) -> torch.Tensor:
    """One number per key, (M,), laid out (h, w) if keys are cells; keys that are not cells are then left out."""
    return values if layer.key_grid is None else values[layer.pixel_keys].unflatten(0, layer.key_grid)


def cell_of_key(layer: Layer, key: int) -> tuple[int, int] | None:
    """The cell that a key belongs to, on the grid of the keys, or None."""
    if layer.key_grid is None or not layer.pixel_keys.start <= key < layer.pixel_keys.stop:
        return None
    return unflatten(layer.key_grid, key - layer.first_key)


def feature_colors(features: torch.Tensor) -> torch.Tensor:
    """A feature map (C, h, w) as colours (h, w, 3) in 0..1: its first three principal components, each stretched.

    Each component is signed so that its largest loading is positive; a missing one is 0.5 everywhere.
    """
    cells = features.flatten(1).T.double()  # (N, C)
    cells = cells - cells.mean(dim=0)
    _, sizes, directions = torch.linalg.svd(cells, full_matrices=False)
    colors = torch.full((len(cells), 3), 0.5, dtype=torch.float64)
    for channel, (size, direction) in enumerate(zip(sizes[:3], directions[:3], strict=True)):
        if size <= 1e-9 * max(sizes[0].item(), 1e-30):
            break
        component = cells @ (direction * direction[direction.abs().argmax()].sign())  # (N,)
        colors[:, channel] = (component - component.min()) / (component.max() - component.min())
    return colors.float().unflatten(0, features.shape[1:])
