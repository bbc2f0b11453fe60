"""The viewer's keys, touch and views."""

import json

import numpy as np
import pytest

from tests.support.chromium import VIEWER, atlas_pixels, open_page, pixels_of, settle, state, view

BOX = {"kind": "box", "from": [0.4, 0.55], "to": [0.625, 0.72]}
REGION = {"kind": "region", "grid": [8, 8], "mask": "_wAAAAAAAAA"}  # the top eighth
QUERIES = [{"kind": "pixel", "point": [0.4, 0.7]}, BOX, REGION]


def test_viewer_keys_change_view(page):
    view(page, pins=[], point=[0.5, 0.5], layer="mid_block.attentions.0.transformer_blocks.0.attn1", head=-1)
    page.mouse.move(0, 0)
    page.locator(".pg-picture").focus()
    start = state(page)["step"]
    for key, field, value in [
        ("]", "step", start + 1),
        ("[", "step", start),
        ("h", "head", 0),
        ("r", "mode", "column"),
        ("r", "mode", "row"),
        ("ArrowDown", "point", [5.5 / 8, 4.5 / 8]),
        ("Enter", "active", 0),
        ("Escape", "active", -1),
    ]:
        page.keyboard.press(key)
        assert state(page)[field] == value, key
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+ArrowRight")
    (box,) = state(page)["pins"]
    assert box["from"] == [5 / 8, 4 / 8] and box["to"] == [6 / 8, 6 / 8]
    page.keyboard.press("ArrowUp")
    assert state(page)["pins"][0]["from"] == [4 / 8, 4 / 8]
    before = state(page)["step"]
    page.keyboard.press("Space")
    page.wait_for_function(f"{VIEWER}.state.step !== {before}")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Play the steps").wait_for()


def test_keys_are_left_to_the_page_unless_the_viewer_has_the_focus(page):
    """WCAG 2.1.4; a click anywhere in the viewer gives it the focus."""
    page.set_viewport_size({"width": 1280, "height": 500})
    page.evaluate("document.activeElement.blur()")
    before, scrolled = state(page), page.evaluate("scrollY")
    for key in ("h", "r", "l", "o", "]", "Escape", "ArrowDown", "Space"):
        page.keyboard.press(key)
    page.wait_for_function(f"scrollY > {scrolled + 100}")
    assert state(page) == before
    page.evaluate("scrollTo(0, 0)")
    page.locator("#viewer h2", has_text="Atlas").click()
    page.keyboard.press("h")
    assert state(page)["head"] == before["head"] + 1
    page.locator("#caption textarea").focus()
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("h")
    assert state(page)["head"] == before["head"] + 1


def test_viewer_keys_do_nothing_while_typing_in_field(page):
    before = state(page)
    page.locator("#caption textarea").click()
    page.keyboard.type("hr[] ")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    assert state(page) == before


def test_help_dialog_lists_keys_and_blocks_them(page):
    page.get_by_role("button", name="Keys and touch").click()
    dialog = page.get_by_role("dialog")
    assert "Is looked at by" in dialog.inner_text()
    before = state(page)
    page.keyboard.press("h")  # the viewer ignores it behind the dialog
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert state(page) == before


def test_viewer_tap_pins_and_drag_hovers(chromium, url):
    page = open_page(chromium, url, width=390, height=844, has_touch=True)
    page.locator(".pg-picture").scroll_into_view_if_needed()
    box = page.locator(".pg-picture").bounding_box()
    x, y = box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"]
    page.touchscreen.tap(x, y)
    assert state(page)["active"] == 0
    assert state(page)["pins"][0]["point"] == pytest.approx([0.25, 0.25], abs=0.01)
    touches = page.context.new_cdp_session(page)
    scrolled = page.evaluate("scrollY")
    for kind, at in (("touchStart", 0), ("touchMove", 40), ("touchMove", 80)):
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x + at, "y": y + at}]})
    touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    now = state(page)
    assert now["active"] == -1 and len(now["pins"]) == 1 and page.evaluate("scrollY") == scrolled
    assert now["point"] == pytest.approx([0.25 + 80 / box["height"], 0.25 + 80 / box["width"]], abs=0.02)
    actions = page.locator("#viewer *").evaluate_all("(nodes) => nodes.map((n) => getComputedStyle(n).touchAction)")
    assert actions.count("none") == 1  # everything but the picture scrolls the page
    page.close()


def test_enlarge_button_shows_all_heads_large(page):
    small = page.locator(".pg-head canvas").first.bounding_box()["width"]
    page.get_by_role("button", name="Enlarge").click()
    sizes = page.locator(".pg-head canvas").evaluate_all("(all) => all.map((one) => one.getBoundingClientRect())")
    assert len(sizes) == 5 and all(size["width"] > 2 * small and size["top"] == sizes[0]["top"] for size in sizes)


def test_view_restores_everything_on_another_page(page, chromium, url):
    changes = {"pins": QUERIES, "active": 2, "mode": "column", "range": "own", "log": False, "opacity": 0.4}
    view(page, **changes, step=9, head=1, layer="up_blocks.1.attentions.0.transformer_blocks.0.attn1", smooth=True)
    settle(page)
    document = json.loads(json.dumps(page.evaluate(f"{VIEWER}.viewNow()")))
    assert set(document) == {
        *("pins", "active", "point", "mode", "layer", "step", "head", "special", "range", "log", "smooth", "base"),
        *("reading", "branch", "winner", "bars", "opacity"),
        "heads",
    }
    other = open_page(chromium, url)
    view(other, **document)
    settle(other)
    assert other.evaluate(f"{VIEWER}.viewNow()") == document
    assert np.array_equal(atlas_pixels(other), atlas_pixels(page))
    assert np.array_equal(pixels_of(other, ".pg-pin-maps canvas"), pixels_of(page, ".pg-pin-maps canvas"))
    other.close()


@pytest.mark.parametrize(
    "pin",
    [
        None,
        {},
        {"kind": "pixel", "point": [0.5]},
        {"kind": "pixel", "point": [0.5, 1.5]},
        {"kind": "pixel", "point": ["<img src=x onerror=alert(1)>", 0]},
        {"kind": "box", "from": [0.5, 0.5], "to": [0.5, 0.6]},
        {"kind": "region", "grid": [8, 8], "mask": "AAAAAAAAAAA"},
        {"kind": "region", "grid": [8, 8], "mask": "!"},
        {"kind": "region", "grid": [10**9, 10**9], "mask": "_wAAAAAAAAA"},
    ],
)
def test_view_rejects_invalid_pin_and_changes_nothing(page, pin):
    before = state(page)
    message = page.evaluate(
        f"(pin) => {{ try {{ {VIEWER}.view({{pins: [pin]}}) }} catch (e) {{ return e.message }} }}", pin
    )
    assert message.startswith("This view contains a query that is neither a word nor a pixel")
    assert state(page) == before
