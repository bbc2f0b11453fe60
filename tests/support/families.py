"""Attention of every family, small, written from the papers and the public structure of the code that people use.

Each has the names of its submodules and the arithmetic of its forward that the original has; `Net` puts one into a
network that takes a picture and a timestep.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from viz.probes import PROBES, site


class Net(nn.Module):
    """Calls one attention module on a picture: as (B, C, h, w), or as (B, h·w, C) where `tokens` is True."""

    def __init__(self, attention: nn.Module, tokens: bool = False) -> None:
        super().__init__()
        self.attention, self.tokens = attention, tokens

    def forward(self, x, how_noisy):
        if not self.tokens:
            return self.attention(x)
        return self.attention(x.flatten(2).transpose(1, 2))


class CrossAttention(nn.Module):
    """Latent diffusion's: to_q, to_k, to_v, to_out as a sequence, heads moved into the batch."""

    def __init__(self, query_dim, context_dim=None, heads=4, dim_head=8):
        super().__init__()
        inner = heads * dim_head
        self.scale, self.heads = dim_head**-0.5, heads
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim or query_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim or query_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, query_dim), nn.Dropout(0.0))

    def forward(self, x, context=None):
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2).flatten(0, 1) for t in (q, k, v))
        weights = (torch.einsum("bid,bjd->bij", q, k) * self.scale).softmax(dim=-1)
        out = torch.einsum("bij,bjd->bid", weights, v).unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2)
        return self.to_out(out)


class TimmAttention(nn.Module):
    """ViT's and DiT's: one linear `qkv`, with or without norms of queries and keys."""

    def __init__(self, dim, heads=4, qk_norm=False):
        super().__init__()
        self.num_heads, self.head_dim = heads, dim // heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, dim * 3)
        self.q_norm = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(self.head_dim) if qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        return self.proj(x.transpose(1, 2).reshape(B, N, C))


class ConvolutionalAttention(nn.Module):
    """The denoising-diffusion ports': a 1×1 convolution `to_qkv`, heads split after, learned key-value pairs."""

    def __init__(self, dim, heads=4, dim_head=8, memory=0):
        super().__init__()
        self.heads, self.scale = heads, dim_head**-0.5
        self.mem_kv = nn.Parameter(torch.randn(2, heads, memory, dim_head)) if memory else None
        self.to_qkv = nn.Conv2d(dim, heads * dim_head * 3, 1, bias=False)
        self.to_out = nn.Conv2d(heads * dim_head, dim, 1)

    def forward(self, x):
        B, _, h, w = x.shape
        q, k, v = (t.unflatten(1, (self.heads, -1)).flatten(3).transpose(2, 3) for t in self.to_qkv(x).chunk(3, dim=1))
        if self.mem_kv is not None:
            k, v = (torch.cat([m.expand(B, *m.shape), t], dim=2) for m, t in zip(self.mem_kv, (k, v), strict=True))
        out = ((q * self.scale) @ k.transpose(2, 3)).softmax(dim=-1) @ v  # (B, H, N, d)
        return self.to_out(out.transpose(2, 3).reshape(B, -1, h, w))


class LinearAttention(ConvolutionalAttention):
    """Their linear attention: softmax over each query's channels and over the keys' pixels (Shen et al. 2018)."""

    def forward(self, x):
        B, _, h, w = x.shape
        q, k, v = (t.unflatten(1, (self.heads, -1)).flatten(3) for t in self.to_qkv(x).chunk(3, dim=1))
        if self.mem_kv is not None:
            learned = (m.transpose(1, 2).expand(B, -1, -1, -1) for m in self.mem_kv)  # (B, H, d, n) each
            k, v = (torch.cat([m, t], dim=3) for m, t in zip(learned, (k, v), strict=True))
        context = torch.einsum("bhdn,bhen->bhde", k.softmax(dim=-1), v)
        out = torch.einsum("bhde,bhdn->bhen", context, q.softmax(dim=-2) * self.scale)
        return self.to_out(out.reshape(B, -1, h, w))


