"""What the tokens of a sequence are, in order: the sequence that a layer's queries or keys are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from viz.layer import Layer, Segment, SegmentKind
from viz.probes import Reading
from viz.recording.call import infer_grid, named_arguments

# Parts of the names of a network's arguments, and what their tokens are.
ARGUMENT_KINDS: tuple[tuple[str, SegmentKind], ...] = (
    ("gligen", "objects"),
    ("object", "objects"),
    ("boxes", "objects"),
    ("image", "image prompt"),
    ("ip_", "image prompt"),
    ("encoder_hidden_states", "words"),
    ("context", "words"),
    ("text", "words"),
    ("prompt", "words"),
    ("caption", "words"),
    ("words", "words"),
)


@dataclass(frozen=True)
class Sequence:
    """What the tokens of a sequence are.

    Attributes:
        order: (tokens,) the index of each token once its pixels are put row by row; None if they are already.
    """

    segments: tuple[Segment, ...]
    order: torch.Tensor | None = None

    @property
    def tokens(self) -> int:
        return sum(segment.tokens for segment in self.segments)

    @property
    def has_pixels(self) -> bool:
        return any(segment.kind == "pixels" for segment in self.segments)


def kind_of_argument(name: str) -> SegmentKind:
    """What the tokens of a network's argument are, by its name."""
    return next((kind for part, kind in ARGUMENT_KINDS if part in name.lower()), "unknown")


def words_given(network: nn.Module, args: tuple, kwargs: dict) -> list[torch.Tensor]:
    """The arguments of a network that are words, (B, M, C) each, in its order."""
    return [
        value.detach()
        for name, value in named_arguments(network, args, kwargs).items()
        if isinstance(value, torch.Tensor) and value.ndim == 3 and kind_of_argument(name) == "words"
    ]


def pixels(grid: tuple[int, ...], by_columns: bool = False) -> Sequence:
    """The cells of a map of that (height, width), row by row or column by column."""
    height, width = grid
    order = torch.arange(height * width).reshape(width, height).T.flatten() if by_columns and min(grid) > 1 else None
    return Sequence((Segment("pixels", height * width, (height, width)),), order)


def shifted(order: torch.Tensor | None, first: int, tokens: int) -> torch.Tensor | None:
    """The order of all `tokens`, of which those from `first` on are put into an order of their own."""
    if order is None:
        return None
    everything = torch.arange(tokens)
    everything[first : first + len(order)] = order + first
    return everything


def join(sequences: Iterable[Sequence]) -> Sequence:
    """Sequences that a module joined, one after the other."""
    parts = list(sequences)
    if len(parts) == 1:
        return parts[0]
    order = torch.arange(sum(part.tokens for part in parts))
    first = 0
    for part in parts:
        if part.order is not None:
            order[first : first + part.tokens] = part.order + first
        first += part.tokens
    moved = any(part.order is not None for part in parts)
    return Sequence(tuple(segment for part in parts for segment in part.segments), order if moved else None)


def layer_of(name: str, reading: Reading, queries: Sequence, keys: Sequence, q: torch.Tensor, k: torch.Tensor) -> Layer:
    """The layer that q (H, N, d) and k (H, M, d) belong to.

    Raises:
        ValueError: when the module made more or fewer of them than it was given.
    """
    heads, count, head_dim = q.shape
    if (len(k), k.shape[2]) != (heads, head_dim):
        shapes = f"{heads} heads of {head_dim} for queries and {len(k)} of {k.shape[2]} for keys"
        raise ValueError(f"it has {shapes}; grouped queries are not recorded")
    if count != queries.tokens:
        raise ValueError(f"it has {count} queries where it was given {queries.tokens} tokens")
    key_segments = keys.segments or (Segment("unknown", k.shape[1]),)
    joined = k.shape[1] - sum(segment.tokens for segment in key_segments)
    if joined and joined != reading.registers:
        raise ValueError(f"it has {k.shape[1]} keys where it was given {k.shape[1] - joined} tokens")
    if joined:
        key_segments = (Segment("registers", joined), *key_segments)
    scale = head_dim**-0.5 if reading.scale is None else reading.scale
    return Layer(name, queries.segments, key_segments, heads, head_dim, scale)


class CountedSources:
    """Stands in for `Sources` where tensors have shapes but no numbers: for planning, never for what is shown."""

    def __init__(self, size: tuple[int, int], arguments: Mapping[str, torch.Tensor]) -> None:
        self.size, self.arguments, self.picture = size, arguments, 0

    def follow(self, tensor: torch.Tensor, batch_dimension: int = 0, channels_first: bool = False) -> Sequence | None:
        """What the tokens of a tensor can be, by their number."""
        tensor = tensor.movedim(batch_dimension, 0)
        if tensor.ndim == 4 and channels_first:
            return pixels(tensor.shape[-2:])
        for name, argument in self.arguments.items():
            if argument.shape == tensor.shape:
                return Sequence((Segment(kind_of_argument(name), tensor.shape[1]),))
        tensor = tensor.flatten(1, 2) if tensor.ndim == 4 else tensor
        count = tensor.shape[2] if channels_first else tensor.shape[1]
        projected = next((name for name, value in self.arguments.items() if value.shape[1] == count), None)
        try:
            grid, before = infer_grid(self.size, count)
        except ValueError:
            grid, before = None, count
        if projected is not None and before:
            return Sequence((Segment(kind_of_argument(projected), count),))
        if grid is None:
            return Sequence((Segment("unknown", count),))
        registers = (Segment("registers", before),) if before else ()
        return Sequence((*registers, Segment("pixels", count - before, grid)))

    def why_not(self, tensor: torch.Tensor, batch_dimension: int = 0) -> str:
        """Why a sequence cannot be the cells of a map."""
        return f"its tokens, {tuple(tensor.shape)}, fit no halving of the {self.size[0]}×{self.size[1]} sample"
