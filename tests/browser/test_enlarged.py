"""A map of the atlas, enlarged where the mouse rests: in one HTML file, without a server."""

import re

import numpy as np
import pytest

from tests.support.chromium import VIEWER, VIEWER_ROOT, look, pixels_of, view, wait_for_frame

READOUT = f"{VIEWER_ROOT} .pg-readout"
LARGE = f"{READOUT} canvas"
COLORS = f"""([row, column]) => {{
    const {{ viewer }} = document.querySelector('{VIEWER_ROOT}');
    const [layer, step] = [viewer.rows[row], viewer.columns[column]];
    const {{ height, width }} = viewer.gridOf(layer);
    return [height, width, ...viewer.colorsOf(viewer.mapOf(layer, step, viewer.state.head))];
}}"""

TEXT = r"down 1 · attention 0, step \d+, t = \d+, mean of 4 heads\nrow \d+, column \d+ · weight \S+ · \S+ uniform"
# Collects for how many ms the mouse had not moved whenever a map appears.
WATCH = f"""() => {{
    window.rests = [];
    let moved = 0;
    addEventListener("pointermove", () => (moved = performance.now()), {{ capture: true }});
    const large = document.querySelector('{LARGE}');
    const look = () => large.hidden || rests.push(performance.now() - moved);
    new MutationObserver(look).observe(large, {{ attributeFilter: ["hidden"] }});
}}"""


@pytest.fixture
def page(offline_page):
    offline_page.evaluate(WATCH)
    return offline_page


def point(page, row: int, column: int) -> None:
    """Move the mouse to a map of the atlas."""
    maps = page.locator(f"{VIEWER_ROOT} .pg-maps canvas")
    rows, columns = page.evaluate(f"[{VIEWER}.rows.length, {VIEWER}.columns.length]")
    box = maps.bounding_box()
    page.mouse.move(box["x"] + (column + 0.4) / columns * box["width"], box["y"] + (row + 0.4) / rows * box["height"])
    wait_for_frame(page)


def colors(page, row: int, column: int) -> np.ndarray:
    """(h, w, 3): what the viewer says a map's colours are."""
    height, width, *colors = page.evaluate(COLORS, [row, column])
    return np.array(colors, np.uint8).reshape(height, width, 4)[..., :3]


def test_map_is_enlarged_where_the_mouse_rests_and_then_wherever_it_goes(page):
    large = page.locator(LARGE)
    point(page, 0, 3)
    assert page.locator(READOUT).is_visible()
    large.wait_for(state="visible")
    assert np.array_equal(pixels_of(page, LARGE), colors(page, 0, 3)) and len(np.unique(colors(page, 0, 3))) > 20
    box = large.bounding_box()
    assert (box["width"], box["height"]) == (192, 192)
    assert re.fullmatch(TEXT, page.locator(READOUT).inner_text())
    for row, column in ((1, 3), (9, 8), (9, 0), (0, 0)):
        point(page, row, column)
        assert np.array_equal(pixels_of(page, LARGE), colors(page, row, column))
        box = page.locator(READOUT).bounding_box()
        screen = page.evaluate("[innerWidth, innerHeight]")
        assert box["x"] >= 0 and box["x"] + box["width"] <= screen[0]
        assert box["y"] >= 0 and box["y"] + box["height"] <= screen[1]
    look(page, 0.3, 0.3)
    assert page.locator(READOUT).is_visible() and not large.is_visible()
    point(page, 0, 3)
    large.wait_for(state="visible")
    rests = page.evaluate("rests")
    assert len(rests) == 2 and min(rests) > 390, rests  # it waits again


def test_it_does_not_appear_while_the_mouse_goes_from_map_to_map(page):
    for column in range(6):
        point(page, 2, column)
        page.wait_for_timeout(150)
    page.locator(LARGE).wait_for(state="visible")
    rests = page.evaluate("rests")
    assert min(rests) > 390, rests


def test_a_pin_s_map_is_enlarged_with_its_own_query(page):
    view(page, pins=[{"kind": "pixel", "point": [0.2, 0.2]}, {"kind": "pixel", "point": [0.5, 0.35]}], active=0)
    canvas = page.locator(f"{VIEWER_ROOT} .pg-pin-maps canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 0.75 * box["height"])
    page.locator(LARGE).wait_for(state="visible")
    shown = pixels_of(page, LARGE)
    view(page, active=1)
    row = page.evaluate(f"{VIEWER}.rows.indexOf({VIEWER}.layerOf({VIEWER}.state.pins[1]))")
    assert np.array_equal(shown, colors(page, row, 0))
