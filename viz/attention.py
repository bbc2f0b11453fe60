"""The arithmetic of one attention layer: rows, columns, and sums over all rows of softmax(QKᵀ).

q (H, n, d) and k (H, M, d) hold all queries and all keys of a layer, or those of one head, without H; where a function
says so, q holds some queries only. Only pixels are asked about, and only pixels are looked at on maps, but every key
takes its share of a row. Results are float32.
`viz/web/core/attention.js` computes the same in the browser.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from viz.checkpoint import checkpoint
from viz.layer import Grid, Layer

# Rows held, and keys converted, at a time; more would not stay in the processor's cache.
BLOCK, KEYS = 256, 512
BLOCK_SCORES = 2**23  # scores of all heads held at a time; fewer rows where heads or keys are many


@dataclass(frozen=True)
class RowSums:
    """The sums and the mean over the rows of all pixels of a layer at one step, for the chosen heads."""

    log_sums: torch.Tensor  # (H, N): log Σ_j exp(q_i·k_j · scale) of each row i
    mean_row: torch.Tensor  # (H, h, w): the mean of all rows, on the grid of the keys


def query_of(layer: Layer, cell: tuple[int, int]) -> int:
    """The index of a cell among all queries of a layer; IndexError for one outside the grid of the queries."""
    return layer.first_query + _index(layer.grid, cell, f"query {tuple(cell)}", layer)


def compute_mean_of_rows(layer: Layer, q: torch.Tensor, k: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """The mean of the rows of n queries over all keys, (H, M).

    Args:
        q: (H, n, d), of these queries only.
        shares: (n,), the weight of each.
    """
    q, k = q.float(), k.float()
    total = torch.zeros(*q.shape[:-2], layer.key_count)  # (H, M)
    for block, own in zip(_blocks(q, k), shares.split(_block(k)), strict=True):
        rows = torch.softmax(block @ k.transpose(-1, -2) * layer.scale, dim=-1)  # (H, n, M)
        total += torch.einsum("n,...nm->...m", own, rows)
    return total


def compute_region_columns(
    layer: Layer, q: torch.Tensor, k: torch.Tensor, weights: torch.Tensor, log_sums: torch.Tensor
) -> torch.Tensor:
    """The weighted mean of the columns of some pixels, A[:, j] = exp(q·k_j − log Σ exp): (H, h, w).

    Args:
        weights: on the grid of the keys.
        log_sums: `compute_row_sums(…).log_sums` of the same heads.

    Raises:
        ValueError: for weights that are not on that grid, negative, or all zero.
    """
    assert layer.key_grid is not None, "cross-attention has no columns"
    shares = shares_of_cells(layer, layer.key_grid, weights)
    q, k = q[..., layer.pixel_queries, :].float(), k[..., layer.pixel_keys, :].float()
    total = torch.zeros(q.shape[:-1])  # (H, N)
    for cells in shares.nonzero().squeeze(-1).split(_block(q)):
        checkpoint()
        scores = q @ k[..., cells, :].transpose(-1, -2) * layer.scale  # (H, N, n)
        total += torch.exp(scores - log_sums[..., None]) @ shares[cells]
    return total.unflatten(-1, layer.grid)


def compute_key_columns(
    layer: Layer, q: torch.Tensor, k: torch.Tensor, keys: list[int], log_sums: torch.Tensor | None = None
) -> torch.Tensor:
    """What every pixel spends on each of some keys, their columns: (T, H, h, w).

    Args:
        keys: T indices among all keys.
        log_sums: `compute_row_sums(…).log_sums` of the same heads, if you have them: worth it where keys are many.
    """
    q = q[..., layer.pixel_queries, :].float()
    if log_sums is None:
        turned = k.float().transpose(-1, -2)
        blocks = [torch.softmax(block @ turned * layer.scale, -1)[..., keys] for block in _blocks(q, k)]
        columns = torch.cat(blocks, -2)  # (H, N, T)
    else:
        columns = torch.exp(q @ k[..., keys, :].float().transpose(-1, -2) * layer.scale - log_sums[..., None])
    return columns.movedim(-1, 0).unflatten(-1, layer.grid)


def compute_rows_of(layer: Layer, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """The rows over all keys, pixels and others, of some queries, (H, n, d): (H, n, M)."""
    q = q.float()
    # Four times as fast as k @ qᵀ; and keys that are converted all at once would leave the cache before they are used.
    scores = torch.cat([q @ block.float().transpose(-1, -2) for block in k.split(KEYS, -2)], -1)
    return torch.softmax(scores * layer.scale, dim=-1)


def compute_row_sums(layer: Layer, q: torch.Tensor, k: torch.Tensor) -> RowSums:
    """The sums and the mean of the rows of all pixels."""
    q, k = q[..., layer.pixel_queries, :].float(), k.float()
    log_sums, mean = [], torch.zeros(*q.shape[:-2], layer.key_count)
    for block in _blocks(q, k):
        scores = block @ k.transpose(-1, -2) * layer.scale  # (H, n, M)
        log_sums.append(scores.logsumexp(-1))
        mean += torch.exp(scores - log_sums[-1][..., None]).sum(-2) / layer.tokens
    return RowSums(torch.cat(log_sums, -1), on_key_grid(layer, mean))


def _blocks(q: torch.Tensor, k: torch.Tensor) -> Iterator[torch.Tensor]:
    """The queries in blocks of as many rows as are held at a time; whoever waits may end it before each."""
    for block in q.split(_block(k), -2):
        checkpoint()
        yield block


def _block(others: torch.Tensor) -> int:
    """How many rows to hold at a time, each with a score for every head and token of `others` (…, M, d)."""
    return min(BLOCK, max(1, BLOCK_SCORES // others[..., 0].numel()))


def on_key_grid(layer: Layer, rows: torch.Tensor) -> torch.Tensor:
    """(…, h, w): the part of rows (…, M) that falls on pixels; (…, M) unchanged for cross-attention."""
    return rows if layer.key_grid is None else rows[..., layer.pixel_keys].unflatten(-1, layer.key_grid)


def _index(grid: Grid, cell: tuple[int, int], subject: str, layer: Layer) -> int:
    """The index of a cell among the cells of a grid."""
    (row, column), (height, width) = cell, grid
    if not (0 <= row < height and 0 <= column < width):
        raise IndexError(f"{subject} is outside the {height}x{width} grid of {layer.name}")
    return row * width + column


def cell_weights(layer: Layer, key: tuple[int, int]) -> torch.Tensor:
    """Weights on the grid of the keys, 1 at one cell; IndexError for a cell outside it."""
    assert layer.key_grid is not None, "cross-attention has no columns"
    weights = torch.zeros(layer.key_grid)
    weights.view(-1)[_index(layer.key_grid, key, f"key {tuple(key)}", layer)] = 1
    return weights


def shares_of_cells(layer: Layer, grid: Grid, weights: torch.Tensor) -> torch.Tensor:
    """(N,), the weights of the cells of a grid scaled to sum to 1.

    Raises:
        ValueError: for weights that are not on that grid, negative, or all zero.
    """
    weights = torch.as_tensor(weights, dtype=torch.float32)
    if tuple(weights.shape) != grid or not weights.isfinite().all() or weights.min() < 0 or not weights.any():
        raise ValueError(
            f"expected weights of the {grid[0]}x{grid[1]} grid of {layer.name}, not negative and not all "
            f"zero; got {tuple(weights.shape)} from {weights.min().item():g} to {weights.max().item():g}"
        )
    return (weights / weights.sum()).flatten()
