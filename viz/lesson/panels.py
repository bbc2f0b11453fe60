"""One pixel's way through self-attention, panel by panel, with the real numbers: what the tab *How it works* shows.

    seen = watch(pipeline, recipe, layer, step)
    panels = lesson(seen, query=(3, 5), head=0)
    panels.scores, panels.row, panels.total, panels.top, panels.difference

Everything here takes numbers and returns numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from viz.layer import Layer
from viz.lesson.watch import Watched, watch

__all__ = ["Entry", "Lesson", "lesson", "watch"]


@dataclass(frozen=True)
class Entry:
    """One key of a row: its index in the list, its (row, column), or None where it is no pixel, and its weight."""

    index: int
    place: tuple[int, int] | None
    weight: float


@dataclass(frozen=True)
class Lesson:
    """The panels of one query in one head. d numbers a head; self-attention is laid out (h, w), cross-attention (M,).

    Attributes:
        index: the query's row in the list of pixels.
        pixel: (C,), what W_q is applied to.
        query: (d,); `query_difference` is how far W_q x + b, computed from `pixel`, is from it (None without a W_q).
        keys: (M, d).
        scores: q·k times the layer's scale.
        row: softmax of the scores over `temperature`; its sum, over all keys, is `total`.
        top: the largest entries of the row, largest first.
        attended: (dv,), the row's weighted sum of V; `contributions` (n, dv) are the parts of it that `top` gave.
        joined: (H·dv,), all heads' side by side.
        contribution: (C,), that through W_out and times gamma.
        output: (C,), the residual added, where there is one; `difference` is the largest one to the block's own output.
    """

    index: int
    pixel: torch.Tensor
    query: torch.Tensor
    query_difference: float | None
    keys: torch.Tensor
    scores: torch.Tensor
    row: torch.Tensor
    total: float
    top: list[Entry]
    attended: torch.Tensor
    contributions: torch.Tensor
    joined: torch.Tensor
    contribution: torch.Tensor
    output: torch.Tensor
    difference: float


def lesson(seen: Watched, query: tuple[int, int], head: int, *, temperature: float = 1.0, top: int = 5) -> Lesson:
    """The numbers of all panels.

    Args:
        query: (row, column) on the layer's grid.
        temperature: what scores are divided by before the softmax. The block's own is 1; at any other, `difference`
            says how much that changes what comes out.
        top: how many of the largest entries to list.

    Raises:
        IndexError: for a query outside the grid, or no such head.
        ValueError: for a temperature that is not above 0.
    """
    layer = seen.layer
    if not 0 <= head < layer.heads:
        raise IndexError(f"head {head} is outside the {layer.heads} heads of {layer.name}")
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, got {temperature:g}")
    index = flatten(layer.grid, query)
    scores = (seen.key @ seen.query[:, index, :, None]).squeeze(-1) * layer.scale  # (H, M)
    weights = torch.softmax(scores / temperature, dim=-1)  # (H, M)
    heads = (weights[:, None] @ seen.value).squeeze(1)  # (H, dv)
    best = weights[head].topk(min(top, weights.shape[1]))
    contribution = seen.projected(heads.flatten())
    output = (contribution + seen.features.flatten(1)[:, index] if seen.residual else contribution) / seen.rescale
    return Lesson(
        index=index,
        pixel=seen.tokens[index],
        query=seen.query[head, index],
        query_difference=_query_difference(seen, index, head),
        keys=seen.key[head],
        scores=on_grid(layer, scores[head]),
        row=on_grid(layer, weights[head]),
        total=weights[head].double().sum().item(),
        top=[
            Entry(j, key_place(layer, j), w) for j, w in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ],
        attended=heads[head],
        contributions=best.values[:, None] * seen.value[head, best.indices],
        joined=heads.flatten(),
        contribution=contribution,
        output=output,
        difference=(output - seen.output[index]).abs().max().item(),
    )


def _query_difference(seen: Watched, index: int, head: int) -> float | None:
    if seen.query_weight is None:
        return None
    again = seen.query_weight[head] @ seen.tokens[index] + seen.query_bias[head]
    return (again - seen.query[head, index]).abs().max().item()


# -- cells and rows ----------------------------------------------------------------------------------------------------


def flatten(grid: tuple[int, int], place: tuple[int, int]) -> int:
    """The row of the list that the cell (row, column) of the grid becomes.

    Raises:
        IndexError: for a place outside the grid.
    """
    (row, column), (height, width) = place, grid
    if not (0 <= row < height and 0 <= column < width):
        raise IndexError(f"({row}, {column}) is outside the {height}x{width} grid")
    return row * width + column


def unflatten(grid: tuple[int, int], index: int) -> tuple[int, int]:
    """The cell that row `index` of the list was: `flatten` backwards.

    Raises:
        IndexError: for a row that the list does not have.
    """
    height, width = grid
    if not 0 <= index < height * width:
        raise IndexError(f"row {index} is outside a list of {height * width} pixels")
    return divmod(index, width)


def on_grid(layer: Layer, values: torch.Tensor) -> torch.Tensor:
    """Numbers for each key, (M,), laid out (h, w) where keys are pixels; the first, if they are none, are left out."""
    return values if layer.kind != "self" else values[len(values) - layer.tokens :].unflatten(0, layer.grid)


def key_place(layer: Layer, index: int) -> tuple[int, int] | None:
    """Where on the grid key `index` is, or None."""
    pixel = index - (layer.keys - layer.tokens)
    return unflatten(layer.grid, pixel) if layer.kind == "self" and pixel >= 0 else None


def feature_colors(features: torch.Tensor) -> torch.Tensor:
    """A feature map (C, h, w) as colours (h, w, 3) in 0..1: its three leading principal components, each stretched.

    Each component points to where its largest loading is positive; one that is not there is 0.5 everywhere.
    """
    pixels = features.flatten(1).T.double()  # (N, C)
    pixels = pixels - pixels.mean(dim=0)
    _, sizes, directions = torch.linalg.svd(pixels, full_matrices=False)
    colors = torch.full((len(pixels), 3), 0.5, dtype=torch.float64)
    for channel, (size, direction) in enumerate(zip(sizes[:3], directions[:3], strict=True)):
        if size <= 1e-9 * max(sizes[0].item(), 1e-30):
            break
        component = pixels @ (direction * direction[direction.abs().argmax()].sign())  # (N,)
        colors[:, channel] = (component - component.min()) / (component.max() - component.min())
    return colors.float().unflatten(0, features.shape[1:])


# -- beside it: what a convolution sees --------------------------------------------------------------------------------


def receptive_field(grid: tuple[int, int], place: tuple[int, int], layers: int = 1, kernel: int = 3) -> torch.Tensor:
    """(h, w) bool: what reaches `place` through so many convolutions in a row."""
    reach = layers * (kernel // 2)
    rows, columns = (torch.arange(side) for side in grid)
    return ((rows - place[0]).abs() <= reach)[:, None] & ((columns - place[1]).abs() <= reach)


def layers_needed(query: tuple[int, int], key: tuple[int, int], kernel: int = 3) -> int:
    """How many convolutions in a row it takes until the query's cell can depend on the key's."""
    distance = max(abs(q - k) for q, k in zip(query, key, strict=True))
    return max(1, -(-distance // (kernel // 2)))
