"""The compact form of cross-attention in the files for a browser, where Q would make a trace half as large again.

A number of Q is a whole number of ten bits, from -511 to 511, times the scale of its channel in its head. On the
bundled model, a pixel's share of a word is then right to 3e-3; in half precision to 1e-3. The keys of cross-attention
are made of the caption and are the same at every step: they are kept once. `viz/web/core/compact.js` reads the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from viz.trace import Trace

MOST = 511


def vector_bytes(head_dim: int) -> int:
    """How many bytes one packed vector takes: five for every four numbers."""
    return 5 * -(-head_dim // 4)


def pack(q: torch.Tensor) -> torch.Tensor:
    """Floats (H, n, d) to bytes (H, 4·d + n·`vector_bytes`): for each head its channels' scales, then its vectors.

    Scales are floats, the lowest byte first. A vector is its numbers plus 512, ten bits each, the highest bit first,
    and zeros up to a multiple of four numbers.
    """
    scales = q.float().abs().amax(1) / MOST  # (H, d)
    scales[scales == 0] = 1
    numbers = (q.float() / scales[:, None]).round().clamp(-MOST, MOST).numpy().astype(np.uint64) + (MOST + 1)
    fours = np.pad(numbers, ((0, 0), (0, 0), (0, -q.shape[2] % 4))).reshape(*q.shape[:2], -1, 4)
    groups = fours[..., 0] << 30 | fours[..., 1] << 20 | fours[..., 2] << 10 | fours[..., 3]
    vectors = groups.astype(">u8")[..., None].view(np.uint8)[..., 3:].reshape(len(q), -1)
    return torch.from_numpy(np.concatenate([scales.numpy().astype("<f4").view(np.uint8), vectors], axis=1))


def unpack(packed: torch.Tensor, count: int, head_dim: int) -> torch.Tensor:
    """The (H, count, head_dim) float32 that `pack` made the bytes of.

    Raises:
        ValueError: for another number of bytes, or scales that are not finite.
    """
    heads, size = packed.shape
    if size != 4 * head_dim + count * vector_bytes(head_dim):
        raise ValueError(f"expected {count} packed vectors of {head_dim} numbers, got {size} bytes")
    scales = packed[:, : 4 * head_dim].numpy().copy().view("<f4").astype(np.float32)
    if not np.isfinite(scales).all():
        raise ValueError("expected finite scales of packed vectors")
    octets = packed[:, 4 * head_dim :].numpy().reshape(heads, count, -1, 5).astype(np.int64)
    groups = octets @ (1 << np.arange(32, -1, -8, dtype=np.int64))
    fours = groups[..., None] >> np.arange(30, -1, -10) & 1023
    numbers = fours.reshape(heads, count, -1)[..., :head_dim] - (MOST + 1)
    return torch.from_numpy(numbers.astype(np.float32) * scales[:, None])


def compact_layers(trace: Trace) -> frozenset[str]:
    """The layers that the compact form is for."""
    return frozenset(layer.name for layer in trace if layer.kind == "cross")


def with_compact_proofs(trace: Trace) -> Trace:
    """The trace with the queries that its proofs compare as they will be read from a compact file."""
    proved = {(proof.branch, name, proof.step) for name, proof in trace.proofs.items()}
    proved = {key for key in proved if key[1] in compact_layers(trace)}
    rounded = {key: unpack(pack(trace.queries[key]), *trace.queries[key].shape[1:]) for key in proved}
    return replace(trace, queries={**trace.queries, **rounded})
