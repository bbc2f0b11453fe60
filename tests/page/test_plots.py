"""The value that the page's plots are sent."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.support.halves import attention, trace_of_halves
from tests.support.traces import trace_of_segments
from viz import Trace
from viz.areas import coverage
from viz.page.gallery import first_trace
from viz.page.plots import plot
from viz.query import Maps
from viz.view import Box, Pixel, View, ViewError, WordQuery

NAME = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"
PINS = (Pixel((0.555, 0.336)), Box((0.5, 0.6), (0.65, 0.8)))
VIEW = View((0.5, 0.5), NAME, 16, -1, pins=PINS, active=0)


@pytest.fixture(scope="module")
def maps() -> Maps:
    return Maps(Trace.load(first_trace()))


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


@pytest.fixture(scope="module")
def halves(shared_pipeline) -> Maps:
    """Both halves of a guided run, with words."""
    return Maps(trace_of_halves(shared_pipeline, "a red monster with two eyes", 2))


def word_view(maps: Maps, **changes) -> View:
    chosen = next(layer.name for layer in maps.trace if layer.name.endswith("attn1"))
    view = View((0.5, 0.5), chosen, 1, -1, pins=(WordQuery("eyes"), PINS[1]), active=0, branch="conditional")
    return replace(view, **changes)


def lines(value: dict, key: str) -> dict[str, list]:
    (data,) = [figure["figure"]["data"] for figure in value["figures"] if figure["key"] == key]
    return {line["meta"]: line["y"] for line in data}


def test_plot_of_a_word_is_what_an_average_pixel_spends_on_it(halves):
    value = plot(halves, word_view(halves), region=1)
    assert keys(value) == ["received", "weight", "map"] and "what an average pixel spends on “eyes”" in value["note"]
    names = [layer.name for layer in halves.trace if layer.key_grid is None]
    received, weight = lines(value, "received"), lines(value, "weight")
    for name, spent, inside in zip(names, received.values(), weight.values(), strict=True):
        column = attention(halves.trace, name, 1)[:, :, 5].mean(0)
        covered = coverage(PINS[1], halves.trace.layers[name].grid).ravel()
        assert spent[1] == pytest.approx(column.mean(), rel=1e-4)
        assert inside[1] == pytest.approx(column @ covered / column.sum(), rel=1e-4)
    partner = word_view(halves).layer.replace("attn1", "attn2")
    z = np.array(value["figures"][-1]["figure"]["data"][0]["z"])
    assert np.allclose(z, halves.of_view(replace(word_view(halves), layer=partner)), atol=1e-4)


def test_plot_of_a_word_by_head_takes_the_partner_of_the_chosen_layer(halves):
    view = word_view(halves)
    spent = lines(plot(halves, view, lines="heads"), "received")
    columns = attention(halves.trace, view.layer.replace("attn1", "attn2"), 0)[:, :, 5].mean(1)
    assert spent["head 1"][0] == pytest.approx(columns[1], rel=1e-4)
    assert spent["mean"][0] == pytest.approx(columns.mean(), rel=1e-4)


def test_plot_shows_the_half_on_show(halves):
    pixel = {"pins": PINS, "active": 0}
    entropies = {}
    for branch in ("conditional", "unconditional", "difference"):
        value = plot(halves, word_view(halves, branch=branch, **pixel))
        entropies[branch] = lines(value, "entropy")
        z = np.array(value["figures"][-1]["figure"]["data"][0]["z"])
        assert np.allclose(z, halves.of_view(word_view(halves, branch=branch, **pixel)), atol=1e-4)
        assert ("“conditional”" in value["note"]) is (branch == "conditional")
    assert entropies["conditional"] == entropies["difference"] != entropies["unconditional"]


def test_plot_of_a_word_that_is_not_there_is_empty(halves):
    view = word_view(halves, pins=(WordQuery("horns"),))
    value = plot(halves, view)
    assert keys(value) == ["map"] and value["figures"][0]["figure"]["data"][0]["z"][0][0] is None
    alone = Maps(halves.trace.select(layers=[view.layer]))
    assert keys(plot(alone, view)) == ["map"]
    with pytest.raises(ViewError, match="branch"):
        plot(halves, replace(view, branch="no such half"))
