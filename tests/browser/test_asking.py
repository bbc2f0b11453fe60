"""Queries in the viewer: pixels, rectangles, regions and pins; rows, columns and differences to the mean row."""

import base64

import numpy as np
import pytest
import torch

from tests.support.chromium import VIEWER, look, pixels_of, settle, state, view
from tests.support.gallery import without_words
from viz import Trace
from viz.page.gallery import exhibits, first_trace

CHOSEN_MAP = f"{VIEWER}.trace.all[{VIEWER}.state.layer], {VIEWER}.state.step, {VIEWER}.state.head"
PIXEL = {"kind": "pixel", "point": [0.4, 0.7]}
BOX = {"kind": "box", "from": [0.4, 0.55], "to": [0.625, 0.721875]}


@pytest.fixture(scope="module")
def trace():
    return without_words(first_trace())


def painted_mask() -> np.ndarray:
    """A region on the picture's 64x64 pixels: a slanted bar and a distant speck."""
    mask = np.zeros((64, 64), bool)
    for row in range(20, 41):
        mask[row, row - 10 : row - 4] = True
    mask[60, 63] = True
    return mask


def as_query(mask: np.ndarray) -> dict:
    text = base64.urlsafe_b64encode(np.packbits(mask.flatten()).tobytes()).decode().rstrip("=")
    return {"kind": "region", "grid": list(mask.shape), "mask": text}


QUERIES = {"pixel": PIXEL, "box": BOX, "region": as_query(painted_mask())}


