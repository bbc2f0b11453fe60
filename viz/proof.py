"""The proof that a map is the one the module computed: its output, recomputed from the recorded q, k and v."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from viz.checkpoint import checkpoint
from viz.layer import Layer

# The largest difference between softmax(QKᵀ)·V and the module's own output that counts as rounding: relative to the
# spread of V, so that it says how far off the weights can be, plus some units in the last place of the output.
TOLERANCE = 1e-5
UNITS = {torch.float64: 16, torch.float32: 16, torch.float16: 4, torch.bfloat16: 4}
# With more rounding than this, too little is left to compare.
MOST = {torch.float64: 1e-3, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
# Rows to compare at a layer's first step and at each later one: at most so many; so many scores of all heads, or that
# share of all rows if it is more.
FIRST_ROWS, FIRST_SCORES, FIRST_SHARE = 64, 2**16, 1 / 64
LATER_ROWS, LATER_SCORES, LATER_SHARE = 32, 2**12, 1 / 256
PROOF_WIDTH = 16
SPREAD_KEYS = 64  # at most, of which the spread of V is taken
BLOCK_SCORES = 2**16  # at a time; a larger block leaves a core's cache, and a score can then cost ten times as much

R2 = 0.7548776662466927, 0.5698402909980532  # 1/g and 1/g² of the g with g³ = g + 1
Spread = tuple[float, float]  # how far apart the values of different keys lie, and how large they are
Arithmetic = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]


def scattered(grid: tuple[int, int], count: int, steps: range, name: str) -> torch.Tensor:
    """Some cells of a grid for each of several steps, by index, (steps, count) int64: others for every layer.

    All of them, (steps, h·w), if there are no more.

    The points of a Kronecker sequence that goes on from step to step (Roberts 2018, "R2"): after n points, every
    rectangle of more than about 2/n of the grid has been visited. A fault in a share f of the rows, wherever they lie,
    is missed with a probability of about (1 - f)ⁿ.
    """
    if count >= grid[0] * grid[1]:
        return torch.arange(grid[0] * grid[1]).expand(len(steps), -1)
    start = zlib.crc32(name.encode()) % 2**16
    points = torch.arange(steps.start * count, steps.stop * count, dtype=torch.float64) + start
    row, column = ((points * step % 1 * side).long() for step, side in zip(R2, grid, strict=True))
    return (row * grid[1] + column).view(len(steps), count)


def row_count(layer: Layer, first: bool) -> int:
    """How many rows of a layer to compare at its first step, or at each later one: few where a row costs much."""
    most, scores, share = (FIRST_ROWS, FIRST_SCORES, FIRST_SHARE) if first else (LATER_ROWS, LATER_SCORES, LATER_SHARE)
    affordable = max(2, scores // (layer.heads * layer.key_count), round(share * layer.tokens))
    return min(layer.tokens, most, affordable)


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, width: int) -> torch.Tensor:
    """softmax(q·Kᵀ)·V of q (H, n, d), k (H, M, d), v (H, M, dv), in double precision, so that rounding adds nothing.

    Returns (n, width): the heads side by side if `width` is H·dv, otherwise added up.
    """
    q, k, v = (x.cpu().double() for x in (q, k, v))
    blocks = q.split(max(1, BLOCK_SCORES // (len(k) * k.shape[1])), dim=1)
    rows = []
    for queries in blocks:
        checkpoint()
        rows.append(_softmax_of(queries, k, v, scale))
    return _join(torch.cat(rows, dim=1), width)


def _join(heads: torch.Tensor, width: int) -> torch.Tensor:
    """(H, n, dv) to (n, width)."""
    return heads.transpose(0, 1).flatten(1) if width == heads.shape[0] * heads.shape[2] else heads.sum(0)


def _fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    return F.scaled_dot_product_attention(q[None], k[None], v[None], scale=scale)[0]


def _softmax_of(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.softmax(q @ (k.transpose(-1, -2) * scale), dim=-1) @ v


def _softmax_of_scaled_scores(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.softmax(q @ k.transpose(-1, -2) * scale, dim=-1) @ v


def _softmax_of_scaled_queries(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.softmax((q * scale) @ k.transpose(-1, -2), dim=-1) @ v


def _softmax_of_both_scaled(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    root = math.sqrt(scale)
    return torch.softmax((q * root) @ (k * root).transpose(-1, -2), dim=-1) @ v


def _float_softmax(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    scores = q @ k.transpose(-1, -2) * scale
    return torch.softmax(scores.float(), dim=-1).to(v.dtype) @ v


def _double(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    return _softmax_of(q.double(), k.double(), v.double(), scale)


# How modules compute attention in half precision, where they differ by more than a proof can allow.
_IN_HALF: tuple[Arithmetic, ...] = (
    _double,
    _fused,
    _float_softmax,
    _softmax_of_scaled_scores,
    _softmax_of_scaled_queries,
    _softmax_of,
    _softmax_of_both_scaled,
)


@dataclass(frozen=True)
class Comparison:
    """Some rows of a module's output beside the same rows recomputed.

    Attributes:
        error: how far off the weights can be: the largest difference, relative to the spread of V, as a weight that is
            wrong by w changes the output by about w times that. In half precision, at least the rounding of scores.
        holds: whether rounding explains the difference.
        rounding: the largest error that it explains.
        output_error: the largest difference, relative to the largest entry of these rows of the output.
    """

    error: float
    holds: bool
    rounding: float
    output_error: float


def agrees(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, output: torch.Tensor, scale: float, spread: Spread
) -> float | None:
    """The `Comparison.error` of rows as `compare` takes them, if a quick look shows that it holds; None if not."""
    if v.dtype.itemsize < 4 or not spread[0]:
        return None
    heads, rows, width = _fused(q, k, v, scale), len(output), v.shape[2]  # (H, n, dv)
    if output.shape[1] == len(heads) * width:
        error = float((heads - output.view(rows, len(heads), width).transpose(0, 1)).abs().max()) / spread[0]
    elif output.shape[1] == width:
        error = float((heads.sum(0) - output).abs().max()) / spread[0]
    else:
        return None
    return error if error <= min(MOST[v.dtype], _rounding(v.dtype, *spread)) else None


def _rounding(dtype: torch.dtype, apart: float, size: float) -> float:
    """The largest error that rounding explains."""
    return TOLERANCE + UNITS[dtype] * torch.finfo(dtype).eps * size / apart


def compare(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, output: torch.Tensor, scale: float, noise: float = 0.0
) -> Comparison:
    """Compare rows of a module's output (n, C) with softmax(q·Kᵀ)·V of q (H, n, d), k (H, M, d), v (H, M, dv).

    Computed in double precision, and as the module may have done it, one way after the other.

    Args:
        noise: a difference in the output that something else explains, as an absolute number.

    Raises:
        ValueError: when the shapes differ, or nothing could be proved: an output or a V that is the same everywhere.
    """
    apart, size = spread_of(v)
    if not size:
        raise ValueError("its values are zero everywhere, which proves nothing about its map")
    if apart <= 1e-6 * size:
        raise ValueError("its values are the same for all keys, which proves nothing about its map")
    dtype = v.dtype if v.dtype in UNITS else torch.float32
    rounding, best, largest = _rounding(dtype, apart, size) + noise / apart, math.inf, float(output.abs().max())
    limit = min(MOST[dtype], rounding)
    for arithmetic in _IN_HALF if dtype.itemsize == 2 else (_double,):
        recomputed = _join(arithmetic(q, k, v, scale), output.shape[-1])
        if recomputed.shape != output.shape:
            raise ValueError(f"its output has the shape {tuple(output.shape)}, expected {tuple(recomputed.shape)}")
        difference = float((recomputed - output).abs().max())
        best = min(best, difference if math.isfinite(difference) else math.inf)
        if best <= limit * apart:
            break
    error = best / apart
    if dtype.itemsize == 2:
        hidden = _hidden_weight(q, k, v, scale, torch.tensor(best + torch.finfo(dtype).eps * largest))
        error = max(error, float(hidden))
    return Comparison(error, best <= limit * apart, rounding, best / largest if largest else math.inf)


def measured(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, output: torch.Tensor, scale: float) -> torch.Tensor:
    """The numbers by which `judged` judges L layers of one shape, at once and without waiting for their GPU.

    Args:
        q, k, v, output: as of `compare`, with the L layers as a first dimension.

    Returns (L, 5) float64: the spread of V; the largest entry of the output, the largest difference from softmax(QKᵀ)·V
    in double precision, and the largest weight that this difference can hide.
    """
    largest = output.abs().amax((-2, -1)).double()
    heads = _double(q, k, v, scale)  # (L, H, n, dv)
    side_by_side = output.shape[-1] == heads.shape[1] * heads.shape[3]
    recomputed = heads.transpose(1, 2).flatten(2) if side_by_side else heads.sum(1)
    difference = (recomputed - output).abs().amax((-2, -1))
    hidden = torch.zeros_like(difference)
    if v.dtype.itemsize == 2:
        hidden = _hidden_weight(q, k, v, scale, difference + torch.finfo(v.dtype).eps * largest)
    return torch.stack([*(number.double() for number in _spreads(v)), largest, difference, hidden], dim=-1)


def judged(numbers: Sequence[float], dtype: torch.dtype, noise: float = 0.0) -> Comparison | None:
    """What `compare` says of a layer with these numbers, see `measured`; None if it has to be asked itself.

    Args:
        dtype: of V.
    """
    apart, size, largest, difference, hidden = numbers
    if not all(map(math.isfinite, numbers)) or apart <= 1e-6 * size:
        return None
    rounding = _rounding(dtype, apart, size) + noise / apart
    if difference > min(MOST[dtype], rounding) * apart:
        return None
    error = max(difference / apart, hidden)
    return Comparison(error, True, rounding, difference / largest if largest else math.inf)


def _hidden_weight(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, difference: torch.Tensor
) -> torch.Tensor:
    """The largest weight that can be wrong although the output differs by `difference` only, in half precision.

    A key that is masked moves a head's output away from its value, by its weight times their distance: the closer they
    lie, the more weight can hide. And each score is rounded, the larger the more, which moves the weights.

    All arguments may have the same dimensions before their own, and so has the result.
    """
    dtype, (q, k, v) = v.dtype, (x.double() for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) * scale  # (H, n, M)
    weights = torch.softmax(scores, dim=-1)
    distances = torch.cdist(weights @ v, v, p=torch.inf).clamp(min=1e-30)  # (H, n, M)
    hidden = torch.minimum(weights, difference.to(weights)[..., None, None, None] / distances)
    every = (-3, -2, -1)
    return torch.maximum(hidden.amax(every), torch.finfo(dtype).eps * scores.abs().amax(every))


def spread_of(v: torch.Tensor) -> Spread:
    """How far apart the values (H, M, dv) of different keys lie, and how large they are; of some keys if M is large."""
    apart, size = _spreads(v)
    return float(apart), float(size)


def _spreads(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same as tensors, of values (…, H, M, dv): (…) each."""
    some = v[..., :: max(1, v.shape[-2] // SPREAD_KEYS), :]
    low, high = some.aminmax(dim=-2)
    size = torch.maximum(high, -low).amax((-2, -1))
    return (size if v.shape[-2] == 1 else (high - low).amax((-2, -1))), size


def difference(recomputed: torch.Tensor, output: torch.Tensor) -> float:
    """The largest difference between two (n, C), relative to the largest entry of the second.

    Raises:
        ValueError: when the shapes differ, or the output is zero everywhere.
    """
    output = output.cpu().double()
    if output.shape != recomputed.shape:
        raise ValueError(f"its output has the shape {tuple(output.shape)}, expected {tuple(recomputed.shape)}")
    largest = output.abs().max()
    if largest == 0:
        raise ValueError("its output is zero everywhere, which proves nothing about its map")
    return ((recomputed - output).abs().max() / largest).item()


def rounding(carried: torch.Tensor) -> float:
    """The largest difference that rounding alone can cause in an output obtained by subtracting `carried`."""
    return 4 * torch.finfo(carried.dtype).eps * float(carried.abs().max())


def proof_channels(
    v: torch.Tensor, output: torch.Tensor, most: int | None = PROOF_WIDTH
) -> tuple[torch.Tensor, torch.Tensor]:
    """The part of v (H, M, dv) and output (n, C) that a trace keeps for later proofs: the first channels of each head.

    All channels are compared while recording. Keeping all of V would cost half as much as a step of Q and K.
    """
    heads, _, width = v.shape
    side_by_side = output.shape[-1] == heads * width
    channels = output.unflatten(-1, (heads, width))[..., :most].flatten(1) if side_by_side else output[:, :most]
    return v[..., :most], channels


def why_not(comparison: Comparison, linear: bool, subtracted: bool = False) -> str:
    """The reason to report for an output that is not softmax(QKᵀ)·V.

    Args:
        linear: whether `is_linear` explains the output.
        subtracted: whether the output was obtained by subtraction.
    """
    if subtracted and comparison.error <= comparison.rounding:
        return (
            f"its contribution is too small to tell from rounding (relative difference {comparison.output_error:.1e})"
        )
    mismatch = f"its output is not softmax(QKᵀ)·V of its q, k and v (relative difference {comparison.output_error:.1e})"
    if linear:
        reason = "it adds up keys and values before any query, so no map says where a pixel looks"
        return f"it is linear attention: {reason}; {mismatch}"
    causes = "a mask, a bias or positions added to the scores, dropout, or another kind of attention"
    return f"{mismatch}; possible reasons are {causes}"


def is_linear(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether q times one d×dv matrix per head, Kᵀ·V, explains the output up to a factor (Shen et al. 2018)."""
    q, k, v, output = (x.cpu().double() for x in (q, k, v, output))
    context = torch.softmax(k, dim=1).transpose(-1, -2) @ v
    for feature in (torch.softmax(q, dim=-1), q):
        explained = (feature @ context).transpose(0, 1).flatten(1)
        if explained.shape != output.shape:
            return False
        factor = (explained * output).sum() / explained.square().sum().clamp(min=1e-30)
        if (factor * explained - output).abs().max() <= 1e-4 * output.abs().max():
            return True
    return False
