"""Which queries of a layer to keep, where only some are asked for: places of the picture, and words.

    record(unet, queries=(0.5, 0.3))                            # one point, (row, column) in 0..1 of the picture
    record(unet, queries=[Box((0.2, 0.2), (0.4, 0.5)), "words"])
    record(unet, queries=Region.of_cells((32, 32), [(14, 10)]))  # cells of a grid

The same place is kept in every layer: the cell that holds a point, and all cells that a box or a region touches.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from viz.areas import coverage
from viz.checks import is_number, short
from viz.layer import Layer
from viz.view import Area, Box, Pixel, Place, Region, ViewError, WordQuery, query_from_json
from viz.words import NO_WORDS

Asked = Area | Place | Literal["words"]
NAMED = 8  # cells that an error names


@dataclass(frozen=True)
class Asking:
    """What is asked for: the cells of some areas and, where words are queries, the words."""

    areas: tuple[Area, ...]
    words: bool = False

    @classmethod
    def parse(cls, queries: Asked | Collection[Asked]) -> Asking:
        """Read and check the argument `queries` of `viz.record`.

        Raises:
            ValueError: for anything else than places within the picture and "words", or for nothing.
        """
        alone = isinstance(queries, (str, Pixel, Box, Region, WordQuery)) or _is_pair(queries)
        each = [queries] if alone or not isinstance(queries, Collection) else list(queries)
        areas = tuple(_area(one) for one in each if not (isinstance(one, str) and one == "words"))
        if not each:
            raise ValueError("queries is empty: expected at least one place; leave it out to keep every query")
        return cls(areas, len(areas) < len(each))

    def of(self, layer: Layer) -> tuple[int, ...]:
        """The indices of what is asked for, among all queries of a layer, in order.

        Raises:
            ValueError: if that is nothing: only words are asked for, and none is a query of the layer.
        """
        cells = np.zeros(layer.grid, bool)
        for area in self.areas:
            cells |= coverage(area, layer.grid) > 0
        chosen = set((np.flatnonzero(cells) + layer.first_query).tolist())
        if self.words:
            chosen.update(word_queries(layer))
        if not chosen:
            raise ValueError("only words are asked for, and in it words are no queries")
        return tuple(sorted(chosen))


def word_queries(layer: Layer) -> list[int]:
    """The queries of a layer that may be words: all but pixels, registers and frames."""
    found: list[int] = []
    first = 0
    for segment in layer.queries:
        if segment.kind not in NO_WORDS:
            found += range(first, first + segment.tokens)
        first += segment.tokens
    return found


def positions(layer: Layer, kept: Sequence[int] | None, wanted: Sequence[int]) -> list[int]:
    """Where some queries of a layer are among those that are kept; None stands for all.

    Raises:
        KeyError: for a query that is not among them; the message says which are.
    """
    if kept is None:
        return list(wanted)
    places = {query: place for place, query in enumerate(kept)}
    missing = [query for query in wanted if query not in places]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise KeyError(
            f"{_name(layer, missing[0])}{more} of {layer.name!r} was not asked for when this trace was recorded; "
            f"its queries are {describe(layer, kept)}"
        )
    return [places[query] for query in wanted]


def require_all(layer: Layer, kept: Sequence[int] | None) -> None:
    """Raise ValueError unless every query of a layer is kept."""
    if kept is not None:
        raise ValueError(
            f"columns, mean rows and maps of words are made of every pixel's query, and of {layer.name!r} the trace "
            f"keeps {len(kept)} of {layer.query_count} queries, {describe(layer, kept)}: record it without queries="
        )


def describe(layer: Layer, kept: Sequence[int]) -> str:
    """The queries that are kept, in words: "cells (3, 5), (3, 6) and 4 more on its 16×16 grid, and 77 others"."""
    pixels = range(layer.first_query, layer.first_query + layer.tokens)
    cells = [query for query in kept if query in pixels]
    others = len(kept) - len(cells)
    names = ", ".join(str(_cell(layer, query)) for query in cells[:NAMED])
    more = f" and {len(cells) - NAMED} more" if len(cells) > NAMED else ""
    on_grid = f"cell{'s' * (len(cells) > 1)} {names}{more} on its {layer.grid[0]}×{layer.grid[1]} grid" if cells else ""
    beside = f"{others} that {'are no cells' if others > 1 else 'is no cell'}" if others else ""
    return ", and ".join(part for part in (on_grid, beside) if part)


def _name(layer: Layer, query: int) -> str:
    if layer.first_query <= query < layer.first_query + layer.tokens:
        return f"cell {_cell(layer, query)}"
    return f"query {query}, which is no cell,"


def _cell(layer: Layer, query: int) -> tuple[int, int]:
    return divmod(query - layer.first_query, layer.grid[1])


def _is_pair(value: object) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(is_number(part) for part in value)


def _area(value: object) -> Area:
    """One of the areas that were asked for, checked."""
    if _is_pair(value):
        value = Pixel(cast(Place, tuple(cast(Sequence, value))))
    if not isinstance(value, (Pixel, Box, Region)):
        raise ValueError(
            "expected queries to be points (row, column) from 0 to 1, boxes or regions (viz.view), or “words”; got "
            f"{short(value)}"
        )
    try:
        return cast(Area, query_from_json(value.to_json()))
    except ViewError as error:
        hint = "; a cell of a grid is Region.of_cells((32, 32), [(14, 10)])" if isinstance(value, Pixel) else ""
        raise ValueError(f"expected queries within the picture: {str(error).rstrip('.')}{hint}") from None
