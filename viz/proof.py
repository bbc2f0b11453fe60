"""The proof that a map is the one the module computed: its output, recomputed from the recorded q, k and v."""

from __future__ import annotations

import torch

# The largest difference between softmax(QKᵀ)·V and the module's own output, relative to the output's largest entry,
# that counts as rounding. Rounding itself stays a few times below each of these.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}
MAX_NOISE = 1e-3  # with more rounding than this from a subtracted tensor, too little is left to compare
PROOF_QUERIES = 64
PROOF_WIDTH = 16
BLOCK_SCORES = 2**16  # at a time; a larger block leaves a core's cache, and a score can then cost ten times as much


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, width: int) -> torch.Tensor:
    """softmax(q·Kᵀ)·V of q (H, n, d), k (H, M, d), v (H, M, dv), in double precision, so that rounding adds nothing.

    Returns (n, width): the heads side by side if `width` is H·dv, otherwise added up.
    """
    q, k, v = (x.cpu().double() for x in (q, k, v))
    keys = k.transpose(-1, -2) * scale
    blocks = q.split(max(1, BLOCK_SCORES // (len(k) * k.shape[1])), dim=1)
    heads = torch.cat([torch.softmax(queries @ keys, dim=-1) @ v for queries in blocks], dim=1)  # (H, n, dv)
    return heads.transpose(0, 1).flatten(1) if width == heads.shape[0] * heads.shape[2] else heads.sum(0)


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


def rounding(carried: torch.Tensor, output: torch.Tensor) -> float:
    """The `difference` that rounding alone can cause in an `output` (n, C) obtained by subtracting `carried`."""
    largest = output.abs().max().item()
    return 4 * torch.finfo(carried.dtype).eps * carried.abs().max().item() / max(largest, 1e-30)


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


def why_not(error: float, linear: bool, noise: float = 0.0) -> str:
    """The reason to report for an output that is not softmax(QKᵀ)·V.

    Args:
        error: the `difference`.
        linear: whether `is_linear` explains the output.
        noise: the part of the difference that `rounding` explains.
    """
    if error <= noise:
        return f"its contribution is too small to tell from rounding (relative difference {error:.1e})"
    mismatch = f"its output is not softmax(QKᵀ)·V of its q, k and v (relative difference {error:.1e})"
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