class OpenAIAttention(nn.Module):
    """improved- and guided-diffusion's AttentionBlock, in both of the orders its channels have had."""

    def __init__(self, channels, heads=4, legacy=True):
        super().__init__()
        self.num_heads, self.legacy = heads, legacy
        self.norm = nn.GroupNorm(4, channels)
        self.qkv = nn.Conv1d(channels, channels * 3, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        B, C, *space = x.shape
        x = x.reshape(B, C, -1)
        qkv, length = self.qkv(self.norm(x)), x.shape[-1]
        width = C // self.num_heads
        if self.legacy:
            q, k, v = qkv.reshape(B * self.num_heads, width * 3, length).split(width, dim=1)
        else:
            q, k, v = (t.reshape(B * self.num_heads, width, length) for t in qkv.chunk(3, dim=1))
        scale = width**-0.25
        weights = torch.einsum("bct,bcs->bts", q * scale, k * scale).softmax(dim=-1)
        out = torch.einsum("bts,bcs->bct", weights, v).reshape(B, -1, length)
        return (x + self.proj_out(out)).reshape(B, C, *space)


class EDMAttention(nn.Module):
    """EDM's: a 1×1 convolution whose channels count heads, then width, then q, k, v."""

    def __init__(self, channels, heads=4):
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Conv2d(channels, channels * 3, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        B, C, h, w = x.shape
        q, k, v = self.qkv(x).reshape(B * self.num_heads, C // self.num_heads, 3, h * w).unbind(2)
        weights = torch.einsum("ncq,nck->nqk", q, k / k.shape[1] ** 0.5).softmax(dim=2)
        return self.proj(torch.einsum("nqk,nck->ncq", weights, v).reshape(B, C, h, w)) + x


class AttnBlock(nn.Module):
    """The ports of Ho et al.'s, and the autoencoders of latent diffusion: one head, a 1×1 convolution each."""

    def __init__(self, channels, names=("q", "k", "v", "proj_out")):
        super().__init__()
        self.norm, self.names = nn.GroupNorm(4, channels), names
        for name in names:
            self.add_module(name, nn.Conv2d(channels, channels, 1))

    def forward(self, x):
        B, C, h, w = x.shape
        q, k, v, out = (self.get_submodule(name) for name in self.names)
        y = self.norm(x)
        q, k, v = q(y).reshape(B, C, h * w).permute(0, 2, 1), k(y).reshape(B, C, h * w), v(y).reshape(B, C, h * w)
        weights = torch.softmax(torch.bmm(q, k) * C**-0.5, dim=2).permute(0, 2, 1)
        return x + out(torch.bmm(v, weights).reshape(B, C, h, w))


class NIN(nn.Module):
    """Song et al.'s: a matrix over the channels of (B, C, h, w)."""

    def __init__(self, channels):
        super().__init__()
        self.W, self.b = nn.Parameter(torch.randn(channels, channels) / 4), nn.Parameter(torch.randn(channels))

    def forward(self, x):
        return (torch.einsum("bchw,co->bhwo", x, self.W) + self.b).permute(0, 3, 1, 2)


class AttnBlockpp(nn.Module):
    """score_sde's: NIN_0 to NIN_3."""

    def __init__(self, channels):
        super().__init__()
        for i in range(4):
            self.add_module(f"NIN_{i}", NIN(channels))

    def forward(self, x):
        B, C, h, w = x.shape
        q, k, v = self.NIN_0(x), self.NIN_1(x), self.NIN_2(x)
        weights = torch.einsum("bchw,bcij->bhwij", q, k) * C**-0.5
        weights = weights.reshape(B, h, w, h * w).softmax(dim=-1).reshape(B, h, w, h, w)
        return (x + self.NIN_3(torch.einsum("bhwij,bcij->bchw", weights, v))) / 2**0.5


class SAGANAttention(nn.Module):
    """Zhang et al. 2019: C/8 channels for queries and keys, no scaling, a learned gamma that starts at zero."""

    def __init__(self, channels, gamma=0.7):
        super().__init__()
        self.query_conv = nn.Conv2d(channels, channels // 8, 1)
        self.key_conv = nn.Conv2d(channels, channels // 8, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.full((1,), gamma))

    def forward(self, x):
        B, C, h, w = x.shape
        q = self.query_conv(x).view(B, -1, h * w).permute(0, 2, 1)
        weights = torch.bmm(q, self.key_conv(x).view(B, -1, h * w)).softmax(dim=-1)
        out = torch.bmm(self.value_conv(x).view(B, -1, h * w), weights.permute(0, 2, 1)).view(B, C, h, w)
        return self.gamma * out + x, weights


class OldDiffusersAttention(nn.Module):
    """diffusers' AttentionBlock of 2022: query, key, value, proj_attn."""

    def __init__(self, channels, heads=2):
        super().__init__()
        self.num_heads = heads
        self.group_norm = nn.GroupNorm(4, channels)
        self.query, self.key, self.value, self.proj_attn = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x):
        B, C, h, w = x.shape
        y = self.group_norm(x).view(B, C, h * w).transpose(1, 2)
        q, k, v = (f(y).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        scale = (C / self.num_heads) ** -0.25
        out = torch.softmax((q * scale) @ (k * scale).transpose(2, 3), dim=-1) @ v
        return self.proj_attn(out.transpose(1, 2).reshape(B, h * w, C)).transpose(1, 2).reshape(B, C, h, w) + x


class Windows(nn.Module):
    """Attention within the halves of a picture: twice as many pieces as pictures."""

    def __init__(self, dim):
        super().__init__()
        self.inner = TimmAttention(dim)

    def forward(self, x):
        B, N, C = x.shape
        return self.inner(x.reshape(B * 2, N // 2, C)).reshape(B, N, C)


class YourAttention(nn.Module):
    """The module that the probe in the docstring of `viz.probes.site` is written for."""

    def __init__(self, channels, heads=4):
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x):
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for project in (self.wq, self.wk, self.wv)
        )
        return self.wo(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def documented_probe() -> str:
    """The example in the docstring of `viz.probes.site`."""
    example = re.search(r"^    from viz.*?append\(my_probe\)$", site.__doc__ or "", re.DOTALL | re.MULTILINE)
    assert example, "the docstring has no example that ends in append(my_probe)"
    return textwrap.dedent(example.group())


@contextmanager
def with_documented_probe() -> Iterator[None]:
    """Run that example, and take its probe away in the end."""
    before = list(PROBES)
    try:
        exec(documented_probe(), {})
        yield
    finally:
        PROBES[:] = before


# {name: (how to make it with 32 channels, whether it takes (B, h·w, C))}
FAMILIES = {
    "latent diffusion": (lambda: CrossAttention(32), True),
    "timm": (lambda: TimmAttention(32), True),
    "timm, normalised": (lambda: TimmAttention(32, qk_norm=True), True),
    "packed 1x1 convolution": (lambda: ConvolutionalAttention(32), False),
    "packed 1x1 convolution, memory": (lambda: ConvolutionalAttention(32, memory=3), False),
    "improved-diffusion": (lambda: OpenAIAttention(32, legacy=True), False),
    "guided-diffusion": (lambda: OpenAIAttention(32, legacy=False), False),
    "EDM": (lambda: EDMAttention(32), False),
    "AttnBlock": (lambda: AttnBlock(32), False),
    "AttnBlock, other names": (lambda: AttnBlock(32, ("proj_q", "proj_k", "proj_v", "proj")), False),
    "score_sde": (lambda: AttnBlockpp(32), False),
    "SAGAN": (lambda: SAGANAttention(32), False),
    "old diffusers": (lambda: OldDiffusersAttention(32), False),
}
