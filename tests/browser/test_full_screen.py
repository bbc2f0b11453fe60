"""The viewer alone on the whole screen."""

import pytest

from tests.support.chromium import (
    VIEWER,
    VIEWER_ROOT,
    look,
    open_offline,
    open_page,
    settle,
    state,
    wait_for_frame,
    wait_until,
)

BUTTON = f"{VIEWER_ROOT} .pg-full"
FILLED = "document.fullscreenElement"
PICTURE = f"{VIEWER_ROOT} .pg-picture"
PARTS = ("facts", "picture", "player", "sentence", "atlas", "bar")


def places(page) -> dict[str, dict[str, float]]:
    """Where the parts of the viewer are on the screen: {part: {"x", "y", "width", "height"}}."""
    return {part: page.locator(f"{VIEWER_ROOT} .pg-{part}").first.bounding_box() for part in PARTS}


def wait_until_full(page, full: bool = True) -> None:
    wait_until(page, f"Boolean({FILLED}) === {str(full).lower()}")
    wait_for_frame(page)
    settle(page)


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720)])
def test_key_fills_the_screen_with_the_viewer_and_leaves_it(chromium, url, width, height):
    page = open_page(chromium, url, width=width, height=height)
    settle(page)
    look(page, 0.5, 0.4)
    page.mouse.down()
    page.mouse.up()
    before, shown = places(page), state(page)
    page.evaluate("scrollTo(0, 200)")
    page.keyboard.press("f")
    wait_until_full(page)
    assert page.evaluate(f"{FILLED}.contains(document.querySelector('{VIEWER_ROOT}'))")
    screen, full = page.evaluate("[innerWidth, innerHeight]"), places(page)
    for part, box in full.items():
        assert box["x"] >= 0 and box["x"] + box["width"] <= screen[0], part
        assert box["y"] >= 0 and box["y"] + box["height"] <= screen[1], part
    assert full["facts"]["y"] < 30  # nothing of the page is above
    assert full["picture"]["height"] > before["picture"]["height"]
    assert page.locator(BUTTON).get_attribute("aria-pressed") == "true"
    page.keyboard.press("f")
    wait_until_full(page, False)
    page.evaluate("scrollTo(0, 0)")
    wait_for_frame(page)
    assert places(page) == before and state(page) == shown
    assert page.complaints == []
    page.close()


@pytest.mark.parametrize("first", ["Compare", "Full screen"])
def test_button_fills_the_screen_with_both_recordings_of_a_comparison(chromium, url, first):
    page = open_page(chromium, url)
    for name in ("Compare", "Full screen") if first == "Compare" else ("Full screen", "Compare"):
        page.locator("#viewer").get_by_role("button", name=name).click()
    page.wait_for_selector("#second .pg-main:not([hidden])", timeout=120_000)
    wait_until_full(page)
    for shown in (VIEWER_ROOT, "#second .pixelgaze", ".pg-comparison"):
        assert page.evaluate(f"{FILLED}.contains(document.querySelector('{shown}'))")
    page.get_by_role("button", name="Close").click()
    page.wait_for_selector("#second .pg-main", state="hidden")
    colors = page.evaluate(f"[{FILLED}, document.body].map((node) => getComputedStyle(node).backgroundColor)")
    assert colors == ["rgb(246, 247, 249)"] * 2
    page.get_by_role("button", name="Full screen").click()
    wait_until_full(page, False)
    page.close()


def test_it_is_not_offered_in_a_frame_that_may_not(chromium, html_file, tmp_path):
    (tmp_path / "trace.html").symlink_to(html_file)
    (tmp_path / "frame.html").write_text(
        "<iframe src='trace.html' sandbox='allow-scripts' width=1000 height=800></iframe>"
    )
    page = open_offline(chromium, tmp_path / "frame.html", wait=False)
    frame = page.frame_locator("iframe")
    frame.locator(".pg-main:not([hidden])").wait_for()
    frame.locator(PICTURE).click()
    page.keyboard.press("f")
    assert not frame.locator(BUTTON).is_visible() and not page.evaluate(f"Boolean({FILLED})")
    assert page.complaints == []
    page.context.close()


def test_one_html_file_fills_the_screen(offline_page):
    page = offline_page
    button, icon = (page.locator(each).bounding_box() for each in (BUTTON, f"{BUTTON} svg"))
    assert icon["x"] + icon["width"] / 2 == pytest.approx(button["x"] + button["width"] / 2, abs=0.5)
    page.locator(BUTTON).click()
    wait_until_full(page)
    assert page.evaluate(f"{VIEWER}.columns.length") >= 9
