"""What a trace knows about one attention module: its shape, and the data that proves its maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the page reads layers before it loads torch
    import torch

Kind = Literal["self", "cross"]
Branch = Literal["conditional", "unconditional"]
Key = tuple[Branch, str, int]  # branch, layer name, step: the index of a trace's Q and K


@dataclass(frozen=True)
class Layer:
    """The shape of one attention module.

    Attributes:
        name: path of the module in its network.
        kind: "self" for attention among pixels, "cross" for attention from pixels to something else, such as words.
        grid: (h, w) of its feature map, and so of its queries.
        heads: H. head_dim: d, the width of one head.
        keys: M, the number of key tokens; h·w + `extra` for self-attention.
        scale: the factor on q·k before the softmax.
        extra: number of keys that belong to no pixel (class, register or learned tokens). They come first.
    """

    name: str
    kind: Kind
    grid: tuple[int, int]
    heads: int
    head_dim: int
    keys: int
    scale: float
    extra: int = 0

    @property
    def tokens(self) -> int:
        """N = h·w, the number of queries."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class Proof:
    """The data to recompute part of a module's own output at one step: the first dv channels of each head."""

    step: int
    queries: torch.Tensor  # (n,) int64, indices of the queries that are compared
    value: torch.Tensor  # (H, M, dv)
    output: torch.Tensor  # (n, H·dv), or (n, dv) where the module adds its heads up
