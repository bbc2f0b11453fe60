"""The colour bar, the cells of the atlas, and the numbers beside them."""

import re

import numpy as np
import pytest

from tests.support.chromium import VIEWER, atlas_pixels, look, settle, state, view
from tests.support.gallery import without_words
from viz.colors import DIVERGING, SEQUENTIAL, palette
from viz.page.gallery import exhibits, first_trace


@pytest.fixture(scope="module")
def trace():
    return without_words(first_trace())


def row_of(trace, point, head=None) -> np.ndarray:
    """Weights in the first exhibit's layer and step: (H, h, w), or (h, w) of one head."""
    exhibit = exhibits()[0]
    query = trace.cell(exhibit.layer, (point[0] * 64, point[1] * 64))
    return trace.rows(exhibit.layer, step=exhibit.step, query=query, head=head).numpy()


def ticks(page) -> list[tuple[float, str]]:
    script = "(all) => all.map((tick) => [parseFloat(tick.style.left) / 100, tick.textContent])"
    return [tuple(tick) for tick in page.locator(".pg-bar-ticks span").evaluate_all(script)]


def number(text: str) -> float:
    text = text.replace("¼", "0.25").replace("½", "0.5").replace("−", "-").replace("×", "").lstrip("≥≤ ")
    return float(text)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("span", ["common", "own"])
def test_colour_bar_ticks_match_colours(page, special, log, span):
    """A number gets the colour above its tick."""
    view(page, special=special, log=log, range=span, head=2)
    marks = ticks(page)
    colors = palette(DIVERGING if special else SEQUENTIAL)
    largest = page.evaluate(f"Math.max(...{VIEWER}.map.map(Math.abs))")
    numbers = [number(text) for _, text in marks]
    if span == "own":
        numbers = [min(largest, max(-largest, n)) for n in numbers] + [largest]  # the chosen map's largest
        marks = [*marks, (1.0, "")]
    colored = page.evaluate(f"(numbers) => Array.from({VIEWER}.colorsOf(Float32Array.from(numbers)))", numbers)
    for (at, text), color in zip(marks, np.reshape(colored, (-1, 4)), strict=True):
        near = colors[max(0, round(at * 255) - 4) : round(at * 255) + 5]
        assert np.abs(near - color[:3]).max(1).min() <= 6, text
    note = page.locator(".pg-scale-note").inner_text()
    assert ("Log scale" if log else "Linear scale") in note and marks[0][1] in note
    assert ("shared by all maps" in note) == (span == "common")
    assert ("minus that of the average cell" in note) == special
    if span == "own":
        assert number(ticks(page)[-1][1]) == pytest.approx(largest, rel=0.05)


def test_own_range_scales_each_map_separately(page):
    """With its own range, every map reaches the brightest colour; with the common range, only some do."""
    brightest = palette(SEQUENTIAL)[255]
    steps = len(exhibits()[0].steps)
    for span in ("own", "common"):
        view(page, range=span, log=False, head=-1)
        pixels = atlas_pixels(page)
        cells = [cell for row in np.array_split(pixels, 10) for cell in np.array_split(row, steps, axis=1)]
        full = np.mean([(np.abs(cell.astype(int) - brightest).max(-1) <= 2).any() for cell in cells])
        assert full == 1 if span == "own" else full < 0.6, (span, full)


def test_atlas_cells_are_interpolated_only_with_smooth(page):
    assert not state(page)["smooth"]
    view(page, head=2)
    height = atlas_pixels(page).shape[0] // 10
    eight = atlas_pixels(page)[3 * height : 3 * height + height - 2, : height - 2]  # the layer "middle" of 8x8 cells
    assert len(np.unique(eight.reshape(-1, 3), axis=0)) <= 64
    page.get_by_role("button", name="smooth").click()
    settle(page)
    eight = atlas_pixels(page)[3 * height : 3 * height + height - 2, : height - 2]
    assert len(np.unique(eight.reshape(-1, 3), axis=0)) > 200
    assert "interpolated for display only" in page.locator(".pg-scale-note").inner_text()
    rendering = page.locator(".pg-maps canvas").evaluate("(canvas) => getComputedStyle(canvas).imageRendering")
    assert rendering == "auto"


def readout(page) -> dict:
    text = page.locator(".pg-readout").inner_text()
    match = re.search(r"row (\d+), column (\d+) · weight ([\d.e+−-]+) · (\S+) uniform", text)
    assert match, text
    row, column, weight, times = match.groups()
    return {"cell": (int(row), int(column)), "weight": number(weight), "times": number(times), "text": text}


