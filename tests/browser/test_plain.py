"""The plain picture, keys for it and for layers, and pins that come back: in one HTML file, without a server."""

import numpy as np
import pytest

from tests.support.chromium import VIEWER, VIEWER_ROOT, look, pixels_of, settle, state, wait_for_frame
from viz import Trace
from viz.page.gallery import first_trace

PICTURE = f"{VIEWER_ROOT} .pg-picture"
NOTICE = f"{VIEWER_ROOT} .pg-notice"


@pytest.fixture
def page(offline_page):
    return offline_page


def difference(page) -> float:
    """The share of the picture's pixels that do not have their true colours; some lie under the pixel's outline."""
    shown = pixels_of(page, PICTURE).astype(int)
    picture = Trace.load(first_trace()).picture
    assert picture is not None
    true = picture.astype(int)
    rows, columns = (np.arange(n) * m // n for n, m in zip(shown.shape[:2], true.shape[:2], strict=True))
    return (np.abs(shown - true[rows][:, columns]).max(-1) > 2).mean()


def test_slider_fades_the_map_to_the_plain_picture(page):
    look(page, 0.5, 0.4)
    assert difference(page) > 0.9
    slider = page.get_by_role("slider", name="Map opacity")
    whole = pixels_of(page, PICTURE).astype(float)
    slider.fill("50")
    settle(page)
    assert state(page)["opacity"] == 0.5
    true = Trace.load(first_trace()).picture
    half, rows = pixels_of(page, PICTURE), np.arange(len(whole)) * len(true) // len(whole)
    inside = np.s_[10:40, 10:40]  # without outlines
    between = np.sort(np.stack([whole[inside], true[rows][:, rows][inside]]), axis=0)
    assert (half[inside] >= between[0] - 2).all() and (half[inside] <= between[1] + 2).all()
    slider.fill("0")
    settle(page)
    assert difference(page) < 0.05 and page.evaluate(f"{VIEWER}.viewNow().opacity") == 0


def test_key_shows_the_plain_picture_while_it_is_held(page):
    look(page, 0.5, 0.4)
    page.locator(PICTURE).focus()
    before = pixels_of(page, PICTURE)
    page.keyboard.down("o")
    wait_for_frame(page)
    assert difference(page) < 0.05
    page.keyboard.up("o")
    wait_for_frame(page)
    assert np.array_equal(pixels_of(page, PICTURE), before) and state(page)["opacity"] == 1


def test_picture_is_plain_after_the_mouse_has_left_it_until_something_is_asked(page):
    look(page, 0.5, 0.4)
    box = page.locator(f"{VIEWER_ROOT} .pg-sentence").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.wait_for_timeout(600)
    assert difference(page) < 0.05
    page.locator(f"{VIEWER_ROOT} .pg-maps canvas").hover()
    wait_for_frame(page)
    assert difference(page) > 0.9
    look(page, 0.5, 0.4)
    page.mouse.down()
    page.mouse.up()  # a pin stays
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.wait_for_timeout(600)
    assert difference(page) > 0.9


def test_keys_choose_the_next_and_the_previous_layer(page):
    page.locator(PICTURE).focus()
    rows = page.evaluate(f"{VIEWER}.rows.map(({{ index }}) => index)")
    assert state(page)["layer"] == rows[-1]
    for key, row in (("l", 0), ("l", 1), ("Shift+L", 0), ("Shift+L", len(rows) - 1)):
        page.keyboard.press(key)
        assert state(page)["layer"] == rows[row]


def pin(page, *places) -> list:
    for place in places:
        look(page, *place)
        page.mouse.down()
        page.mouse.up()
    return state(page)["pins"]


def test_fifth_pin_says_what_it_replaced_and_can_be_undone(page):
    four = pin(page, (0.3, 0.3), (0.3, 0.6), (0.6, 0.3), (0.9, 0.9))
    assert len(four) == 4 and not page.locator(NOTICE).is_visible()
    assert len(pin(page, (0.1, 0.5))) == 4 and state(page)["pins"] != four
    assert page.locator(f"{NOTICE} [role=status]").inner_text() == "There can be at most 4 pins: pin 4 was replaced."
    page.locator(NOTICE).get_by_role("button", name="Undo").click()
    assert state(page)["pins"] == four and state(page)["active"] == 3 and not page.locator(NOTICE).is_visible()
    page.keyboard.press("Control+z")  # the focus is in the viewer
    assert state(page)["pins"] == four[:3]


def test_pins_that_escape_removed_come_back(page):
    three = pin(page, (0.3, 0.3), (0.3, 0.6), (0.6, 0.3))
    for _ in range(2):
        page.keyboard.press("Escape")
    assert state(page)["pins"] == []
    assert page.locator(f"{NOTICE} [role=status]").inner_text() == "All 3 pins were removed."
    page.keyboard.press("Control+z")
    assert state(page)["pins"] == three and not page.locator(NOTICE).is_visible()
    page.get_by_role("button", name="Remove pin 2").click()
    page.keyboard.press("Control+z")
    assert state(page)["pins"] == three
