"""Attention with one projection for q, k and v together; the proof tells in which order they are packed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from viz.probes.separate import normed
from viz.probes.site import Reading, Site, attribute, first_of_sequence, heads_of, into, looks_for, out_of, to_heads

PACKED = "qkv", "to_qkv", "qkv_proj", "query_key_value"
OUTPUTS = "proj", "proj_out", "to_out", "projection", "out_proj", "o_proj", "c_proj"

# The axes that the channels unfold into, outermost first: 3 for q, k and v, H heads, d channels of a head.
ORDERS = (
    "3Hd",  # timm's linear layers, guided-diffusion's QKVAttention
    "H3d",  # improved-diffusion's QKVAttention, guided-diffusion's QKVAttentionLegacy
    "Hd3",  # EDM's U-Nets
)


@looks_for(*PACKED)
def packed_linear(module: nn.Module) -> Site | None:
    """`qkv` as one linear layer: ViT, timm, DiT; with or without `q_norm` and `k_norm`."""
    return _packed(module, lambda weight: weight.ndim == 2)


@looks_for(*PACKED)
def packed_convolution(module: nn.Module) -> Site | None:
    """`to_qkv` as one 1×1 convolution, heads split after it; with or without learned key-value pairs (`mem_kv`)."""
    return _packed(module, lambda weight: weight.ndim == 4 and weight.shape[2:] == (1, 1))


@looks_for(*PACKED)
def packed_convolution_1d(module: nn.Module) -> Site | None:
    """`qkv` as one 1-D convolution over the flattened grid: OpenAI's improved- and guided-diffusion, in both orders."""
    return _packed(module, lambda weight: weight.ndim == 3 and weight.shape[2] == 1)


def _packed(module: nn.Module, fits: Callable[[Tensor], bool]) -> Site | None:
    projection = attribute(module, *PACKED)
    weight = getattr(projection, "weight", None)
    if not isinstance(weight, Tensor) or not fits(weight):
        return None
    if not isinstance(output := attribute(module, *OUTPUTS), nn.Module):
        return None
    heads = heads_of(module)
    scale = attribute(module, "scale", "scaling")
    scale = float(scale) if isinstance(scale, (int, float)) else None
    head_dim = weight.shape[0] // (3 * heads)
    readings = tuple(
        _reading(module, heads, head_dim, order, scale) for order in (ORDERS if heads > 1 else ("3Hd", "Hd3"))
    )
    return Site((out_of(projection),), into(first_of_sequence(output)), readings)


def _reading(module: nn.Module, heads: int, head_dim: int, order: str, scale: float | None) -> Reading:
    norms = attribute(module, "q_norm", "norm_q"), attribute(module, "k_norm", "norm_k")
    memory = attribute(module, "mem_kv")

    def scores(qkv: Tensor) -> tuple[Tensor, Tensor]:
        q, k = (normed(unpack(qkv, heads, order, i), heads, norms[i]) for i in (0, 1))
        return q, _with_memory(memory, 0, k)

    def values(qkv: Tensor) -> Tensor:
        return _with_memory(memory, 1, to_heads(unpack(qkv, heads, order, 2), heads))

    return Reading(scores, values, scale, 0 if memory is None else memory[0, 0].numel() // head_dim)


def unpack(qkv: Tensor, heads: int, order: str, which: int) -> Tensor:
    """(N, 3·H·d), packed in one of `ORDERS`, to the (N, H·d) of q (0), k (1) or v (2)."""
    sizes = {"3": 3, "H": heads, "d": qkv.shape[-1] // (3 * heads)}
    parts = qkv.unflatten(-1, [sizes[axis] for axis in order])
    return parts.select(1 + order.index("3"), which).flatten(1)


def _with_memory(memory: Tensor | None, which: int, tokens: Tensor) -> Tensor:
    """Put learned keys or values, (2, H, n, d) or (2, H, d, n), before those of the pixels."""
    if memory is None:
        return tokens
    learned = memory[which] if memory.shape[-1] == tokens.shape[-1] else memory[which].transpose(-1, -2)
    return torch.cat([learned.to(tokens.dtype), tokens], dim=1)
