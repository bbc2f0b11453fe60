"""The page without a mouse, read aloud, and on a small screen."""

import pytest

from tests.support.chromium import open_page, serious_violations, settle, state, view

PINS = [
    {"kind": "pixel", "point": [0.3, 0.3]},
    {"kind": "box", "from": [0.4, 0.55], "to": [0.6, 0.7]},
    {"kind": "region", "grid": [8, 8], "mask": "_wAAAAAAAAA"},
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_page_has_no_serious_axe_violations(chromium, url, scheme, width):
    page = open_page(chromium, url, width=width, scheme=scheme)
    captions = "[...document.querySelectorAll('button.gallery-item')]"  # may be filled in after the first map
    page.wait_for_function(f"() => {captions}.length && {captions}.every((item) => item.textContent.trim())")
    assert serious_violations(page) == []
    view(page, pins=PINS, active=1, mode="column")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_selector("#second .pg-main:not([hidden])", timeout=120_000)  # may be drawn first
    assert serious_violations(page) == []
    page.get_by_role("button", name="Keys and touch").click()
    assert serious_violations(page) == []
    page.close()


def test_viewer_controls_are_reached_with_tab_key(page):
    view(page, pins=PINS, active=1)
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(90):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "() => { document.activeElement.dataset.reached = 'yes'; return document.activeElement.className }"
            )
        )
    buttons = (
        "#viewer :is(button, input, canvas[tabindex], select):not([disabled]):not(dialog *, .pg-word[tabindex='-1'])"
    )
    missed = page.locator(buttons).evaluate_all(
        "(all) => all.filter((one) => !one.dataset.reached && one.checkVisibility()).map((one) => one.outerHTML)"
    )
    assert missed == [] and any("pg-picture" in name for name in reached)
    words = page.locator("#viewer .pg-word")
    page.locator("#viewer .pg-word[data-reached]").focus()  # of the toolbar of words, Tab reaches one
    texts = []
    for _ in range(words.count()):  # and the arrow keys reach all
        texts.append(page.evaluate("document.activeElement.textContent"))
        page.keyboard.press("ArrowRight")
    assert len(texts) > 10 and texts == words.all_text_contents()


def test_sentence_is_announced_on_keys_but_not_on_mouse_moves(page):
    sentence, picture = page.locator(".pg-sentence"), page.locator(".pg-picture")
    assert picture.get_attribute("aria-describedby") == sentence.get_attribute("id")
    box = picture.bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.mouse.move(box["x"] + 40, box["y"] + 30)
    assert sentence.get_attribute("aria-live") == "off"
    picture.focus()
    page.keyboard.press("ArrowDown")
    assert sentence.get_attribute("aria-live") == "polite"
    before = sentence.inner_text()
    page.keyboard.press("r")
    settle(page)
    assert "looked at" in sentence.inner_text() != before
    view(page, pins=PINS, active=2)
    assert "On average, the 128 cells in the region" in sentence.inner_text()
    assert state(page)["mode"] == "column"


@pytest.mark.parametrize("width", [1440, 768, 390])
def test_viewer_text_is_not_cut_off_and_page_does_not_overflow(chromium, url, width):
    page = open_page(chromium, url, width=width)
    for changes in (
        {"pins": PINS, "active": 1, "heads": True},
        {"mode": "column", "range": "own", "smooth": True},
        {"mode": "row", "special": True, "log": False, "heads": False},
    ):
        view(page, **changes)
        page.mouse.move(width - 3, 500)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        cut = page.locator("#viewer *:not(canvas)").evaluate_all(
            """(all) => {
                const scrolls = (one) => one && getComputedStyle(one).overflowX === "auto";
                const isCut = (one) => one.scrollWidth > one.clientWidth + 1
                    && getComputedStyle(one).display !== "inline"
                    && getComputedStyle(one).clipPath !== "inset(50%)" // read aloud only
                    && !(one.matches(".pg-words") && scrolls(one)) // the strip of words scrolls sideways on a phone
                    && !one.matches(".pg-right > .pg-heading .pg-note"); // has a title with its whole text
                const isOutside = (one) => one.getBoundingClientRect().right > innerWidth
                    && !scrolls(one.closest(".pg-words"));
                const isWrong = (one) => one.checkVisibility() && one.childNodes.length
                    && (isCut(one) || isOutside(one));
                return all.filter(isWrong).map((one) => one.outerHTML.slice(0, 200));
            }"""
        )
        assert cut == []
        note = page.locator("#viewer .pg-right > .pg-heading .pg-note").first
        assert note.get_attribute("title") == note.text_content() != ""
    shortened = [text for text in page.get_by_role("button").all_inner_texts() if text.endswith(("...", "…"))]
    assert shortened == []
    assert page.complaints == []
    page.close()
