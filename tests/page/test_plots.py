"""The value that the page's plots are sent."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.support.traces import trace_of_segments
from viz import Trace
from viz.page.gallery import exhibits
from viz.page.plots import plot
from viz.query import Maps
from viz.view import Box, Pixel, View, ViewError

NAME = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"
PINS = (Pixel((0.555, 0.336)), Box((0.5, 0.6), (0.65, 0.8)))
VIEW = View((0.5, 0.5), NAME, 16, -1, pins=PINS, active=0)


@pytest.fixture(scope="module")
def maps() -> Maps:
    return Maps(Trace.load(exhibits()[0].trace))


def keys(value: dict) -> list[str]:
    return [figure["key"] for figure in value["figures"]]


def test_plot_of_rows(maps):
    value = plot(maps, VIEW, region=1)
    assert keys(value) == ["entropy", "distance", "weight", "map"]
    assert len(json.dumps(value)) < 200_000 and "Pin 1: what it looks at" in value["note"]
    z = np.array(value["figures"][-1]["figure"]["data"][0]["z"])
    assert np.allclose(z, maps.of_view(VIEW), atol=1e-4)


@pytest.mark.parametrize("region", [0, None, 7, "1", -5])
def test_plot_has_no_weight_without_a_region(maps, region):
    assert keys(plot(maps, VIEW, region=region)) == ["entropy", "distance", "map"]


def test_plot_of_columns(maps):
    value = plot(maps, replace(VIEW, mode="column"), region=1)
    assert keys(value) == ["received", "distance", "weight", "map"]
    assert "Pin 1: who looks at it" in value["note"] and "Columns don't sum to one" in value["note"]


def test_plot_leaves_gaps_empty():
    maps = Maps(trace_of_segments())
    for mode, shape in (("row", (2, 2)), ("column", (3, 4))):
        view = View((0.5, 0.5), "joint", 6, pins=PINS, active=0, mode=mode)
        figures = {each["key"]: each["figure"]["data"] for each in plot(maps, view)["figures"]}
        assert figures["map"][0]["z"] == [[None] * shape[1]] * shape[0]
        lines = {line["meta"]: line["y"] for line in figures["distance"]}
        assert [value is None for value in lines["joint"]] == [False, False, True]
        assert [value is None for value in lines["plain"]] == [False, True, False]


def test_plot_says_that_only_the_map_is_special(maps):
    plain, special = (plot(maps, replace(VIEW, special=special))["note"] for special in (False, True))
    assert "only the map has the mean row subtracted" in special and special.startswith(plain)


def test_plot_refuses_a_layer_that_the_trace_lacks(maps):
    with pytest.raises(ViewError, match="does not hold"):
        plot(maps, View((0.5, 0.5), "no such layer", 16))
