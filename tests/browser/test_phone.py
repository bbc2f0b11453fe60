"""The page on a phone, where fingers press, and on paper."""

import pytest

from tests.support.chromium import VIEWER, VIEWER_ROOT, open_page, settle, view

PINS = [{"kind": "pixel", "point": [0.3, 0.3]}, {"kind": "box", "from": [0.4, 0.55], "to": [0.6, 0.7]}]
# Everything on show that can be pressed, with its height or that of the label it belongs to. The blocks of the story's
# drawing of the network are left out: its list of layers chooses the same.
PRESSED = "a[href], button:not(.pl-block), canvas[tabindex], input, select, summary, textarea, [role=tab]"
TARGETS = """(pressed) => [...document.querySelectorAll(pressed)]
    .filter((node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
    .map((node) => {
        const boxes = [node, node.closest("label") ?? node].map((each) => each.getBoundingClientRect());
        const name = `${node.localName}.${node.className}: ${node.ariaLabel || node.textContent}`.slice(0, 90);
        return [name, boxes[0].width, Math.max(...boxes.map(({ height }) => height))];
    })
    .filter(([, width, height]) => width > 2 && height > 2)"""


def low_targets(page, *, least: int) -> list:
    """The targets below 40 px; there are at least so many in all."""
    targets = page.evaluate(TARGETS, PRESSED)
    assert len(targets) >= least
    return [target for target in targets if target[2] < 40]


@pytest.fixture
def phone(chromium, url):
    page = open_page(chromium, url, width=390, height=844, has_touch=True)
    yield page
    page.close()


def test_targets_on_a_phone_are_as_high_as_a_finger_needs(phone):
    view(phone, pins=PINS, active=1)
    phone.locator(".pg-plot-buttons button").first.wait_for()
    assert low_targets(phone, least=60) == []
    phone.get_by_role("button", name="Export").first.click()
    assert low_targets(phone, least=70) == []
    phone.keyboard.press("Escape")
    phone.get_by_role("button", name="Keys and touch").click()
    assert low_targets(phone, least=61) == []
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_targets_of_the_story_on_a_phone_are_as_high_as_a_finger_needs(phone):
    phone.get_by_role("tab", name="How it works").click()
    phone.wait_for_selector("#lesson .pl-main")
    for scene in range(9):
        phone.locator(".pl-dot").nth(scene).click()
        assert low_targets(phone, least=20) == [], scene


def test_hints_on_a_phone_name_no_keys_and_no_clicks(chromium, url):
    page = open_page(chromium, url, width=390, height=844, has_touch=True, is_mobile=True)
    hints = []
    for changes in ({}, {"tool": "brush"}, {"tool": "point", "pins": PINS}, {"active": 0}):
        page.evaluate(f"(changes) => {VIEWER}.choose(changes)", changes)
        hints.append(page.locator(".pg-hint").inner_text())
    assert len(set(hints)) == 3 and "tap" in hints[0]
    assert not any(word in hint for hint in hints for word in ("lick", "key", "Esc", "Shift"))
    page.close()


@pytest.mark.parametrize("width", [1440, 390])
def test_paper_shows_picture_atlas_bar_and_sentence_on_white_without_controls(chromium, url, width):
    page = open_page(chromium, url, width=width, scheme="dark")
    view(page, pins=PINS, active=0)
    settle(page)
    # Printing lays the page out anew without running its scripts.
    page.context.new_cdp_session(page).send("Emulation.setScriptExecutionDisabled", {"value": True})
    page.set_viewport_size({"width": 720, "height": 1000})  # as wide as a sheet of A4 without its margins
    page.emulate_media(media="print", color_scheme="dark")
    for name in ("picture", "maps", "bar", "sentence", "words", "pins"):
        box = page.locator(f"{VIEWER_ROOT} .pg-{name}").first.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 720, name
    pressed = "#viewer button:not(.pg-label, .pg-word), #viewer :is(input, select), #draw, #dice, [role=tab], .pg-plots"
    assert not page.locator(pressed).evaluate_all(
        "(all) => all.filter((one) => one.checkVisibility()).map((one) => one.outerHTML)"
    )
    colours = page.evaluate(
        """() => [["color", ".pg-sentence"], ["backgroundColor", ".pg-right"], ["backgroundColor", "#pair"]].map(
            ([name, part]) => getComputedStyle(document.querySelector(part))[name]
        )"""
    )
    assert colours == ["rgb(22, 24, 29)", "rgb(255, 255, 255)", "rgb(255, 255, 255)"]
    page.close()
