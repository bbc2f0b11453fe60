"""Hypothesis strategies: every view, query and recipe that its class accepts."""

import numpy as np
from hypothesis import strategies as st

from viz.recipe import MAX_CAPTION, MAX_GUIDANCE, MAX_SEED, MAX_STEPS, MAX_VERSION, MAX_VERSIONS, Recipe
from viz.trace_description import MAX_BRANCH
from viz.view import MAX_HEAD, MAX_NAME, MAX_PINS, MAX_STEP, Box, Pixel, Region, View, WordQuery
from viz.words import KINDS, MAX_ENCODING, MAX_ENCODINGS, MAX_WORD

SIDES = st.integers(1, 24)
GRIDS = st.tuples(SIDES, SIDES)
FRACTIONS = st.floats(0, 1)
PLACES = st.tuples(FRACTIONS, FRACTIONS)

_EDGES = st.lists(FRACTIONS, min_size=2, max_size=2, unique=True).map(sorted)


def _box(rows: list[float], columns: list[float]) -> Box:
    return Box((rows[0], columns[0]), (rows[1], columns[1]))


def _region(grid: tuple[int, int], data: st.DataObject) -> Region:
    cells = grid[0] * grid[1]
    painted = data.draw(st.sets(st.integers(0, cells - 1), min_size=1))
    return Region(grid, np.packbits([cell in painted for cell in range(cells)]).tobytes())


PIXELS = st.builds(Pixel, PLACES)
BOXES = st.builds(_box, _EDGES, _EDGES)
REGIONS = st.builds(_region, GRIDS, st.data())
AREAS = PIXELS | BOXES | REGIONS
WORDS = st.builds(
    WordQuery,
    st.text(min_size=1, max_size=MAX_WORD),
    st.integers(0, MAX_ENCODING),
    st.sampled_from(KINDS),
    st.integers(0, 2 * MAX_ENCODINGS),
)
QUERIES = AREAS | WORDS


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any view, with and without the fields that may be left open."""
    pins = draw(st.none() | st.lists(QUERIES, max_size=MAX_PINS).map(tuple))
    return View(
        draw(PLACES),
        draw(st.text(min_size=1, max_size=MAX_NAME)),
        draw(st.integers(0, MAX_STEP)),
        draw(st.integers(-1, MAX_HEAD)),
        pins,
        draw(st.none() | st.integers(-1, len(pins or ()) - 1)),
        mode=draw(st.sampled_from([None, "row", "column"])),
        range=draw(st.sampled_from([None, "common", "own"])),
        base=draw(st.sampled_from([None, "picture", "preview"])),
        reading=draw(st.sampled_from([None, "spent", "used", "looks"])),
        branch=draw(st.none() | st.text(min_size=1, max_size=MAX_BRANCH)),
        bars=draw(st.sampled_from([None, "layer", "grid"])),
        **{
            name: draw(st.sampled_from([None, False, True])) for name in ("special", "log", "smooth", "heads", "winner")
        },
    )


VERSION_TEXTS = st.text(max_size=MAX_VERSION)
RECIPES = st.builds(
    Recipe,
    st.text(min_size=1, max_size=MAX_CAPTION).filter(str.strip),
    seed=st.integers(0, MAX_SEED),
    steps=st.integers(1, MAX_STEPS),
    guidance=st.floats(0, MAX_GUIDANCE) | st.integers(0, int(MAX_GUIDANCE)),
    revision=VERSION_TEXTS,
    versions=st.dictionaries(VERSION_TEXTS, VERSION_TEXTS, max_size=MAX_VERSIONS),
)
