"""PyTorch's own `nn.MultiheadAttention`, which projects inside one function call and has a fast path in eval mode.

Its projections are never called as modules, so q and k are computed from its inputs with its own weights, as its
documentation describes. Both of its paths call its forward hooks, and hooks on it do not change the path it takes
(torch 2.13).
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viz.probes.site import Read, Reading, Site, Tap, Unprovable, looks_for, to_heads


@looks_for("in_proj_weight")
def multihead_attention(module: Any) -> Site | None:
    """`torch.nn.MultiheadAttention`, self- and cross-attention, `batch_first` or not."""
    if not all(hasattr(module, name) for name in ("in_proj_weight", "out_proj", "num_heads", "batch_first", "bias_k")):
        return None
    if module.bias_k is not None or module.add_zero_attn:
        raise Unprovable("it adds keys that belong to no pixel (add_bias_kv or add_zero_attn)")
    batch = 0 if module.batch_first else 1
    taps = tuple(Tap(module, _argument(module, name), True, batch) for name in ("query", "key", "value"))
    reading = Reading(
        scores=lambda q, k, v: (_project(module, 0, q), _project(module, 1, k)),
        values=lambda q, k, v: _through_output(module, _project(module, 2, v)),
    )
    return Site(taps, Tap(module, _without_bias(module), batch=batch), (reading,), values_projected=True)


@looks_for("self_attn")
def fused_encoder_layer(module: nn.Module) -> Site | None:
    """`nn.TransformerEncoderLayer`: in eval mode it may run as one operation that never calls its attention.

    A hook on any module in it would make it take another path, whose result differs in the last bits.
    """
    if not isinstance(module, nn.TransformerEncoderLayer) or module.training:
        return None
    attention = module.self_attn
    fused = (
        torch.backends.mha.get_fastpath_enabled()
        and attention.batch_first
        and attention.in_proj_bias is not None
        and attention._qkv_same_embed_dim
        and attention.num_heads % 2 == 0
        and bool(module.activation_relu_or_gelu)
        and module.norm1.eps == module.norm2.eps
    )
    if fused:
        raise Unprovable(
            "PyTorch runs this layer as one fused operation, in which its attention is never called; "
            "to watch it, switch that off with torch.backends.mha.set_fastpath_enabled(False)"
        )
    return None


def _argument(module: nn.MultiheadAttention, name: str) -> Read:
    signature = inspect.signature(module.forward)

    def read(args: tuple, kwargs: dict, _: object) -> Tensor:
        arguments = signature.bind(*args, **kwargs).arguments
        if arguments.get("attn_mask") is not None or arguments.get("key_padding_mask") is not None:
            raise Unprovable("it is called with a mask, and masks are not recorded")
        return arguments[name]

    return read


def _project(module: nn.MultiheadAttention, which: int, tokens: Tensor) -> Tensor:
    """(N, C) to (H, N, d) with the module's own weights for q (0), k (1) or v (2)."""
    names = "q_proj_weight", "k_proj_weight", "v_proj_weight"
    separate = module.in_proj_weight is None
    weight = getattr(module, names[which]) if separate else module.in_proj_weight.chunk(3)[which]
    bias = None if module.in_proj_bias is None else module.in_proj_bias.chunk(3)[which]
    return to_heads(F.linear(tokens, weight, bias), module.num_heads)


def _through_output(module: nn.MultiheadAttention, value: Tensor) -> Tensor:
    """v (H, M, d), each head through its columns of the output projection: (H, M, C), so that heads add up."""
    columns = module.out_proj.weight.unflatten(1, (module.num_heads, -1))  # (C, H, d)
    return torch.einsum("hmd,chd->hmc", value, columns)


def _without_bias(module: nn.MultiheadAttention) -> Read:
    def read(args: tuple, kwargs: dict, output: Any) -> Tensor:
        bias = module.out_proj.bias
        return output[0] if bias is None else output[0] - bias

    return read
