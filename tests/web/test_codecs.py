"""Queries and links mean the same in Python and in JavaScript: masks and their base64, the cells they cover."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.node import evaluate
from tests.support.strategies import BOXES, GRIDS, QUERIES, RECIPES, REGIONS, views
from viz.areas import coverage
from viz.page.links import LinkError, decode, encode
from viz.recipe import Recipe
from viz.view import Region, View, query_from_json
from viz.web import WEB

# Starting Node takes longer than all examples together: each example is a list.
few = settings(max_examples=5)


def many(elements: st.SearchStrategy) -> st.SearchStrategy[list]:
    return st.lists(elements, min_size=30, max_size=60)


def in_javascript(expression: str, values: list) -> list:
    """The value of an expression of core/query.js for each of `values`, which it calls `value`."""
    module = json.dumps(str(WEB / "core/query.js"))
    return evaluate(f"import * as query from {module};\nanswer({json.dumps(values)}.map((value) => {expression}));")


def mask_of(region: Region) -> list[int]:
    """The mask's bits, row by row."""
    bits = np.unpackbits(np.frombuffer(region.mask, np.uint8))
    return bits[: region.grid[0] * region.grid[1]].tolist()


@few
@given(many(REGIONS))
def test_decode_mask_reads_what_python_writes(regions):
    masks = in_javascript("[...query.decodeMask(query.checkQuery(value))]", [region.to_json() for region in regions])
    assert masks == [mask_of(region) for region in regions]


@few
@given(many(REGIONS))
def test_encode_mask_writes_what_python_reads(regions):
    written = in_javascript(
        "query.encodeMask(Uint8Array.from(value[0]), value[1])", [[mask_of(region), region.grid] for region in regions]
    )
    assert [query_from_json(document) for document in written] == regions
    assert [document["mask"] for document in written] == [region.to_json()["mask"] for region in regions]


@few
@given(many(QUERIES))
def test_check_query_accepts_every_query_of_python(queries):
    documents = [query.to_json() for query in queries]
    assert in_javascript("query.checkQuery(value)", documents) == json.loads(json.dumps(documents))


@few
@given(many(st.tuples(BOXES | REGIONS, GRIDS)))
def test_coverage_is_the_same_and_sums_to_the_area(pairs):
    covered = in_javascript(
        "[...query.coverage(value[0], { height: value[1][0], width: value[1][1] })]",
        [[query.to_json(), grid] for query, grid in pairs],
    )
    for (query, grid), shares in zip(pairs, covered, strict=True):
        assert np.allclose(shares, coverage(query, grid).ravel(), rtol=0, atol=1e-12)
        if isinstance(query, Region):
            area = np.mean(mask_of(query))
        else:
            area = (query.end[0] - query.start[0]) * (query.end[1] - query.start[1])
        assert sum(shares) == pytest.approx(area * grid[0] * grid[1], abs=1e-9)


def links_of(documents: list) -> list[str]:
    """The links that the browser makes of some (recipe, view), or what it says instead."""
    return evaluate(
        f"import {{ encodeLink }} from {json.dumps(str(WEB / 'core/link.js'))};\n"
        "const attempt = ([recipe, view]) => { try { return encodeLink(recipe, view); } "
        "catch (error) { return error.message; } };\n"
        f"answer({json.dumps(documents)}.map(attempt));"
    )


@settings(max_examples=10)
@given(st.lists(st.tuples(RECIPES, views()), min_size=1, max_size=4))
def test_links_made_in_the_browser_are_read_by_python(pairs):
    links = links_of([(recipe.to_json(), view.to_json()) for recipe, view in pairs])
    assert [decode(link) for link in links] == pairs
    # of the same length as Python's, but for a few bytes that two compressors may differ by
    assert all(len(link) <= 1.1 * len(encode(*pair)) + 40 for link, pair in zip(links, pairs, strict=True))


def test_links_that_would_be_too_long_are_refused_as_in_python():
    noise = np.random.default_rng(0).integers(0, 256, (2, 256 * 256 // 8), dtype=np.uint8)
    recipe, view = (
        Recipe("a"),
        View((0.5, 0.5), "a", 0, pins=tuple(Region((256, 256), each.tobytes()) for each in noise)),
    )
    with pytest.raises(LinkError) as refused:
        encode(recipe, view)
    assert links_of([(recipe.to_json(), view.to_json())]) == [str(refused.value)]
