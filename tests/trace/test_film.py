"""Animations over the steps, made in Python: the files are opened again."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.gallery import without_words
from tests.support.gifs import read_gif
from tests.support.traces import trace_of_segments
from viz import Trace
from viz.colors import palette
from viz.export import write_gif
from viz.figure_items import Text
from viz.film import sheets_of
from viz.page.gallery import exhibits, first_trace
from viz.view import Box, Pixel, View

EXHIBIT = exhibits()[0]
VIEW = View((0.3, 0.7), EXHIBIT.layer, EXHIBIT.step, EXHIBIT.head)


@pytest.fixture(scope="module")
def trace() -> Trace:
    return without_words(first_trace())


def texts_of(trace: Trace, view: View) -> list[list[str]]:
    """The texts of each frame, from the top down."""
    return [[item.text for item in sheet.items if isinstance(item, Text)] for sheet in sheets_of(trace, view)]


def test_file_holds_its_last_frame(trace, tmp_path):
    frames, durations = read_gif(write_gif(trace, tmp_path / "a.gif", VIEW))
    assert durations == [350] * (len(trace.steps) - 1) + [2000]
    assert frames[0].shape[1] == 384 and frames[0].shape[0] % 2 == 0


def test_file_carries_colour_bar_and_name(trace, tmp_path):
    """Cells side by side differ below the picture in the line that names them; the bar has the scale's colours."""
    views = [VIEW, replace(VIEW, point=(0.3, 0.7 + 1 / 32))]
    one, other = (read_gif(write_gif(trace, tmp_path / f"{i}.gif", view))[0] for i, view in enumerate(views))
    differ = np.abs(one[0][384:] - other[0][384:]).sum(-1) > 200
    rows = np.flatnonzero(differ.any(1))
    assert differ.sum() > 5 and rows.min() >= 20 and rows.max() <= 56
    bar = one[0][384 + 57 : 384 + 63, 10:374]
    wanted = palette().astype(int)[np.linspace(0, 255, bar.shape[1]).round().astype(int)]
    assert np.abs(bar - wanted).max(-1).mean() < 6


def test_file_outlines_query_and_pins(trace, tmp_path):
    """White around the pixel under the cursor; a pin in its colour, with its number."""
    alone = read_gif(write_gif(trace, tmp_path / "a.gif", replace(VIEW, opacity=0)))[0][-1]
    row, column = (int(place * 32) for place in VIEW.point)
    left, top = column * 12, row * 12
    assert (np.abs(alone[top, left : left + 12] - 255).max(-1) < 40).mean() > 0.8
    pinned = replace(VIEW, opacity=0, pins=(Pixel((0.3, 0.7)), Box((0.5, 0.25), (0.75, 0.5))), active=0)
    frame = read_gif(write_gif(trace, tmp_path / "b.gif", pinned))[0][-1]
    for color, (y, x) in (((0xE6, 0x9F, 0), (top, left + 5)), ((0x56, 0xB4, 0xE9), (192, 144))):
        assert np.abs(frame[y - 1 : y + 2, x] - color).max(-1).min() < 40


def test_texts_name_step_query_layer_head_and_scale(trace):
    step, first, second, *ticks, note = texts_of(trace, VIEW)[0]
    timestep = trace.timesteps[trace.steps[0]]
    assert step == f"step {trace.steps[0]}, t = {timestep:g}"
    _, block, _, attention, *_ = EXHIBIT.layer.split(".")
    heads = trace.layers[EXHIBIT.layer].heads
    where = f"up {block} · attention {attention} (32×32)"
    head = f"head {VIEW.head}" if VIEW.head >= 0 else f"mean of {heads} heads"
    assert f"{first} {second}" == f"row 9, column 22: what it looks at, {where}, {head}"
    assert ticks == ["¼×", "½×", "1×", "2×", "4×", "8×", "16×", "32×"]
    assert note == "Attention relative to uniform (1× = chance). Log scale."
    column = " ".join(texts_of(trace, replace(VIEW, mode="column", log=False, smooth=True))[0])
    assert "column 22: who looks at it, " in column and "Linear scale; interpolated for display only. " in column
    assert "they are not probabilities" in column


def test_gaps_say_why_there_is_no_map_and_have_no_bar():
    trace = trace_of_segments()
    trace.calls[trace.steps[0]] = (1, 2)
    first, gap, _ = texts_of(trace, View((0.5, 0.5), "plain", trace.steps[0]))
    assert first[0].endswith(", call 1 of 2") and "32×" in first
    assert gap[-1] == f"No map: {trace.gaps['plain'][trace.steps[1]]}." and "32×" not in gap


def test_long_texts_are_wrapped(trace):
    long = replace(VIEW, pins=(Box((0, 0), (1, 1)),), active=0, mode="column", range="own")
    for text in texts_of(trace, long)[0]:
        assert len(text) < 90
    sizes = {(sheet.width, sheet.height) for sheet in sheets_of(trace, long)}
    assert len(sizes) == 1
