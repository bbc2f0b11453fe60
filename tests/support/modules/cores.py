"""The attention modules of the random networks, under the names that libraries give to their projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor, nn

from tests.support.modules.arithmetic import Moment, attend
from tests.support.modules.plan import Plan

WORD_WIDTH, LEARNED = 12, 2  # channels of a word; number of learned tokens


def flatten_map(x: Tensor, flatten: str) -> Tensor:
    """(B, C, h, w) to (B, h·w, C)."""
    return (x if flatten == "rows" else x.transpose(2, 3)).flatten(2).transpose(1, 2)


def unflatten_map(tokens: Tensor, grid: tuple[int, int], flatten: str) -> Tensor:
    """(B, h·w, C) to (B, C, h, w)."""
    x = tokens.transpose(1, 2)
    return x.unflatten(2, grid) if flatten == "rows" else x.unflatten(2, grid[::-1]).transpose(2, 3)


def to_heads(tokens: Tensor, width: int) -> Tensor:
    """(B, N, H·d) to (B, H, N, d)."""
    return tokens.unflatten(-1, (-1, width)).transpose(1, 2)


NAMES = {
    "separate": ("to_q", "to_k", "to_v", "to_out", "heads", "norm_q", "norm_k"),
    "query": ("query", "key", "value", "proj_attn", "num_heads", "query_norm", "key_norm"),
    "q_proj": ("q_proj", "k_proj", "v_proj", "out_proj", "num_heads", "q_norm", "k_norm"),
    "packed": ("", "", "", "proj", "num_heads", "q_norm", "k_norm"),
    "convolution": ("", "", "", "to_out", "heads", "norm_q", "norm_k"),
}


class Core(nn.Module):
    """An attention module with linear projections, under the names of one family."""

    def __init__(self, plan: Plan, context: int) -> None:
        super().__init__()
        self.plan, C, d = plan, plan.width, plan.head_dim
        *projections, out, heads, norm_q, norm_k = NAMES[plan.family]
        setattr(self, heads, plan.heads)
        self.names = (*projections, out, norm_q, norm_k)
        if plan.family == "packed":
            self.qkv = nn.Linear(C, 3 * C)
        else:
            inner = d if "grouped" in plan.oddities else C
            for name, source, width in zip(projections, (C, context, context), (C, inner, inner), strict=True):
                setattr(self, name, nn.Linear(source, width, bias=plan.seed % 2 == 0))
        if plan.qk_norm:
            self.add_module(norm_q, nn.LayerNorm(d))
            self.add_module(norm_k, nn.LayerNorm(d))
        if plan.norm == "each":
            self.before_q, self.before_k, self.before_v = nn.LayerNorm(C), nn.LayerNorm(context), nn.LayerNorm(context)
        if "late keys" in plan.oddities:
            self.late = nn.Parameter(torch.empty(2, plan.heads, LEARNED, d))
        output = nn.Linear(C, C)
        wrapped = {"sequence": nn.Sequential(output, nn.Dropout(0.0)), "list": nn.ModuleList([output]), "none": None}
        if plan.output != "none" or "no output" in plan.oddities:
            setattr(self, out, wrapped.get(plan.output, output))
        self.scale = d**-0.5

    def forward(self, x: Tensor, context: Tensor | None = None, *, moment: Moment, places: Sequence | None = None):
        plan, d = self.plan, self.plan.head_dim
        made = self._project(x, x if context is None else context, places)
        raw_q, raw_k, _ = made
        if plan.scaled_in_place:
            raw_q.mul_(0.7)
        q, k, v = (to_heads(raw, d) for raw in made)
        if "grouped" in plan.oddities:
            k, v = (part.repeat_interleave(plan.heads, dim=1) for part in (k, v))
        if plan.qk_norm:
            q, k = getattr(self, self.names[-2])(q), getattr(self, self.names[-1])(k)
        q, k, v = self._change(q, k, v, moment)
        scale = 1.3 * d**-0.5 if "unstated scale" in plan.oddities else d**-0.5
        out = attend(q, k, v, moment, scale, plan.arithmetic).transpose(1, 2).flatten(2)
        moment.overwrite(raw_q, raw_k)
        module = getattr(self, self.names[3], None)
        if isinstance(module, nn.ModuleList):
            module = module[0]
        return out if module is None else module(out)

    def _project(self, x: Tensor, context: Tensor, places: Sequence | None) -> list[Tensor]:
        """q, k and v as their projections return them, (B, N, H·d) each."""
        plan = self.plan
        if plan.family == "packed":
            order, sizes = plan.packing, {"3": 3, "H": plan.heads, "d": plan.head_dim}
            parts = self.qkv(x).unflatten(-1, [sizes[axis] for axis in order])
            return [part.flatten(2) for part in parts.unbind(2 + order.index("3"))]
        inputs = [x, context, context.clone() if plan.copies else context]
        if plan.norm == "each":
            norms = self.before_q, self.before_k, self.before_v
            inputs = [norm(part) for norm, part in zip(norms, inputs, strict=True)]
        if places is not None:
            inputs = [inputs[0] + places[0], inputs[1] + places[1], inputs[2]]
        return [getattr(self, name)(part) for name, part in zip(self.names[:3], inputs, strict=True)]

    def _change(self, q: Tensor, k: Tensor, v: Tensor, moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, N, d) each, after what comes between the projections and the scores."""
        oddities = self.plan.oddities
        q = moment.warm(q)
        if len(q) == moment.batch:
            source = torch.tensor(moment.source("keys elsewhere"))
            if source.tolist() != list(range(moment.batch)):
                k, v = k[source], v[source]
        if "functional norm" in oddities:
            q, k = F.normalize(q, dim=-1) * 3, F.normalize(k, dim=-1)
        if "rotary" in oddities:
            q, k = _rotate(q), _rotate(k)
        if "late keys" in oddities:
            k, v = (
                torch.cat([late.expand(len(t), -1, -1, -1), t], 2) for late, t in zip(self.late, (k, v), strict=True)
            )
        return q, k, v


