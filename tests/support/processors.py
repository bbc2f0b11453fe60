"""Attention processors as methods built on diffusers use them, written from what the papers say."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor


class Processor:
    """diffusers' fused processor, with places to change what it does. `on` says whether the change is made."""

    def __init__(self) -> None:
        self.on = False

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *arguments,
        **named,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        hidden_states, context, undo = self.prepare(hidden_states, context)
        q, k, v = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (q, k, v))
        out = self.attend(*self.change(q, k, v)).transpose(1, 2).flatten(2)
        return undo(attn.to_out[1](attn.to_out[0](out)))

    def prepare(self, hidden_states: Tensor, context: Tensor):
        return hidden_states, context, lambda out: out

    def change(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class MutualAttention(Processor):
    """MasaCtrl (Cao et al. 2023): the second picture looks at the first one's keys and values."""

    def change(self, q, k, v):
        return (q, k[:1].expand_as(k), v[:1].expand_as(v)) if self.on else (q, k, v)


class Temperature(Processor):
    """Sharper attention."""

    def change(self, q, k, v):
        return (q * 1.7, k, v) if self.on else (q, k, v)


class Identity(Processor):
    """Perturbed attention (Ahn et al. 2024): the map is the identity."""

    def attend(self, q, k, v):
        return v.clone() if self.on else super().attend(q, k, v)


class MergedTokens(Processor):
    """Token merging (Bolya & Hoffman 2023), without its matching: of each four tokens one is left."""

    def prepare(self, hidden_states, context):
        if context is not hidden_states:
            return hidden_states, context, lambda out: out
        order = torch.randperm(hidden_states.shape[1], generator=torch.Generator().manual_seed(0))
        merged = hidden_states[:, order].unflatten(1, (-1, 4)).mean(2)
        return merged, merged, lambda out: out.repeat_interleave(4, dim=1)[:, order.argsort()]


class CoarserKeys(Processor):
    """ToDo (Smith et al. 2024): keys and values of a map that is half as high and wide."""

    def prepare(self, hidden_states, context):
        if context is not hidden_states:
            return hidden_states, context, lambda out: out
        side = int(hidden_states.shape[1] ** 0.5)
        cells = hidden_states.transpose(1, 2).unflatten(2, (side, side))
        coarse = F.interpolate(cells, scale_factor=0.5, mode="nearest").flatten(2).transpose(1, 2)
        return hidden_states, coarse, lambda out: out
