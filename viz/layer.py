"""What a trace knows about one attention module: its shape, and the data that proves its maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the page reads layers before it loads torch
    import torch

SegmentKind = Literal["pixels", "words", "registers", "image prompt", "objects", "frames", "unknown"]
Kind = Literal["self", "cross"]
Branch = str  # "conditional", "unconditional", … where the order of a batch is known, otherwise "picture 1 of 2"
Key = tuple[Branch, str, int]  # branch, layer name, step: the index of a trace's Q and K
Grid = tuple[int, int]  # (h, w)


@dataclass(frozen=True)
class Segment:
    """A run of a layer's queries or keys of one kind.

    Attributes:
        grid: (h, w) of pixels, which lie row by row, so that tokens = h·w; None for any other kind.
    """

    kind: SegmentKind
    tokens: int
    grid: Grid | None = None

    def __post_init__(self) -> None:
        if (self.kind == "pixels") != (self.grid is not None):
            raise ValueError(f"expected a grid of pixels and of nothing else, got {self}")
        if self.grid is not None and self.grid[0] * self.grid[1] != self.tokens:
            raise ValueError(f"expected as many tokens as the grid has cells, got {self}")


@dataclass(frozen=True)
class Layer:
    """The shape of one attention module.

    Attributes:
        name: path of the module in its network.
        queries: the segments of its queries, in the order in which the module joined them; exactly one is pixels.
        keys: the segments of its keys, likewise; at most one is pixels.
        heads: H. head_dim: d, the width of one head.
        scale: the factor on q·k before the softmax.
    """

    name: str
    queries: tuple[Segment, ...]
    keys: tuple[Segment, ...]
    heads: int
    head_dim: int
    scale: float

    def __post_init__(self) -> None:
        if len(_pixels(self.queries)) != 1 or len(_pixels(self.keys)) > 1:
            raise ValueError(
                f"expected one segment of pixels among the queries of {self.name!r}, and at most one among its keys; "
                f"got {self.queries} and {self.keys}"
            )

    @property
    def kind(self) -> Kind:
        """Self-attention if some keys are pixels, cross-attention if pixels only look at something else."""
        return "self" if _pixels(self.keys) else "cross"

    @property
    def grid(self) -> Grid:
        """(h, w) of the queries that are pixels."""
        return _pixels(self.queries)[0][1]

    @property
    def tokens(self) -> int:
        """N = h·w, the number of queries that are pixels."""
        return self.grid[0] * self.grid[1]

    @property
    def first_query(self) -> int:
        """How many queries come before the pixels."""
        return _pixels(self.queries)[0][0]

    @property
    def query_count(self) -> int:
        """The number of all queries."""
        return sum(segment.tokens for segment in self.queries)

    @property
    def pixel_queries(self) -> slice:
        """Where the pixels are among the queries."""
        return slice(self.first_query, self.first_query + self.tokens)

    @property
    def key_grid(self) -> Grid | None:
        """(h, w) of the keys that are pixels, which may be coarser than `grid`; None for cross-attention."""
        pixels = _pixels(self.keys)
        return pixels[0][1] if pixels else None

    @property
    def first_key(self) -> int:
        """How many keys come before the pixels; 0 for cross-attention."""
        pixels = _pixels(self.keys)
        return pixels[0][0] if pixels else 0

    @property
    def key_count(self) -> int:
        """M, the number of all keys."""
        return sum(segment.tokens for segment in self.keys)

    @property
    def pixel_keys(self) -> slice:
        """Where the pixels are among the keys; all keys for cross-attention."""
        if (grid := self.key_grid) is None:
            return slice(0, self.key_count)
        return slice(self.first_key, self.first_key + grid[0] * grid[1])


def _pixels(segments: tuple[Segment, ...]) -> list[tuple[int, Grid]]:
    """For each segment of pixels, how many tokens come before it, and its grid."""
    found, before = [], 0
    for segment in segments:
        if segment.grid is not None:
            found.append((before, segment.grid))
        before += segment.tokens
    return found


@dataclass(frozen=True)
class Proof:
    """The data to recompute part of a module's own output at one step: the first dv channels of each head."""

    branch: Branch
    step: int
    queries: torch.Tensor  # (n,) int64, indices of the queries that are compared, among all queries
    value: torch.Tensor  # (H, M, dv)
    output: torch.Tensor  # (n, H·dv), or (n, dv) where the module adds its heads up
