"""Views, queries and recipes survive JSON, whatever they hold; a query covers its own area of every grid."""

import json

import pytest
from hypothesis import given

from tests.support.strategies import BOXES, GRIDS, PIXELS, QUERIES, RECIPES, REGIONS, views
from viz.areas import coverage, shares
from viz.recipe import Recipe
from viz.view import Region, View, query_from_json


def through_json(document: dict) -> object:
    return json.loads(json.dumps(document))


@given(views())
def test_view_from_json_restores_every_view(view):
    assert View.from_json(through_json(view.to_json())) == view


@given(QUERIES)
def test_query_from_json_restores_every_query(query):
    assert query_from_json(through_json(query.to_json())) == query


@given(RECIPES)
def test_recipe_from_json_restores_every_recipe(recipe):
    restored = Recipe.from_json(through_json(recipe.to_json()))
    assert restored == recipe
    assert restored.versions == recipe.versions  # which recipes are not compared by


@given(BOXES, GRIDS)
def test_coverage_of_box_sums_to_its_area(box, grid):
    area = (box.end[0] - box.start[0]) * (box.end[1] - box.start[1])
    assert coverage(box, grid).sum() == pytest.approx(area * grid[0] * grid[1], abs=1e-9)


@given(REGIONS, GRIDS)
def test_coverage_of_region_sums_to_its_area(region, grid):
    painted = sum(byte.bit_count() for byte in region.mask)
    area = painted / (region.grid[0] * region.grid[1])
    assert coverage(region, grid).sum() == pytest.approx(area * grid[0] * grid[1], abs=1e-9)


@given(REGIONS)
def test_coverage_of_region_on_its_own_grid_is_its_mask(region):
    covered = coverage(region, region.grid).ravel()
    for cell, share in enumerate(covered):
        bit = region.mask[cell // 8] >> (7 - cell % 8) & 1
        assert share == pytest.approx(bit, abs=1e-12)


@given(PIXELS, GRIDS)
def test_coverage_of_pixel_is_the_cell_that_holds_it(pixel, grid):
    covered = coverage(pixel, grid)
    (row,), (column,) = covered.nonzero()
    assert covered.sum() == 1
    for index, cells, place in zip((row, column), grid, pixel.point, strict=True):
        assert index / cells <= place <= (index + 1) / cells + 1e-12


@given(REGIONS | PIXELS, GRIDS)
def test_shares_sum_to_one(query, grid):
    assert shares(query, grid).sum() == pytest.approx(1)
    assert shares(query, grid).min() >= 0


@given(REGIONS)
def test_region_mask_has_one_spelling(region):
    """Equal regions have equal JSON, so that a link made twice is the same link."""
    text = region.to_json()["mask"]
    assert isinstance(query_from_json(region.to_json()), Region)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(text) == -(-len(region.mask) * 8 // 6)
