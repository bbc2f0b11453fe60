"""Modules that a recorder meets and cannot read: compiled, scripted, cast, grouped, or of no known family."""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.random_weights import numbers

# PyTorch's and Python's own words, which are no reason for a reader.
FOREIGN = re.compile(r"weak object|tensor a|must match|has no attribute|NoneType|Error\b|Traceback|recompile")


class Odd(nn.Module):
    """Attention of (B, C, h, w) with `to_q`, `to_k`, `to_v`, whose parts can be exchanged."""

    def __init__(self, channels: int = 16, heads: int = 2, kv_heads: int = 2, output: bool = True) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.heads, self.kv_heads = heads, kv_heads
        width = channels // heads
        self.to_q = nn.Linear(channels, channels)
        self.to_k, self.to_v = nn.Linear(channels, kv_heads * width), nn.Linear(channels, kv_heads * width)
        self.to_out = nn.Linear(channels, channels) if output else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        q = self.to_q(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (
            project(tokens).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2) for project in (self.to_k, self.to_v)
        )
        out = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.kv_heads < self.heads).transpose(1, 2).flatten(2)
        out = out if self.to_out is None else self.to_out(out)
        return out.transpose(1, 2).unflatten(2, x.shape[2:])


class Stranger(nn.Module):
    """Attention whose projections have names that nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b, self.c, self.d = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        weights = torch.softmax(self.a(tokens) @ self.b(tokens).transpose(1, 2) / 4, dim=-1)
        return self.d(weights @ self.c(tokens)).transpose(1, 2).unflatten(2, x.shape[2:])


class Pair(nn.Module):
    """A network of a layer that can be recorded, `plain`, and of one that cannot, `odd`."""

    def __init__(self, odd: nn.Module) -> None:
        super().__init__()
        self.plain, self.odd = Odd(), odd

    def forward(self, sample: Tensor, timestep: float) -> Tensor:
        x = sample + self.plain(sample)
        return x + self.odd(x)


class Eighth(nn.Linear):
    """A linear layer whose weight is kept in eight bits, and cast for each call."""

    def __init__(self, features: int) -> None:
        super().__init__(features, features)
        self.weight = nn.Parameter(self.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias)


@torch.no_grad()
def run_pair(network: nn.Module, steps: int = 2) -> list[Tensor]:
    return [network(numbers(2, 16, 4, 6, seed=step), 900.0 - step) for step in range(steps)]