def test_readout_shows_cell_under_mouse(page, trace):
    exhibit = exhibits()[0]
    point = exhibit.point
    view(page, pins=[{"kind": "pixel", "point": list(point)}], active=0, head=2)
    weights = row_of(trace, point, 2)
    look(page, 0.5, 0.45)
    reading = readout(page)
    assert reading["cell"] == (16, 14)
    assert reading["weight"] == pytest.approx(weights[16, 14], rel=5e-3)
    assert reading["times"] == pytest.approx(weights[16, 14] * 1024, rel=0.05)

    maps = page.locator(".pg-maps canvas")
    box = maps.bounding_box()
    side = box["height"] / 10
    page.mouse.move(box["x"] + 2 * side + 0.3 * (side - 2), box["y"] + side + 0.6 * (side - 2))
    page.wait_for_function("document.querySelector('.pg-readout').textContent.includes('down 2')")
    reading = readout(page)
    name = list(trace.layers)[1]
    other = trace.rows(name, step=trace.steps[2], query=trace.cell(name, (point[0] * 64, point[1] * 64)), head=2)
    assert reading["cell"] == (9, 4) and f"step {trace.steps[2]}" in reading["text"]
    assert reading["weight"] == pytest.approx(other[9, 4].item(), rel=5e-3)

    head = page.locator(".pg-head canvas").nth(4).bounding_box()
    page.mouse.move(head["x"] + 0.51 * head["width"], head["y"] + 0.51 * head["height"])
    page.wait_for_function("document.querySelector('.pg-readout').textContent.includes('head 3')")
    reading = readout(page)
    assert reading["cell"] == (16, 16)
    assert reading["weight"] == pytest.approx(row_of(trace, point, 3)[16, 16], rel=5e-3)
    page.mouse.move(5, 5)
    page.locator(".pg-readout").wait_for(state="hidden")


def numbers(page) -> dict[str, str]:
    script = "(all) => all.map((item) => [item.firstChild.textContent, item.lastChild.textContent])"
    return dict(page.locator(".pg-numbers div").evaluate_all(script))


def test_row_numbers_equal_python(page, trace):
    """Entropy, effective keys, distance and peak, computed from Python's row."""
    view(page, point=[0.3, 0.3], head=1)
    row = row_of(trace, (0.3, 0.3), 1)
    middle = trace.cell(exhibits()[0].layer, (0.3 * 64, 0.3 * 64))
    down, across = np.indices(row.shape)
    entropy = float(-(row * np.log2(row)).sum())
    distance = (row * np.hypot(2 * (down - middle[0]), 2 * (across - middle[1]))).sum()  # a cell is 2 pixels
    peak = np.unravel_index(row.argmax(), row.shape)
    figures = numbers(page)
    assert number(figures["entropy"].split()[0]) == pytest.approx(entropy, abs=0.06)
    keys = number(figures["effective number of keys"].split()[0])
    assert keys == pytest.approx(2**entropy, abs=1 + 0.01 * 2**entropy)
    assert number(figures["mean distance"].split()[0]) == pytest.approx(distance, abs=0.06)
    assert number(figures["peak, times uniform"]) == pytest.approx(row.max() * 1024, rel=0.05)
    offset = [number(part) for part in figures["peak offset: Δrow, Δcolumn"].split(", ")]
    assert offset == [peak[0] - middle[0], peak[1] - middle[1]]


def test_column_numbers_have_no_entropy(page, trace):
    view(page, mode="column", point=[0.3, 0.3], head=1)
    exhibit = exhibits()[0]
    key = trace.cell(exhibit.layer, (0.3 * 64, 0.3 * 64))
    column = trace.columns(exhibit.layer, step=exhibit.step, key=key, head=1)
    figures = numbers(page)
    assert not any("entropy" in name or "keys" in name for name in figures)
    assert number(figures["received, × an average cell"]) == pytest.approx(column.sum().item(), rel=0.05)
    assert "Columns don't sum to one" in page.locator(".pg-scale-note").inner_text()
    assert "as much attention as an average cell" in page.locator(".pg-sentence").inner_text()
    assert "who looks at this pixel" in page.locator(".pg-right .pg-note").first.inner_text()
    assert page.get_by_role("button", name="Minus average").is_disabled()


def test_difference_numbers_have_signs(page, trace):
    view(page, special=True, point=list(exhibits()[0].point), head=2)
    note = page.locator(".pg-right > .pg-heading .pg-note")
    assert "where this pixel looks more, or less, than the average pixel" in note.inner_text()
    exhibit = exhibits()[0]
    row = row_of(trace, exhibit.point, 2) - trace.mean_row(exhibit.layer, step=exhibit.step, head=2).numpy()
    figures = numbers(page)
    assert number(figures["largest excess over the average"]) == pytest.approx(row.max() * 1024, rel=0.05)
    assert number(figures["largest deficit"]) == pytest.approx(row.min() * 1024, rel=0.05)
    share = number(figures["attention moved elsewhere"].removesuffix("%"))
    assert share == pytest.approx(50 * np.abs(row).sum(), abs=0.6)
    look(page, 0.5, 0.45)
    assert "looks more than others at" in page.locator(".pg-sentence").inner_text()
    view(page, pins=[{"kind": "pixel", "point": [0.5, 0.45]}], active=0)
    look(page, 0.02, 0.02)
    assert re.search(r"weight −0\.\d+ · −", page.locator(".pg-readout").inner_text())
