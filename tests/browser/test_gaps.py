"""Layers that have no map at some steps, and the badge: what was verified, and what is not shown and why."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tests.support.chromium import (
    VIEWER,
    VIEWER_ROOT,
    atlas_pixels,
    export_file,
    open_page,
    serious_violations,
    settle,
    state,
    view,
    wait_for_frame,
)
from tests.support.gallery import without_words
from tests.support.traces import add_gaps, trace_of_segments
from viz import Trace
from viz.page.gallery import exhibits, first_trace
from viz.page.viewer import pack

EXHIBIT = exhibits()[0]
ROOT = f"{VIEWER_ROOT} "
CACHED = "it did not run at this step: the block's result was taken from a cache"
REFUSED = "its output is not softmax(QKᵀ)·V of its q, k and v from step 3 on (relative difference 1.0e+00)"


def gallery_trace_with_gaps() -> Trace:
    trace = without_words(first_trace())
    names = list(trace.layers)
    add_gaps(trace, names[2], trace.steps[3:6], CACHED)
    add_gaps(trace, names[5], trace.steps[-1:], "its output could not be recomputed to 1e-5")
    trace.skipped = {f"{names[0]}.processor": REFUSED, "up_blocks.3.attentions.0": "a mask is added to its scores"}
    trace.proved_rows = dict.fromkeys(names, 64 * len(trace.steps))
    return trace


def show(page, trace: Trace) -> None:
    path = pack(trace)
    page.evaluate(
        f"(bytes) => {VIEWER}.open(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)).buffer)",
        base64.b64encode(path.read_bytes()).decode(),
    )
    path.unlink()
    settle(page)


@pytest.fixture(scope="module")
def trace() -> Trace:
    return gallery_trace_with_gaps()


def colors_of_map(page, row: int, column: int) -> set[tuple[int, int, int]]:
    """The colours of one map of the atlas as painted; what is transparent is black."""
    rows, columns = page.evaluate(f"[{VIEWER}.trace.layers.length, {VIEWER}.columns.length]")
    pixels = atlas_pixels(page)
    height, width = pixels.shape[0] / rows, pixels.shape[1] / columns
    down, across = (slice(round(i * n), round((i + 1) * n)) for i, n in ((row, height), (column, width)))
    return set(map(tuple, pixels[down, across].reshape(-1, 3).tolist()))


def test_atlas_leaves_gaps_empty_and_the_readout_says_why(page, trace):
    show(page, trace)
    columns = page.evaluate(f"{VIEWER}.columns")
    column = columns.index(4)
    assert colors_of_map(page, 2, column) == {(0, 0, 0), (138, 138, 138)} and len(colors_of_map(page, 3, column)) > 5
    box = page.locator(f"{ROOT}.pg-maps canvas").bounding_box()
    place = [(column + 0.4) / len(columns) * box["width"], 2.4 / len(trace.layers) * box["height"]]
    page.mouse.move(box["x"] + place[0], box["y"] + place[1])
    wait_for_frame(page)
    assert page.locator(f"{ROOT}.pg-readout").inner_text().endswith(f"no map: {CACHED}")
    label = page.locator(f"{ROOT}.pg-label").nth(2).get_attribute("title")
    steps = [str(step) for step in trace.steps[3:6]]
    spoken = page.locator(f"{ROOT}.pg-maps canvas").get_attribute("aria-label")
    assert f"down 3 · attention 0 has no map at steps {steps[0]}, {steps[1]} and {steps[2]}: {CACHED}." in spoken
    assert label.endswith(f"no map at steps {steps[0]}, {steps[1]} and {steps[2]}: {CACHED}")


def test_chosen_gap_says_why_instead_of_showing_a_map(page, trace):
    show(page, trace)
    name = list(trace.layers)[2]
    view(page, layer=name, step=trace.steps[5])
    sentence = page.locator(f"{ROOT}.pg-sentence")
    assert sentence.inner_text().endswith(f"has no map: {CACHED}.") and page.evaluate(f"{VIEWER}.map") is None
    assert page.locator(f"{ROOT}.pg-numbers dd").count() == 0
    heads = [canvas.bounding_box() for canvas in page.locator(f"{ROOT}.pg-head canvas").all()]
    assert all(box["height"] == pytest.approx(box["width"], rel=0.05) for box in heads)  # empty, in the usual size
    page.locator(f"{ROOT}.pg-picture").focus()
    for _ in range(3):
        page.keyboard.press("[")
    settle(page)
    assert state(page)["step"] == 2 and "looks" in sentence.inner_text()
    assert page.locator(f"{ROOT}.pg-numbers dd").count() == 5
    view(page, layer=name, step=trace.steps[5], mode="column", special=True, heads=True, smooth=True)
    view(page, pins=[{"kind": "box", "from": [0.2, 0.1], "to": [0.7, 0.8]}], active=0)
    assert "have no map" in sentence.inner_text()


def test_exports_of_a_trace_with_gaps(page, trace):
    show(page, trace)
    name = list(trace.layers)[2]
    pin = {"kind": "box", "from": [0.2, 0.1], "to": [0.7, 0.8]}
    view(page, layer=name, step=trace.steps[5], pins=[pin], active=-1, point=[0.4, 0.4])
    with np.load(io.BytesIO(export_file(page, "the maps of the atlas and the pins")[1])) as maps:
        assert np.isnan(maps["maps_02"]).all((1, 2)).tolist() == [3 <= i < 6 for i in range(len(trace.steps))]
        assert np.isnan(maps["pin_1"]).any((1, 2)).sum() == 3 and np.isfinite(maps["maps_03"]).all()
    svg = export_file(page, "with real text")[1]
    tree = ElementTree.fromstring(svg)
    titles = [node.text for node in tree.iter("{http://www.w3.org/2000/svg}title")]
    columns = page.evaluate(f"{VIEWER}.columns")
    hidden = sum(3 <= column < 6 for column in columns)
    assert titles.count(f"no map: {CACHED}") == 2 * hidden > 0  # in the atlas and in the pin's row
    assert export_file(page, "1 times the size")[1].startswith(b"\x89PNG")
    assert export_file(page, "the map over the picture, step by step")[1].startswith(b"GIF89a")


def test_badge_opens_a_list_of_what_is_not_shown(page, trace):
    show(page, trace)
    summary, more = (page.locator(f"{ROOT}.pg-proof {part}") for part in ("summary", ".pg-proof-more"))
    rows = 10 * 64 * len(trace.steps)
    expected = rf"✓ 10 of 12 layers verified, {rows:,} rows, to \de.\d; 2 left out, 2 with gaps"
    assert re.fullmatch(expected, summary.inner_text()) and not more.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    text = more.inner_text()
    assert f"{REFUSED}" in text and f"no map at step {trace.steps[-1]}: its output could not be" in text
    assert state(page)["pins"] == []  # Enter opened the list and pinned nothing
    assert serious_violations(page) == []
    page.keyboard.press("Escape")
    assert not more.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_badge_list_stays_inside_the_window(chromium, url, trace, width, scheme):
    page = open_page(chromium, url, width=width, scheme=scheme)
    show(page, trace)
    page.locator(f"{ROOT}.pg-proof summary").click()
    box = page.locator(f"{ROOT}.pg-proof-more").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert serious_violations(page) == []
    page.close()


def test_titles_and_numbers_name_the_keys(page):
    trace = trace_of_segments()
    show(page, trace)
    view(page, layer="joint", step=4, head=-1, point=[0.1, 0.1])
    assert (
        "looks at 2×2 cells of a coarser map, 2 words and 3 registers" in page.locator(f"{ROOT}.pg-where").inner_text()
    )
    assert page.locator(f"{ROOT}.pg-label .pg-grid").first.inner_text() == "3×4 → 2×2 + 5"
    share = 1 - trace.rows("joint", step=4, query=(0, 0)).mean(0).sum().item()
    numbers = page.locator(f"{ROOT}.pg-numbers").inner_text()
    assert "on 2 words and 3 registers" in numbers and f"{round(100 * share)}%" in numbers
    assert "picture 2 of 2" in page.locator(f"{ROOT}.pg-facts").inner_text()
    assert "call 2 of 2" in page.locator(f"{ROOT}.pg-step").inner_text()
    for mode, grid in (("row", (2, 2)), ("column", (3, 4))):
        view(page, mode=mode)
        assert page.evaluate(f"{VIEWER}.map.length") == grid[0] * grid[1]
