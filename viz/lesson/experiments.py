"""What the lesson tries out: shuffled pixels, heads that become a convolution, scores taken apart, heads' ellipses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from models.classic import QuadraticAttention, RelativeAttention
from viz.layer import Layer
from viz.lesson.panels import flatten
from viz.lesson.watch import Call
from viz.recording.recorder import record


@dataclass(frozen=True)
class Shuffle:
    """The outputs (C, h, w) of shuffled pixels, and of pixels in order, shuffled afterwards; `gap` is the largest
    difference between the two. None: the function has no idea where anything is."""

    shuffled_first: torch.Tensor
    shuffled_after: torch.Tensor
    gap: float


@torch.no_grad()
def shuffle(function: Callable[[torch.Tensor], torch.Tensor], features: torch.Tensor, order: torch.Tensor) -> Shuffle:
    """Permute the pixels of `features` (C, h, w) before and after `function`, (1, C, h, w) to (1, C', h, w)."""

    def shuffled(grid: torch.Tensor) -> torch.Tensor:
        return grid.flatten(-2)[..., order].unflatten(-1, grid.shape[-2:])

    first, after = function(shuffled(features)[None])[0], shuffled(function(features[None])[0])
    return Shuffle(first, after, (first - after).abs().max().item())


def on_pixels(
    module: Callable[[torch.Tensor], torch.Tensor], grid: tuple[int, int]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A module that takes and gives lists of pixels (B, N, C), as a function of grids (B, C, h, w)."""
    return lambda x: module(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, grid)


@torch.no_grad()
def convolution_gap(convolution: nn.Conv2d, features: torch.Tensor, sharpness: float) -> float:
    """The largest difference between a K×K convolution of `features` (C, h, w) and K² heads of that sharpness.

    Both are given the features with K // 2 zeros around them: heads would take the nearest pixel for one outside.
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
    """{which: (h, w)}: what content and position each add to one query's scores. `tokens` are (N, C)."""
    index = flatten(block.grid, query)
    return {name: part[0, head, index].unflatten(0, block.grid) for name, part in block.terms(tokens[None]).items()}


@torch.no_grad()
def position_scores(block: RelativeAttention) -> dict[str, torch.Tensor]:
    """What takes the scores of `block` apart for every query, without the block.

    "u" (H, d); "rows" (H, 2h − 1) and "columns" (H, 2w − 1), v·Ŵ_k r for each δ down and right. Of a watched query,
    W_q x + u and then (W_q x + v)·Ŵ_k r for each row and column, u and v are taken off again.
    """
    ask = block.to_q

    def of(lines: torch.Tensor) -> torch.Tensor:
        return torch.einsum("hd,thd->ht", ask.v, ask.position(lines).unflatten(1, (block.heads, -1)))

    return {"u": ask.u.clone(), "rows": of(ask.rows), "columns": of(ask.columns)}


@torch.no_grad()
def where_heads_look(network: nn.Module, call: Call) -> list[tuple[Layer, torch.Tensor]]:
    """Every self-attention layer of a network in one call, and where its rows lie, (H, N, 5), by `places`."""
    with record(network, steps=(0,)) as trace:
        network(*call.args, **call.kwargs)
    found = []
    for layer in trace:
        if layer.kind == "self":
            where = (trace.branches[-1], layer.name, 0)
            found.append((layer, places(layer, trace.queries[where].float(), trace.keys[where].float())))
    return found


def places(layer: Layer, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """(H, N, 5): for each head and query, the mean shift of what it looks at, down and right, and the covariance's
    three numbers (down·down, down·right, right·right). As parts of the picture's sides, so that layers compare.

    Args:
        query, key: (H, N, d) and (H, M, d); keys that are no pixels are left out, the others' shares sum to 1 again.
    """
    height, width = layer.grid
    down, right = torch.cartesian_prod((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width).T
    moments = torch.stack([down, right, down * down, down * right, right * right], dim=1)  # (N, 5)
    found = []
    for q, k in zip(query, key[:, -layer.tokens :], strict=True):
        mean = torch.softmax(q @ k.T * layer.scale, dim=-1) @ moments
        y, x = mean[:, 0], mean[:, 1]
        spread = mean[:, 2:] - torch.stack([y * y, y * x, x * x], dim=1)
        found.append(torch.cat([torch.stack([y - down, x - right], dim=1), spread], dim=1))
    return torch.stack(found)


def how_far(network: nn.Module, calls: Sequence[Call]) -> dict[str, list[float]]:
    """{self-attention layer: how far each head looks, as a part of the picture}: the root of the mean squared distance
    of what a pixel looks at, averaged over all pixels of all calls.

    Looking everywhere alike is 0.577 far (√⅓); a 3×3 neighbourhood on a 16×16 grid, 0.07.
    """
    sums: dict[str, torch.Tensor] = {}
    for call in calls:
        for layer, where in where_heads_look(network, call):
            down, right, *_ = where.unbind(-1)
            distance = (down**2 + right**2 + where[..., 2] + where[..., 4]).clamp(min=0).sqrt().mean(dim=1)
            sums[layer.name] = sums.get(layer.name, 0) + distance / len(calls)
    return {name: [round(x, 3) for x in heads.tolist()] for name, heads in sums.items()}


def centre_and_spread(row: torch.Tensor, query: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a row (h, w) lies, in cells: its mean shift from the query, (2,), and its covariance, (2, 2)."""
    places = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float64) for side in row.shape))  # (N, 2)
    weights = row.flatten().double()
    centre = weights @ places
    away = places - centre
    return (centre - torch.tensor(query)).float(), ((weights[:, None] * away).T @ away).float()
