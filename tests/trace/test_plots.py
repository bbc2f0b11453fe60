"""Plotly figures."""

import json

import numpy as np

from viz.plots import heatmap, over_steps


def test_over_steps_styles_lines_and_labels_steps_by_timestep():
    figure = over_steps(
        {"up 1 · a": [1, 2], "up 1 · b": [3, 4], "mid": [5, 6]}, [0, 3], [999.0, None], title="T", unit="u"
    )
    first, second, third = figure.data
    assert first.line.color == second.line.color != third.line.color and first.line.dash != second.line.dash
    assert list(first.x) == [0, 3] and list(first.y) == [1, 2]
    assert figure.layout.xaxis.ticktext == ("999", "3")


def test_over_steps_breaks_a_line_at_a_gap():
    line = json.loads(over_steps({"a": [1, np.nan, 3]}, [0, 1, 2], [None] * 3, title="", unit="").to_json())["data"][0]
    assert line["y"] == [1, None, 3] and not line.get("connectgaps")


def test_heatmap_has_row_0_on_top_and_0_in_the_middle_if_diverging():
    figure = heatmap(np.arange(6).reshape(2, 3), title="map")
    assert figure.data[0].z[1][2] == 5 and figure.layout.yaxis.autorange == "reversed"
    assert heatmap(np.eye(2) - 0.5, title="", diverging=True).data[0].zmid == 0


def test_over_steps_escapes_and_shortens_text():
    hostile = '<b>x</b> <a href="javascript:alert(1)">y</a> ${1+1}'
    figure = over_steps({hostile: [1]}, [0], [None], title=hostile * 1000, unit=hostile)
    for text in (figure.data[0].name, figure.layout.title.text, figure.layout.yaxis.title.text):
        assert "<" not in text and "&lt;b&gt;" in text and len(text) < 200
    assert figure.data[0].meta == hostile  # for the CSV


def test_over_steps_names_lines_at_their_ends_and_names_do_not_touch():
    lines = {"a": [1, 5.0], "b": [2, 5.01], "c": [3, 0.5], "d": [4, np.nan], "e": [9, 5.02]}
    figure = over_steps(lines, [0, 3], [999.0, None], title="T", unit="u", subtitle="Pin 1", about={"pin": "pin 1"})
    names = {name.text: name for name in figure.layout.annotations}
    assert set(names) == set(lines) and not figure.layout.showlegend
    assert {text: (name.x, name.y) for text, name in names.items()} == {
        "a": (3, 5.0), "b": (3, 5.01), "c": (3, 0.5), "d": (0, 4), "e": (3, 5.02),
    }  # fmt: skip
    places = sorted((name.ay, text) for text, name in names.items())
    assert [text for _, text in places] == ["c", "d", "a", "b", "e"]
    low, high = figure.layout.yaxis.range
    assert (np.diff([place for place, _ in places]) > 0.04 * (high - low)).all() and low <= places[0][0] and high >= 9
    assert {line.meta: line.line.color for line in figure.data} == {t: name.arrowcolor for t, name in names.items()}
    assert figure.layout.title.subtitle.text == "Pin 1"
    assert figure.layout.meta == {"timesteps": [999.0, None], "about": {"pin": "pin 1"}}


def test_over_steps_names_stay_inside_axis_where_many_lines_end_high():
    figure = over_steps({f"l{i}": [0.1, 1 - i / 1000] for i in range(12)}, [0, 1], [None] * 2, title="", unit="")
    places = sorted(name.ay for name in figure.layout.annotations)
    assert places[-1] <= figure.layout.yaxis.range[1] and places[0] >= 0 and (np.diff(places) > 0.04).all()