def _rotate(tokens: Tensor) -> Tensor:
    """Rotary positions: (…, N, d), the halves of the channels turned by an angle that grows with the position."""
    angles = torch.arange(tokens.shape[-2], dtype=tokens.dtype)[:, None] * 0.4
    first, second = tokens.chunk(2, dim=-1)
    return torch.cat([first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()], -1)


class ConvolutionalCore(nn.Module):
    """`to_qkv` and `to_out` as 1×1 convolutions of (B, C, h, w), with or without learned keys and values."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan, self.heads, self.scale = plan, plan.heads, plan.head_dim**-0.5
        self.mem_kv = None
        if "learned" in plan.keys:
            self.mem_kv = nn.Parameter(torch.empty(2, plan.heads, LEARNED, plan.head_dim))
        self.to_qkv = nn.Conv2d(plan.width, 3 * plan.width, 1, bias=False)
        self.to_out = nn.Conv2d(plan.width, plan.width, 1)

    def forward(self, x: Tensor, *, moment: Moment, order: Tensor | None = None) -> Tensor:
        grid, raw = (x.shape[2], x.shape[3]), self.to_qkv(x)
        q, k, v = (to_heads(flatten_map(part, self.plan.flatten), self.plan.head_dim) for part in raw.chunk(3, dim=1))
        if order is not None:
            q, k, v = q[:, :, order], k[:, :, order], v[:, :, order]
        q = moment.warm(q)
        source = torch.tensor(moment.source("keys elsewhere"))
        if source.tolist() != list(range(moment.batch)):
            k, v = k[source], v[source]
        if self.mem_kv is not None:
            k, v = (torch.cat([m.expand(len(x), -1, -1, -1), t], 2) for m, t in zip(self.mem_kv, (k, v), strict=True))
        out = attend(q, k, v, moment, self.scale, self.plan.arithmetic).transpose(1, 2).flatten(2)
        moment.overwrite(*raw.chunk(3, dim=1)[:2])
        out = out if order is None else out[:, order.argsort()]
        return self.to_out(unflatten_map(out, grid, self.plan.flatten))


def make_core(plan: Plan) -> nn.Module:
    context = WORD_WIDTH if plan.keys == ("words",) else plan.width
    if plan.family == "convolution":
        return ConvolutionalCore(plan)
    if plan.family == "multihead":
        return nn.MultiheadAttention(plan.width, plan.heads, kdim=context, vdim=context, batch_first=plan.seed % 3 > 0)
    if plan.family == "diffusers":
        processor = AttnProcessor2_0() if plan.arithmetic == "fused" else AttnProcessor()
        cross = None if context == plan.width else context
        return Attention(plan.width, cross, plan.heads, dim_head=plan.head_dim, processor=processor)
    return Core(plan, context)


def call_core(
    core: nn.Module, plan: Plan, x: Tensor, context: Tensor, moment: Moment, places: Sequence | None
) -> Tensor:
    """Call a core of tokens: x (B, N, C), context (B, M, C'), which is x itself where both are the same tokens."""
    if isinstance(core, nn.MultiheadAttention):
        return _call_multihead(core, plan, x, context, moment, places)
    if isinstance(core, Attention):
        mask = moment.mask(x.shape[1], context.shape[1])
        mask = None if mask is None else mask.squeeze(1).to(x.dtype)
        return core(x, encoder_hidden_states=None if context is x else context, attention_mask=mask)
    return core(x, None if context is x else context, moment=moment, places=places)


def _call_multihead(
    core: nn.MultiheadAttention, plan: Plan, x: Tensor, context: Tensor, moment: Moment, places: Sequence | None
) -> Tensor:
    mask = moment.mask(x.shape[1], context.shape[1])
    masks: dict[str, Tensor] = {}
    if mask is not None:
        hidden = plan.mask_as == "bool" and not bool((mask.isfinite() & (mask != 0)).any())
        mask = mask == -torch.inf if hidden else mask.to(x.dtype)
        if hidden and bool((mask == mask[:, :, :1]).all()):
            masks["key_padding_mask"] = mask[:, 0, 0]
        else:
            masks["attn_mask"] = mask.expand(-1, plan.heads, -1, -1).flatten(0, 1)
    query, key = (x, context) if places is None else (x + places[0], context + places[1])
    value = context.clone() if plan.copies else context
    inputs = [query, key, value]
    if not core.batch_first:
        same = {id(tensor): tensor.transpose(0, 1) for tensor in inputs}
        inputs = [same[id(tensor)] for tensor in inputs]
    out = core(*inputs, need_weights=plan.arithmetic == "written", **masks)[0]
    return out if core.batch_first else out.transpose(0, 1)
