"""The lesson's experiments: shuffled cells, heads as a convolution, scores split into terms, where heads look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from models.classic import QuadraticAttention, RelativeAttention
from viz.layer import Grid, Layer
from viz.lesson.panels import flatten
from viz.lesson.watch import Call
from viz.recording.recorder import record


@dataclass(frozen=True)
class Shuffle:
    """What a function returns for shuffled cells, and for cells in order, shuffled afterwards; both (C, h, w).

    `gap` is the largest difference between the two. If it is zero, the function does not know where anything is.
    """

    shuffled_first: torch.Tensor
    shuffled_after: torch.Tensor
    gap: float


@torch.no_grad()
def shuffle(function: Callable[[torch.Tensor], torch.Tensor], features: torch.Tensor, order: torch.Tensor) -> Shuffle:
    """Shuffle the cells of `features` (C, h, w) before and after `function`, (1, C, h, w) to (1, C', h, w)."""

    def shuffled(grid: torch.Tensor) -> torch.Tensor:
        return grid.flatten(-2)[..., order].unflatten(-1, grid.shape[-2:])

    first, after = function(shuffled(features)[None])[0], shuffled(function(features[None])[0])
    return Shuffle(first, after, (first - after).abs().max().item())


def on_cells(
    module: Callable[[torch.Tensor], torch.Tensor], grid: tuple[int, int]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Turn a module that takes and returns lists of cells (B, N, C) into a function of grids (B, C, h, w)."""
    return lambda x: module(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, grid)


@torch.no_grad()
def convolution_gap(convolution: nn.Conv2d, features: torch.Tensor, sharpness: float) -> float:
    """The largest difference between a K×K convolution of `features` (C, h, w) and K² heads of that sharpness.

    Both are given the features with K // 2 zeros around them; heads without that border would look at the nearest cell
    instead of outside.
    """
    reach = convolution.kernel_size[0] // 2
    padded = nn.functional.pad(features[None], (reach,) * 4)
    heads = QuadraticAttention.from_convolution(convolution, sharpness)(padded)
    height, width = features.shape[1:]
    inside = heads[:, :, reach : reach + height, reach : reach + width]
    return (inside - nn.functional.conv2d(padded, convolution.weight, convolution.bias)).abs().max().item()


@torch.no_grad()
def score_terms(
    block: RelativeAttention, tokens: torch.Tensor, query: tuple[int, int], head: int
) -> dict[str, torch.Tensor]:
    """The terms that content and position add to the scores of one query, {term: (h, w)}. `tokens` are (N, C)."""
    height, width = block.grid
    index = flatten((height, width), query)
    return {
        name: part[0, head, index].unflatten(0, (height, width)) for name, part in block.terms(tokens[None]).items()
    }


@torch.no_grad()
def position_scores(block: RelativeAttention) -> dict[str, torch.Tensor]:
    """The numbers that split the scores of `block` into terms for any query, without the block.

    A watched query holds W_q x + u, then (W_q x + v)·Ŵ_k r for each row and column. Subtracting these gives the terms:
    "u" (H, d); "rows" (H, 2h − 1) and "columns" (H, 2w − 1), which are v·Ŵ_k r for each δ down and right.
    """
    queries = block.to_q

    def scores_of(lines: torch.Tensor) -> torch.Tensor:
        return torch.einsum("hd,thd->ht", queries.v, queries.position(lines).unflatten(1, (block.heads, -1)))

    return {"u": queries.u.clone(), "rows": scores_of(queries.rows), "columns": scores_of(queries.columns)}


@torch.no_grad()
def where_heads_look(network: nn.Module, call: Call) -> list[tuple[Layer, torch.Tensor]]:
    """Every self-attention layer of a network in one call, with the `row_moments` (H, N, 5) of its rows."""
    with record(network, steps=(0,), guided=False, picture=call.index) as trace:
        network(*call.args, **call.kwargs)
    layers = []
    for layer in trace:
        if layer.kind == "self":
            key = (trace.branches[-1], layer.name, 0)
            layers.append((layer, row_moments(layer, trace.queries[key].float(), trace.keys[key].float())))
    return layers


def row_moments(layer: Layer, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Where each head looks from each query, (H, N, 5), in fractions of the picture's sides, so that layers compare.

    The five are the mean shift down and right, then the covariance: down·down, down·right, right·right.

    Args:
        query, key: (H, n, d) and (H, M, d), all queries and keys of a self-attention layer. Those that are not cells
            are left out, and the weights of the others sum to 1 again.
    """
    assert layer.key_grid is not None, "cross-attention looks at no cells"
    down, right = _centres(layer.grid)
    below, beside = _centres(layer.key_grid)
    moments = torch.stack([below, beside, below * below, below * beside, beside * beside], dim=1)  # (keys, 5)
    heads = []
    for q, k in zip(query[:, layer.pixel_queries], key[:, layer.pixel_keys], strict=True):
        mean = torch.softmax(q @ k.T * layer.scale, dim=-1) @ moments
        y, x = mean[:, 0], mean[:, 1]
        spread = mean[:, 2:] - torch.stack([y * y, y * x, x * x], dim=1)
        heads.append(torch.cat([torch.stack([y - down, x - right], dim=1), spread], dim=1))
    return torch.stack(heads)


def _centres(grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """How far down and how far right the centre of each cell lies, (N,) each, in fractions of the picture's sides."""
    height, width = grid
    down, right = torch.cartesian_prod((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width).T
    return down, right


def mean_distances(network: nn.Module, calls: Sequence[Call]) -> dict[str, list[float]]:
    """How far each head looks, as {self-attention layer: one distance per head}, in fractions of the picture's sides.

    The distance is the root mean square, weighted by a cell's row, averaged over all cells of all calls. It is 0.577
    (√⅓) for a head that looks everywhere equally and 0.07 for a 3×3 neighbourhood on a 16×16 grid.
    """
    sums: dict[str, torch.Tensor] = {}
    for call in calls:
        for layer, moments in where_heads_look(network, call):
            down, right, down_down, _, right_right = moments.unbind(-1)
            distance = (down**2 + right**2 + down_down + right_right).clamp(min=0).sqrt().mean(dim=1)
            sums[layer.name] = sums.get(layer.name, 0) + distance / len(calls)
    return {name: [round(x, 3) for x in heads.tolist()] for name, heads in sums.items()}


def centre_and_spread(row: torch.Tensor, query: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean shift of a row (h, w) from its query, (2,), and its covariance, (2, 2), both in cells."""
    cells = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float64) for side in row.shape))  # (N, 2)
    weights = row.flatten().double()
    centre = weights @ cells
    away = cells - centre
    return (centre - torch.tensor(query)).float(), ((weights[:, None] * away).T @ away).float()
