"""Whether one sequence of tokens holds the numbers of another, as they are or token by token changed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

RESIDUAL = 1e-3  # the most that may be left of a sequence, relative, where others explain it
SUM_ROUNDING = 1e-5
NORM_EPS = 1e-5  # PyTorch's
CHANNELS = 8  # compared where all would take long


def equal(a: torch.Tensor, b: torch.Tensor, tolerance: float = 0.0) -> bool:
    """Whether (N, C) and (N, C) hold the same numbers, to a share of the largest."""
    if a.shape != b.shape or a.device != b.device:
        return False
    if a.data_ptr() == b.data_ptr() and a.stride() == b.stride() and a.dtype == b.dtype:
        return True
    few = slice(None, None, max(1, len(a) // 4))
    if a.dtype != b.dtype:
        kind = torch.promote_types(a.dtype, b.dtype)
        a, b, tolerance = a.to(kind), b.to(kind), max(tolerance, 1e-2)
    if not tolerance:
        return torch.equal(a[few], b[few]) and torch.equal(a, b)
    limit = tolerance * b.abs().max()
    return all(bool(((x - y).abs() <= limit).all()) for x, y in ((a[few], b[few]), (a, b)))


def sums(tokens: torch.Tensor, others: Sequence[torch.Tensor]) -> list[tuple[int, int]]:
    """The pairs of others (N, C) of which tokens (N, C) are the sum, up to rounding; a few are looked at first."""
    if len(others) < 2:
        return []
    few = slice(None, None, max(1, len(tokens) // 4))
    some = torch.stack([other[few].to(tokens.dtype) for other in others])  # (K, n, C)
    left = (some[:, None] + some[None] - tokens[few]).abs().amax((2, 3))
    pairs = torch.nonzero(left <= SUM_ROUNDING * tokens[few].abs().max()).tolist()
    return [(i, j) for i, j in pairs if i < j and equal(tokens, others[i] + others[j], SUM_ROUNDING)]


def explains(tokens: torch.Tensor, sources: Sequence[torch.Tensor]) -> bool:
    """Whether tokens (N, C) are a sum of sources (N, C), each times a factor for each channel, or for each token.

    One source may be normalised token by token first. So are norms, modulations, gates and residuals. Tokens in another
    order are not: too much would be left over.
    """
    if any(source.shape != tokens.shape for source in sources) or not tokens.is_floating_point():
        return False
    rounding = max(RESIDUAL, 4 * torch.finfo(tokens.dtype).eps)
    y, x = tokens.float(), [source.float() for source in sources]
    picked = slice(None, None, max(1, y.shape[1] // CHANNELS))
    if (len(tokens) - len(sources) - 1) * y[0, picked].numel() >= CHANNELS:  # else chance could explain them
        forms = (x, *([one] for one in _normalised(x[0]))) if len(x) == 1 else (x,)
        if any(_left_over(y[:, picked].T, [part[:, picked].T for part in form]) <= rounding for form in forms):
            return True
    return len(sources) == 1 and y.shape[1] >= 8 and _left_over(y, x) <= rounding


def _normalised(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Tokens (N, C) after a layer norm, and after a root-mean-square norm, without learned factors."""
    centered = x - x.mean(1, keepdim=True)
    return tuple(y / (y.square().mean(1, keepdim=True) + NORM_EPS).sqrt() for y in (centered, x))


def _left_over(y: torch.Tensor, x: Sequence[torch.Tensor]) -> float:
    """The largest share of a row of (n, m) that no linear combination of the rows of x, and a constant, explains."""
    rest = _centered(y)
    spread = rest.square().sum(1)
    if spread.max() <= 1e-12:
        return float("inf")  # what is the same everywhere could come from anywhere
    basis: list[torch.Tensor] = []
    for source in map(_centered, x):
        for axis in basis:
            source = source - (source * axis).sum(1, keepdim=True) * axis
        axis = source / source.norm(dim=1, keepdim=True).clamp(min=1e-12)
        basis.append(axis)
        rest = rest - (rest * axis).sum(1, keepdim=True) * axis
    return float((rest.square().sum(1) / spread.clamp(min=1e-12)).max().sqrt())


def _centered(rows: torch.Tensor) -> torch.Tensor:
    rows = rows.double()
    return rows - rows.mean(1, keepdim=True)


def likely_order(tokens: torch.Tensor, cells: torch.Tensor, table: torch.Tensor | None = None) -> bool | None:
    """Whether tokens (N, C) are made of the cells (C, h, w), and a table (N, C), column by column.

    None if they are made of them in neither order.
    """
    more = [] if table is None else [table.to(tokens)]
    if explains(tokens, [cells.flatten(1).T, *more]):
        return False
    return True if explains(tokens, [cells.transpose(1, 2).flatten(1).T, *more]) else None


def starts(tokens: torch.Tensor, row: torch.Tensor, last: int, tolerance: float) -> list[int]:
    """Where in (N, C) a run that begins with `row` can begin, from 0 to `last`."""
    width = min(16, len(row))
    limit = tolerance * float(row.abs().max()) if tolerance else 0.0
    differences = (tokens[: last + 1, :width] - row[:width]).abs().amax(1)
    return [int(start) for start in torch.nonzero(differences <= limit).flatten().tolist()[:4]]
