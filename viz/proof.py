"""The proof that what is shown is what the module did: its output, recomputed from the recorded q, k and v."""

from __future__ import annotations

import torch

# How far softmax(QKᵀ)·V may be from the module's own output, relative to its largest entry, before it counts as
# something else. Rounding alone stays a few times below each of these.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}
DROWNED = 1e-3  # beyond this, rounding of what was carried past leaves too little to compare
PROOF_QUERIES = 64
PROOF_WIDTH = 16
AT_ONCE = 2**16  # scores; more would not stay in a core's cache, and now and then cost ten times as much a score


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, width: int) -> torch.Tensor:
    """softmax(q·Kᵀ)·V for q (H, n, d), k (H, M, d), v (H, M, dv), in double precision, so as to add no rounding.

    Returns (n, width): the heads side by side where that is H·dv, or else added up.
    """
    q, k, v = (x.cpu().double() for x in (q, k, v))
    keys = k.transpose(-1, -2) * scale
    some = q.split(max(1, AT_ONCE // (len(k) * k.shape[1])), dim=1)
    heads = torch.cat([torch.softmax(queries @ keys, dim=-1) @ v for queries in some], dim=1)  # (H, n, dv)
    return heads.transpose(0, 1).flatten(1) if width == heads.shape[0] * heads.shape[2] else heads.sum(0)


def difference(recomputed: torch.Tensor, output: torch.Tensor) -> float:
    """The largest difference of two (n, C), relative to the largest entry of the second.

    Raises:
        ValueError: when there is nothing to compare with.
    """
    output = output.cpu().double()
    if output.shape != recomputed.shape:
        raise ValueError(f"its output has the shape {tuple(output.shape)}, not {tuple(recomputed.shape)}")
    largest = output.abs().max()
    if largest == 0:
        raise ValueError("its output is zero everywhere, which proves nothing about its map")
    return ((recomputed - output).abs().max() / largest).item()


def rounding(carried: torch.Tensor, output: torch.Tensor) -> float:
    """How far rounding alone may put (n, C) `output` that was had by taking `carried` off a sum, as in `difference`."""
    largest = output.abs().max().item()
    return 4 * torch.finfo(carried.dtype).eps * carried.abs().max().item() / max(largest, 1e-30)


def to_keep(v: torch.Tensor, output: torch.Tensor, most: int | None = PROOF_WIDTH) -> tuple[torch.Tensor, torch.Tensor]:
    """What of v (H, M, dv) and output (n, C) a trace keeps to be verified again: the first channels of every head.

    All of them were compared while recording; keeping all of V would cost half as much as a step of Q and K.
    """
    heads, _, width = v.shape
    beside = output.shape[-1] == heads * width
    kept = output.unflatten(-1, (heads, width))[..., :most].flatten(1) if beside else output[:, :most]
    return v[..., :most], kept


def why_not(error: float, linear: bool, noise: float = 0.0) -> str:
    """A plain reason for an output that is not softmax(QKᵀ)·V, by how far it is, whether `is_linear` explains it, and
    how far `rounding` may have put it."""
    if error <= noise:
        return f"what it adds is too small to be told from rounding (relative difference {error:.1e})"
    far = f"its output is not softmax(QKᵀ)·V of what was recorded (relative difference {error:.1e})"
    if linear:
        sums = "it sums up keys and values before a pixel asks, so there is no map of what a pixel looks at"
        return f"it is linear attention: {sums}; {far}"
    return f"{far}; a mask, a bias or positions added to the scores, dropout or another kind of attention can be why"


def is_linear(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether queries times one d×dv matrix a head, Kᵀ·V, explain the output up to a factor (Shen et al. 2018)."""
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
