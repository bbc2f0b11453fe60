"""The page's language, names, font, sizes of type and colours, in Chromium."""

import json

import pytest

from tests.support.chromium import VIEWER, open_page
from viz.page.gallery import exhibits

SIZES = """() => {
  const sizes = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const { parentElement: parent } = node;
    if (!node.data.trim() || !parent.checkVisibility() || !parent.closest(".gradio-container")) continue;
    if (parent.matches("script, style, sup, sub")) continue;
    const { fontSize, fontFamily } = getComputedStyle(parent);
    (sizes[fontSize] ??= []).push(`${parent.className} ${node.data.slice(0, 30)}`);
    if (!/^"?Inter|monospace/.test(fontFamily)) (sizes[fontFamily] ??= []).push(parent.className);
  }
  return sizes;
}"""


def test_text_is_set_in_one_font_and_four_sizes(page):
    page.evaluate("document.fonts.ready")
    assert page.evaluate(
        "[...document.fonts].filter((face) => face.status === 'loaded').map((face) => face.family)"
    ) == ["Inter"]
    found = page.evaluate(SIZES)
    assert {"12px", "15px", "18px"} <= set(found) <= {"12px", "15px", "18px", "28px"}, found
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    found = page.evaluate(SIZES)
    assert set(found) <= {"12px", "15px", "18px", "28px"}, found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_query_key_value_selection_and_brand_have_a_colour_each(chromium, url, scheme):
    page = open_page(chromium, url, scheme=scheme)
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    read = """(selector) => ["query", "key", "value", "selection", "brand"].map((name) =>
        getComputedStyle(document.querySelector(selector)).getPropertyValue(`--pg-${name}`).trim())"""
    viewer, story = (page.evaluate(read, selector) for selector in ("#viewer .pixelgaze", "#lesson .pixelgaze"))
    assert viewer == story and len(set(viewer)) == 5 and all(viewer)
    page.close()


def test_page_is_english_whatever_the_browser_s_language(chromium, url):
    page = open_page(chromium, url, locale="de-DE")
    page.wait_for_selector("#shelf button.thumbnail-item")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("footer").count() == 0  # Gradio's, which would be German
    assert page.title().startswith("PixelGaze")
    page.close()


def test_thumbnails_are_named_by_their_captions(page):
    captions = [exhibit.caption for exhibit in exhibits()]
    for caption in captions:
        page.get_by_role("button", name=caption, exact=True).wait_for()
    assert page.locator("#shelf button.thumbnail-item").count() == len(captions)
    page.get_by_role("button", name=captions[1], exact=True).click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.caption === {json.dumps(captions[1])}", timeout=120_000)
    page.get_by_role("button", name=captions[1], exact=True).wait_for()
