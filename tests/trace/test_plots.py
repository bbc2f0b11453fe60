"""Curves and figures, and what the page is sent of them."""

import json

import numpy as np
import pytest
import torch

from tests.support.traces import by_hand
from viz import Trace
from viz.curves import follow
from viz.labels import layer_label
from viz.page.gallery import exhibits
from viz.page.plots import plotted
from viz.plots import heatmap, over_steps
from viz.query import answer, coverage, middle, shares, shown_map
from viz.view import Box, Pixel, Region, View, ViewError

NAME = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"
EYE = Pixel((0.555, 0.336))
OTHER = Box((0.5, 0.6), (0.65, 0.8))


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace.load(exhibits()[0].trace)


def test_what_a_query_covers():
    assert coverage(Pixel((0.99, 0.5)), (2, 4)).tolist() == [[0, 0, 0, 0], [0, 0, 1, 0]]
    assert coverage(Pixel((1, 1)), (2, 2)).tolist() == [[0, 0], [0, 1]]
    assert np.allclose(coverage(Box((0, 0.125), (0.5, 0.5)), (2, 4)), [[0.5, 1, 0, 0], [0, 0, 0, 0]])
    region = Region((2, 2), b"\x90")  # 10 / 01
    assert np.allclose(coverage(region, (2, 2)), [[1, 0], [0, 1]])
    assert np.allclose(coverage(region, (1, 1)), [[0.5]])
    assert np.allclose(coverage(region, (4, 2)), [[1, 0], [1, 0], [0, 1], [0, 1]])
    assert np.allclose(coverage(region, (3, 3)), [[1, 0.5, 0], [0.5, 0.5, 0.5], [0, 0.5, 1]])
    assert shares(region, (3, 3)).sum() == pytest.approx(1) and middle(region, (3, 3)) == pytest.approx((1, 1))


def test_answers_worked_by_hand():
    trace = by_hand(torch.log(torch.tensor([[1.0, 1, 1, 1], [1, 2, 3, 4], [6, 1, 1, 2], [1, 1, 1, 7]])))
    right = Box((0, 0.5), (1, 1))  # tokens 1 and 3
    row = np.array([0.1 + 0.1, 0.2 + 0.1, 0.3 + 0.1, 0.4 + 0.7]) / 2
    assert np.allclose(answer(trace, right, "a", 0), row.reshape(1, 2, 2))
    mean = (row * 2 + 0.25 + np.array([0.6, 0.1, 0.1, 0.2])) / 4
    assert np.allclose(answer(trace, right, "a", 0, special=True), (row - mean).reshape(1, 2, 2), atol=1e-6)
    column = np.array([0.5, 0.6, 0.3, 0.8]) / 2
    assert np.allclose(answer(trace, right, "a", 0, mode="column"), column.reshape(1, 2, 2))
    assert np.allclose(shown_map(trace, View((0, 0.9), "a", 0)), [[0.4, 0.8], [1.2, 1.6]])


def test_curves_follow_rows(trace):
    curves = follow(trace, EYE, region=OTHER)
    labels = [layer_label(name) for name in trace.layers]
    assert labels[0] == "down 1 · attention 0" and labels[3] == "middle · attention 0"
    assert list(curves.entropy) == list(curves.distance) == list(curves.weight) == labels
    step = curves.steps.index(16)
    rows = trace.rows(NAME, step=16, query=trace.cell(NAME, (0.555 * 64, 0.336 * 64))).mean(0).double()
    assert curves.entropy[labels[-1]][step] == pytest.approx(-(rows * rows.log2()).sum().item(), rel=1e-4)
    inside = curves.weight[labels[-1]]
    outside = follow(trace, EYE, region=OTHER, outside=True).weight[labels[-1]]
    assert np.allclose(inside + outside, 1) and inside.max() > 0.1
    assert follow(trace, EYE).weight is None


def test_curves_follow_columns_worked_by_hand():
    trace = by_hand(torch.log(torch.tensor([[1.0, 1, 1, 1], [1, 2, 3, 4], [6, 1, 1, 2], [1, 1, 1, 7]])))
    curves = follow(trace, Pixel((0, 0)), mode="column", layer="a", region=Box((0.5, 0), (1, 1)))  # tokens 2 and 3
    column = np.array([0.25, 0.1, 0.6, 0.1])  # who looks at token 0
    assert curves.entropy is None and curves.received["head 0"] == pytest.approx([column.sum()])
    assert curves.weight["head 0"] == pytest.approx([0.7 / 1.05])
    side = np.array(trace.size) / 2
    away = np.array([0, side[1], side[0], np.hypot(*side)])
    assert curves.distance["mean"] == pytest.approx([column @ away / 1.05])
    assert follow(trace, Pixel((0, 0))).received is None


def test_a_line_a_head(trace):
    curves = follow(trace, EYE, layer=NAME)
    assert list(curves.entropy) == ["mean", "head 0", "head 1", "head 2", "head 3"]
    one = follow(trace, EYE, head=2)
    assert np.allclose(one.entropy[layer_label(NAME)], curves.entropy["head 2"])


def test_figures():
    figure = over_steps(
        {"up 1 · a": [1, 2], "up 1 · b": [3, 4], "mid": [5, 6]}, [0, 3], [999.0, None], title="T", unit="u"
    )
    first, second, third = figure.data
    assert first.line.color == second.line.color != third.line.color and first.line.dash != second.line.dash
    assert list(first.x) == [0, 3] and list(first.y) == [1, 2]
    assert figure.layout.xaxis.ticktext == ("999", "3")
    shown = heatmap(np.arange(6).reshape(2, 3), title="map")
    assert shown.data[0].z[1][2] == 5 and shown.layout.yaxis.autorange == "reversed"
    assert heatmap(np.eye(2) - 0.5, title="", diverging=True).data[0].zmid == 0


def test_text_in_figures_is_text():
    hostile = '<b>x</b> <a href="javascript:alert(1)">y</a> ${1+1}'
    figure = over_steps({hostile: [1]}, [0], [None], title=hostile * 1000, unit=hostile)
    for text in (figure.data[0].name, figure.layout.title.text, figure.layout.yaxis.title.text):
        assert "<" not in text and "&lt;b&gt;" in text and len(text) < 200
    assert figure.data[0].meta == hostile  # what the CSV names


def test_what_the_page_is_sent(trace):
    view = View((0.5, 0.5), NAME, 16, -1, pins=(EYE, OTHER), active=0)
    value = plotted(trace, view, region=1)
    assert [figure["key"] for figure in value["figures"]] == ["entropy", "distance", "weight", "map"]
    assert len(json.dumps(value)) < 200_000 and "pin 1 looks at" in value["note"]
    assert [figure["key"] for figure in plotted(trace, view, region=0)["figures"]] == ["entropy", "distance", "map"]
    z = np.array(value["figures"][-1]["figure"]["data"][0]["z"])
    assert np.allclose(z, shown_map(trace, view), atol=1e-4)
    column = plotted(trace, View(**{**vars(view), "mode": "column"}), region=1)
    assert [figure["key"] for figure in column["figures"]] == ["received", "distance", "weight", "map"]
    assert "Who looks at pin 1" in column["note"] and "A column is no distribution" in column["note"]
    special = plotted(trace, View(**{**vars(view), "special": True}))["note"]
    assert "only the map is less the mean row" in special and special.startswith(value["note"])
    for region in (None, 7, "1", -5):
        assert len(plotted(trace, view, region=region)["figures"]) == 3
    with pytest.raises(ViewError, match="does not hold"):
        plotted(trace, View((0.5, 0.5), "no such layer", 16))
