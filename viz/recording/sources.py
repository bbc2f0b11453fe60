"""Where a layer's queries and keys come from: followed, by their values, back to feature maps and to what was given.

A count of tokens says nothing: merged tokens, frames and padded sequences can have as many as a map has cells. Tokens
count as pixels only if they are found to be made of a map, cell by cell: they are its numbers, row by row or column by
column, or what modules and code make of these (norms, modulations, positions, residuals). A module that takes N tokens
and returns N is taken to keep their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from viz.layer import Segment
from viz.recording.likeness import equal, explains, likely_order, starts, sums
from viz.recording.sequence import Sequence, kind_of_argument, pixels, shifted
from viz.recording.surroundings import Frame, Surroundings, makes_tokens

MAX_DEPTH = 200  # of modules between a layer and the map that its tokens are made of
POSITIONS_ROUNDING = 1e-4  # of sums with positions, relative, in single precision
MAX_CANDIDATES = 10  # tensors around a layer that its tokens may be made of by code


class Sources:
    """Follows sequences of one picture to their source, within one call of a network."""

    def __init__(self, surroundings: Surroundings, picture: int, batch: int) -> None:
        self.surroundings, self.picture, self.batch = surroundings, picture, batch
        self._known: dict[tuple, Sequence | None] = {}  # {place: source of the tokens there}
        self._heads: dict[tuple, list[float]] = {}  # {place: the first numbers there}

    def follow(self, tensor: torch.Tensor, batch_dimension: int = 0, channels_first: bool = False) -> Sequence | None:
        """What the tokens of a tensor are; None if that is unknown.

        Args:
            tensor: (B, N, C) or (B, h, w, C); with `channels_first`, (B, C, N) or a map (B, C, h, w).
        """
        tensor = tensor.movedim(batch_dimension, 0)
        if tensor.ndim == 4 and channels_first:
            return pixels(tensor.shape[-2:])
        if tensor.ndim == 4:
            tensor = tensor.flatten(1, 2)
        return self._follow(tensor.transpose(1, 2) if channels_first else tensor, 0) if tensor.ndim == 3 else None

    def why_not(self, tensor: torch.Tensor, batch_dimension: int = 0) -> str:
        """Why a sequence could not be followed to the cells of a map."""
        count = tensor.movedim(batch_dimension, 0)[0].numel() // tensor.shape[-1]
        maps = (t for frame in reversed(self.surroundings.stack) for t in frame.inputs if t.ndim == 4)
        grid = next((tuple(t.shape[2:]) for t in maps if len(t) == self.batch), None)
        if grid is None:
            return f"its {count} tokens belong to no feature map"
        height, width = grid
        if count != height * width:
            others = "they may be patches, merged or left out, or no pixels at all"
            return f"its {count} tokens are not the cells of the {height}×{width} map around it; {others}"
        return (
            f"its {count} tokens could not be followed to the cells of the {height}×{width} map around it; they may be "
            "frames, or in an order of their own"
        )

    def _follow(self, tensor: torch.Tensor, depth: int) -> Sequence | None:
        place = _place(tensor)
        if place in self._known:
            return self._known[place]
        self._known[place] = None  # what leads back to itself explains nothing
        sequence = None
        if len(tensor) == self.batch and depth < MAX_DEPTH:
            tokens = tensor[self.picture]
            sequence = (
                self._argument(tokens)
                or self._map(tokens)
                or self._module(tokens, depth)
                or self._added(tokens, depth)
                or self._join(tokens, depth)
                or self._code(tokens, depth)
            )
        self._known[place] = sequence
        return sequence

    def _argument(self, tokens: torch.Tensor) -> Sequence | None:
        """Tokens that are an argument of the network."""
        for name, argument in self.surroundings.arguments.items():
            if len(argument) == self.batch and equal(tokens, argument[self.picture]):
                return Sequence((Segment(kind_of_argument(name), len(tokens)),))
        return None

    def _map(self, tokens: torch.Tensor) -> Sequence | None:
        """Tokens that hold the cells of a map, the same numbers or with positions added."""
        maps = list(self._maps(tokens))
        for positions in (None, *self._positions(tokens)) if maps else ():
            for cells in maps:
                if (sequence := self._cells(tokens, cells, positions)) is not None:
                    return sequence
        return None

    def _cells(self, tokens: torch.Tensor, cells: torch.Tensor, positions: torch.Tensor | None) -> Sequence | None:
        """Tokens (N, C), less positions (N, C), of which a run is the cells (C, h, w) of a map, in either order."""
        bare, tolerance = (tokens, 0.0) if positions is None else (tokens - positions, _rounding(tokens))
        grid, count = cells.shape[1:], cells.shape[1] * cells.shape[2]
        is_whole = positions is None and count == len(tokens) and tokens.dtype == cells.dtype
        if is_whole and self._head(tokens, 0) != self._head(cells, 1):
            return None
        slack = (
            tolerance if tolerance <= POSITIONS_ROUNDING else 16 * tolerance
        )  # what is left of a sum in half precision
        for first in starts(bare, cells[:, 0, 0], len(tokens) - count, slack):
            run = slice(first, first + count)
            for by_columns, ordered in ((False, cells), (True, cells.transpose(1, 2))):
                made = ordered.flatten(1).T if positions is None else ordered.flatten(1).T + positions[run]
                if equal(tokens[run], made, tolerance):
                    return self._between(bare, first, pixels(grid, by_columns))
        return None

    def _head(self, tensor: torch.Tensor, kind: int) -> list[float]:
        """The first numbers of the first token of (N, C), or of the first cell of (C, h, w)."""
        place = *_place(tensor), kind
        if place not in self._heads:
            self._heads[place] = (tensor[0, :8] if kind == 0 else tensor[:8, 0, 0]).tolist()
        return self._heads[place]

    def _module(self, tokens: torch.Tensor, depth: int) -> Sequence | None:
        """Tokens that a module returned: made of its N input tokens, or of the map that it cuts into patches."""
        fits = self._fits(tokens)
        for frame in self.surroundings.visible():
            if not any(equal(tokens, form[self.picture]) for form in self._forms(frame.outputs, fits)):
                continue
            if makes_tokens(frame) and (sequence := self._patches(frame, tokens)) is not None:
                return sequence
            sources = self._forms(frame.inputs, lambda count, _: count == len(tokens))
            found = (sequence for source in sources if (sequence := self._follow(source, depth + 1)) is not None)
            if (first := next(found, None)) is not None:
                alone = sum(any(True for _ in self._forms([output], fits)) for output in frame.outputs) == 1
                # Of several sequences of one length, nothing says which result is made of which.
                return first if alone or all(other.segments == first.segments for other in found) else None
        return None

    def _patches(self, frame: Frame, tokens: torch.Tensor) -> Sequence | None:
        """Tokens that a patch embedding returned: the map that one of its convolutions returned, flattened."""
        for cells in self._maps(tokens, _inner_outputs(frame)):
            for positions in (None, *self._positions(tokens, frame.module), *self._cropped(cells, frame.module)):
                if (sequence := self._cells(tokens, cells, positions)) is not None:
                    return sequence
            if (sequence := self._embedded(tokens, cells, frame.module)) is not None:
                return sequence
        return None

    def _embedded(self, tokens: torch.Tensor, cells: torch.Tensor, module: nn.Module) -> Sequence | None:
        """Tokens of which a run is made of the cells (C, h, w) of a map and of a module's tables, by code."""
        count = cells[0].numel()
        tables = [None, *(table for table in self._tables(None, module) if len(table) >= count)]
        for first in range(min(len(tokens) - count, MAX_CANDIDATES) + 1):
            run = tokens[first : first + count]
            for table in tables:
                if table is not None and table.shape[1] != tokens.shape[1]:
                    continue
                by_columns = likely_order(run, cells, None if table is None else table[-count:])
                if by_columns is not None:
                    return self._between(tokens, first, pixels(cells.shape[1:], by_columns))
        return None

    def _added(self, tokens: torch.Tensor, depth: int) -> Sequence | None:
        """Tokens that are visible ones with positions added."""
        for positions in self._positions(tokens):
            for source in self._forms(self.surroundings.tensors(), self._fits(tokens)):
                is_source = equal(tokens, source[self.picture] + positions, _rounding(tokens))
                if is_source and (sequence := self._follow(source, depth + 1)) is not None:
                    return sequence
        return None

    def _join(self, tokens: torch.Tensor, depth: int) -> Sequence | None:
        """Tokens that are several sequences joined, one of which is visible and holds pixels."""
        length, channels = tokens.shape
        for source in self._forms(
            self.surroundings.tensors(), lambda count, width: 0 < count < length and width == channels
        ):
            one = source[self.picture]
            for first in starts(tokens, one[0], len(tokens) - len(one), 0.0):
                inner = equal(tokens[first : first + len(one)], one) and self._follow(source, depth + 1)
                if inner and inner.has_pixels:
                    return self._between(tokens, first, inner)
        return None

    def _code(self, tokens: torch.Tensor, depth: int) -> Sequence | None:
        """Tokens that code made of visible ones without a module: a residual, a norm, a modulation."""
        sources = [
            source
            for source in self._forms(self.surroundings.tensors(), self._fits(tokens))
            if not equal(source[self.picture], tokens)
        ][:MAX_CANDIDATES]
        ones = [source[self.picture] for source in sources]
        for i, j in sums(tokens, ones):
            for source in (sources[i], sources[j]):
                if (sequence := self._follow(source, depth + 1)) is not None:
                    return sequence
        for bare in (tokens, *(tokens - positions for positions in self._positions(tokens))):
            if (sequence := self._run(bare)) is not None:
                return sequence
            for source, one in zip(sources, ones, strict=True):
                if explains(bare, [one]) and (sequence := self._follow(source, depth + 1)) is not None:
                    return sequence
        alone = {other.data_ptr(): explains(tokens, [other]) for other in ones}  # such a one needs no other
        for source in self._summands(
            sources, ones, lambda one, other: not alone[other.data_ptr()] and explains(tokens, [one, other])
        ):
            if (sequence := self._follow(source, depth + 1)) is not None:
                return sequence
        return None

    def _run(self, tokens: torch.Tensor) -> Sequence | None:
        """Tokens of which a run is what code made of the cells of a map."""
        lengths = [argument.shape[1] for argument in self.surroundings.arguments.values()]
        for cells in islice(self._maps(tokens), MAX_CANDIDATES):
            room = len(tokens) - cells[0].numel()
            starts = {*range(min(room, MAX_CANDIDATES) + 1), room, *lengths, *(room - length for length in lengths)}
            for first in sorted(start for start in starts if 0 <= start <= room):
                by_columns = likely_order(tokens[first : first + cells[0].numel()], cells)
                if by_columns is not None:
                    return self._between(tokens, first, pixels(cells.shape[1:], by_columns))
        return None

    def _summands(
        self,
        sources: list[torch.Tensor],
        ones: list[torch.Tensor],
        test: Callable[[torch.Tensor, torch.Tensor], bool],
    ) -> Iterator[torch.Tensor]:
        """The sources that pass a test together with another one."""
        for i, source in enumerate(sources):
            if any(test(ones[i], other) for j, other in enumerate(ones) if j != i):
                yield source

    def _between(self, tokens: torch.Tensor, first: int, inner: Sequence) -> Sequence:
        """A sequence that is known from token `first` on; the other tokens are whatever they can be shown to be."""
        before, after = self._part(tokens[:first]), self._part(tokens[first + inner.tokens :])
        return Sequence((*before, *inner.segments, *after), shifted(inner.order, first, len(tokens)))

    def _part(self, tokens: torch.Tensor) -> tuple[Segment, ...]:
        """The segments of tokens beside the pixels."""
        if not len(tokens):
            return ()
        if any(equal(tokens, table) for table in self._tables(tokens.shape)):
            return (Segment("registers", len(tokens)),)
        sequence = self._follow(tokens.expand(self.batch, *tokens.shape), 0)
        known = sequence is not None and not sequence.has_pixels
        return sequence.segments if known and sequence else (Segment("unknown", len(tokens)),)

    def _maps(self, tokens: torch.Tensor, tensors: Iterable[torch.Tensor] | None = None) -> Iterator[torch.Tensor]:
        """The visible maps (C, h, w) of the picture, cut into patches if need be, that tokens (N, C) may be made of."""
        count, width = tokens.shape
        for tensor in self.surroundings.tensors() if tensors is None else tensors:
            if tensor.ndim == 4 and len(tensor) == self.batch:
                patches, rest = divmod(width, tensor.shape[1])
                if patches and not rest and tensor.shape[2] * tensor.shape[3] <= count * patches:
                    yield from _patched(tensor[self.picture], width)

    def _forms(self, tensors: Iterable[torch.Tensor], fits: Callable[[int, int], bool]) -> Iterator[torch.Tensor]:
        """Tensors that may hold sequences of the batch, as (B, N, C); they may be (B, C, N) or (B, h, w, C).

        Args:
            fits: a function of N and C that says which are of use; it saves making the others.
        """
        for tensor in tensors:
            if len(tensor) != self.batch:
                continue
            if tensor.ndim == 3:
                _, first, second = tensor.shape
                if fits(first, second):
                    yield tensor
                if fits(second, first):
                    yield tensor.transpose(1, 2)
            elif tensor.ndim == 4 and fits(tensor.shape[1] * tensor.shape[2], tensor.shape[3]):
                yield tensor.flatten(1, 2)

    def _fits(self, tokens: torch.Tensor) -> Callable[[int, int], bool]:
        return lambda count, width: (count, width) == tokens.shape

    def _positions(self, tokens: torch.Tensor, within: nn.Module | None = None) -> Iterator[torch.Tensor]:
        """Learned tables, or the first rows of them, that may have been added to (N, C)."""
        count, width = tokens.shape
        for table in self._tables(None, within):
            if table.shape[1] == width and len(table) >= count > 1:
                yield table[:count].to(tokens)

    def _cropped(self, cells: torch.Tensor, within: nn.Module) -> Iterator[torch.Tensor]:
        """The middle of a module's square tables of positions, as large as a map (C, h, w)."""
        width, *grid = cells.shape
        for table in self._tables(None, within):
            side = math.isqrt(len(table))
            if table.shape[1] == width and side**2 == len(table) and side >= max(grid):
                top, left = ((side - length) // 2 for length in grid)
                square = table.view(side, side, width)[top : top + grid[0], left : left + grid[1]]
                yield square.flatten(0, 1).to(cells)

    def _tables(self, shape: torch.Size | None, within: nn.Module | None = None) -> Iterator[torch.Tensor]:
        """Parameters and buffers (…, N, C), or of any length, of one module or else of the running ones."""
        modules = [frame.module for frame in reversed(self.surroundings.stack)] if within is None else [within]
        for module in modules:
            for tables in (module.parameters(within is not None), module.buffers(within is not None)):
                for table in tables:
                    if shape is None and table.ndim >= 2:
                        yield table.detach().reshape(-1, table.shape[-1])
                    elif shape is not None and table.numel() == math.prod(shape) and table.shape[-1:] == shape[-1:]:
                        yield table.detach().reshape(shape)


def _place(tensor: torch.Tensor) -> tuple:
    """What tells a tensor from all others. It does not hold its memory, but no later tensor can have the same.

    An address alone would be given to the next tensor when this one is freed.
    """
    memory = StorageWeakRef(tensor.untyped_storage())
    return memory, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def _rounding(tokens: torch.Tensor) -> float:
    """How far the sum of tokens and positions may be off, relative to the largest number."""
    return max(POSITIONS_ROUNDING, torch.finfo(tokens.dtype).eps) if tokens.is_floating_point() else POSITIONS_ROUNDING


def _patched(cells: torch.Tensor, width: int) -> Iterator[torch.Tensor]:
    """A map (C, h, w) with `width` channels: as it is, or cut into square patches whose numbers are channels."""
    channels, height, side = cells.shape
    patch = math.isqrt(width // channels)
    if patch == 1 and channels == width:
        yield cells
    elif patch > 1 and channels * patch**2 == width and not height % patch and not side % patch:
        patches = F.pixel_unshuffle(cells, patch)  # (C·p·p, h/p, w/p)
        yield patches
        yield patches.unflatten(0, (channels, patch**2)).transpose(0, 1).flatten(0, 1)


def _inner_outputs(frame: Frame) -> Iterator[torch.Tensor]:
    """What the modules within one returned."""
    for child in frame.finished:
        yield from child.outputs
        yield from _inner_outputs(child)