def shares(query: dict, grid: tuple[int, int]) -> torch.Tensor:
    """(h, w): how much of each cell a query covers, by another method than the viewer's: 640x640 samples."""
    at = (np.arange(640) + 0.5) / 640
    if query["kind"] == "pixel":
        fine = np.zeros((640, 640))
        fine[int(query["point"][0] * grid[0]) * 640 // grid[0], int(query["point"][1] * grid[1]) * 640 // grid[1]] = 1
    elif query["kind"] == "box":
        inside = [(at >= query["from"][axis]) & (at < query["to"][axis]) for axis in (0, 1)]
        fine = np.outer(*inside)
    else:
        fine = np.kron(painted_mask(), np.ones((10, 10)))
    h, w = grid
    return torch.tensor(fine.reshape(h, 640 // h, w, 640 // w).mean((1, 3)))


def expected(trace: Trace, name: str, step: int, query: dict, mode: str, special: bool) -> torch.Tensor:
    """(H, h, w), in times uniform."""
    layer = trace.layers[name]
    region_maps = trace.region_columns if mode == "column" else trace.region_rows
    maps = region_maps(name, step=step, weights=shares(query, layer.grid))
    if special and mode == "row":
        maps = maps - trace.mean_row(name, step=step)
    return maps * layer.tokens


@pytest.mark.parametrize("kind", QUERIES)
@pytest.mark.parametrize(("mode", "special"), [("row", False), ("row", True), ("column", False)])
def test_viewer_maps_equal_python_for_every_query(page, trace, kind, mode, special):
    query = QUERIES[kind]
    view(page, pins=[query], active=0, mode=mode, special=special)
    settle(page)
    steps = [0, len(trace.steps) - 1]
    script = f"""([layers, steps, heads]) => {VIEWER}.trace.layers.map((layer) =>
        steps.map((step) => heads.map((head) => Array.from({VIEWER}.mapOf(layer, step, head)))))"""
    viewer_maps = page.evaluate(script, [list(trace.layers), steps, [-1, 0, 3]])
    for name, of_layer in zip(trace.layers, viewer_maps, strict=True):
        for step, (mean, first, last) in zip(steps, of_layer, strict=True):
            maps = expected(trace, name, trace.steps[step], query, mode, special).flatten(1)
            reference = torch.stack([maps.mean(0), maps[0], maps[3]])
            difference = (torch.tensor([mean, first, last]) - reference).abs().max()
            assert difference <= 1e-3 * max(1, reference.abs().max()), name
    on_screen = page.evaluate(f"[Array.from({VIEWER}.map), Array.from({VIEWER}.mapOf({CHOSEN_MAP}))]")
    assert on_screen[0] == on_screen[1]


def test_hovered_pixel_map_equals_python(page, trace):
    """For a hovered pixel only one head's map is computed, and it is not cached; for a pin all are."""
    for mode, special in (("row", True), ("column", False)):
        view(page, pins=[], point=PIXEL["point"], mode=mode, special=special, head=1)
        settle(page)
        name = trace.layers[exhibits()[0].layer].name
        reference = expected(trace, name, exhibits()[0].step, PIXEL, mode, special)[1].flatten()
        viewer_map = torch.tensor(page.evaluate(f"Array.from({VIEWER}.map)"))
        assert (viewer_map - reference).abs().max() <= 1e-3 * max(1, reference.abs().max())


def test_viewer_computes_maps_with_and_without_worker(chromium, url):

    def forbid_workers(route):
        response = route.fetch()
        route.fulfill(response=response, headers=response.headers | {"content-security-policy": "worker-src 'none'"})

    for script, forbidden, allowed in (("", False, True), ("delete window.Worker", False, False), ("", True, False)):
        page = chromium.new_page()
        page.add_init_script(script)
        if forbidden:
            page.route(f"{url}/", forbid_workers)
        page.goto(url)
        page.wait_for_selector("#viewer .pg-main:not([hidden])")
        view(page, mode="column", pins=[BOX], active=0)
        settle(page)
        assert len(page.workers) == (page.evaluate("Math.min(4, navigator.hardwareConcurrency)") if allowed else 0)
        assert page.evaluate(f"{VIEWER}.map.length") == 1024
        page.close()


def click(page, row: float, column: float) -> None:
    look(page, row, column)
    page.mouse.down()
    page.mouse.up()


def test_pins_up_to_four_have_rows_and_can_be_removed(page):
    for i, place in enumerate([(0.3, 0.3), (0.3, 0.6), (0.6, 0.3), (0.9, 0.9)]):
        click(page, *place)
        assert (len(state(page)["pins"]), state(page)["active"]) == (i + 1, i)
    click(page, 0.1, 0.5)  # a fifth replaces the latest
    pins = state(page)["pins"]
    assert len(pins) == 4 and pins[3]["point"] == pytest.approx([0.1, 0.5], abs=0.01)
    settle(page)
    rows = np.split(pixels_of(page, ".pg-pin-maps canvas"), 4)
    assert all((a != b).mean() > 0.1 for i, a in enumerate(rows) for b in rows[:i])
    dots = page.locator(".pg-pin-labels .pg-dot").evaluate_all("(dots) => dots.map((dot) => dot.style.background)")
    assert len(set(dots)) == 4
    click(page, 0.3, 0.3)  # a click on a pin shows it,
    assert state(page)["active"] == 0 and len(state(page)["pins"]) == 4
    click(page, 0.3, 0.3)  # and another removes it
    assert state(page)["active"] == -1 and len(state(page)["pins"]) == 3
    maps = page.locator(".pg-pin-maps canvas")
    maps.click(position={"x": 5, "y": 0.5 * maps.bounding_box()["height"]})
    assert (state(page)["active"], state(page)["step"]) == (1, 0)
    page.get_by_role("button", name="Remove pin 1").click()
    assert state(page)["active"] == 0 and len(state(page)["pins"]) == 2
    page.keyboard.press("Escape")
    assert state(page)["active"] == -1 and len(state(page)["pins"]) == 2
    page.keyboard.press("Escape")
    assert state(page)["pins"] == [] and page.locator(".pg-pins").is_hidden()


def test_pins_stay_on_picture_while_another_pixel_is_shown(page):
    view(page, pins=[PIXEL, BOX], active=-1, point=[0.1, 0.1])
    settle(page)
    with_pins = pixels_of(page, ".pg-picture")
    view(page, pins=[], point=[0.1, 0.1])
    settle(page)
    changed = (with_pins != pixels_of(page, ".pg-picture")).any(-1)
    height, width = changed.shape
    down, across = (int(p * side) for p, side in zip(PIXEL["point"], changed.shape, strict=True))
    assert changed[down - height // 20 : down + height // 20, across - width // 20 : across + width // 20].any()
    assert changed[int(0.4 * height) - 4 : int(0.4 * height) + 5, int(0.6 * width)].any()  # an edge of the rectangle
    assert not changed[: int(0.3 * height)].any()


def drag(page, *places, shift: bool = False) -> None:
    look(page, *places[0])
    page.mouse.down()
    if shift:
        page.keyboard.down("Shift")
    for place in places[1:]:
        look(page, *place)
    page.mouse.up()
    page.keyboard.up("Shift")


def test_rectangle_tool_pins_dragged_rectangle(page):
    page.get_by_role("button", name="Rectangle").click()
    drag(page, (0.6, 0.7), (0.5, 0.6), (0.4, 0.55))  # from the lower right to the upper left
    (box,) = state(page)["pins"]
    assert box["kind"] == "box"
    assert box["from"] == pytest.approx([0.4, 0.55], abs=0.01) and box["to"] == pytest.approx([0.6, 0.7], abs=0.01)
    settle(page)
    sentence = page.evaluate("document.querySelector('#viewer .pg-sentence').textContent")
    assert "On average, the 48 cells in the rectangle on the 32×32 map" in sentence  # 8 rows by 6 columns
    click(page, 0.1, 0.1)  # with every tool a click pins a pixel
    assert [pin["kind"] for pin in state(page)["pins"]] == ["box", "pixel"]


def test_brush_paints_region_and_shift_adds_to_it(page):
    page.get_by_role("button", name="Brush").click()
    drag(page, (0.2, 0.2), (0.2, 0.5))
    (pin,) = state(page)["pins"]
    covered = mask_of(pin)
    rows, columns = np.nonzero(covered)
    assert pin["grid"] == [64, 64]
    assert (rows.min(), rows.max()) == pytest.approx((12.8 - 3.2, 12.8 + 2.2), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((12.8 - 3.2, 32 + 2.2), abs=1)
    assert covered[12, 13:33].all()  # no gaps, however fast the mouse moved
    drag(page, (0.8, 0.8), (0.82, 0.82), shift=True)
    (pin,) = state(page)["pins"]
    assert (mask_of(pin)[covered]).all() and mask_of(pin)[52, 52]
    settle(page)
    assert "cells in the region on the" in page.locator(".pg-sentence").inner_text()
    drag(page, (0.5, 0.2), (0.5, 0.3))
    assert len(state(page)["pins"]) == 2


def mask_of(query: dict) -> np.ndarray:
    data = base64.urlsafe_b64decode(query["mask"] + "=" * (-len(query["mask"]) % 4))
    return np.unpackbits(np.frombuffer(data, np.uint8))[: np.prod(query["grid"])].reshape(query["grid"]).astype(bool)


def test_brush_paints_region_with_keyboard(page):
    page.get_by_role("button", name="Brush").click()
    view(page, pins=[], point=[0.5, 0.5])
    page.locator(".pg-picture").focus()
    page.keyboard.press("Enter")
    (pin,) = state(page)["pins"]
    assert pin["kind"] == "region" and mask_of(pin)[32, 32] and mask_of(pin).sum() > 20
