"""The strip of words: bars, maps of words, pins, areas, branches; by mouse and by key, in Chromium."""

import re
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.support.chromium import VIEWER, VIEWER_ROOT, atlas_pixels, look, pixels_of, settle, state, view
from tests.support.word_pages import (
    LENGTH,
    STRIP,
    TEXT,
    WORDS,
    chip,
    conditional_of,
    cross,
    guided_trace,
    partner,
    show,
)
from viz import Trace


@pytest.fixture(scope="module")
def guided() -> Trace:
    return guided_trace()


@pytest.fixture(scope="module")
def trace(guided) -> Trace:
    return conditional_of(guided)


@pytest.fixture
def strip(page, trace):
    """The page, showing a trace with words."""
    show(page, trace)
    return page


def leave(page: Page) -> None:
    page.mouse.move(2, 2)
    settle(page)


def bars(page: Page) -> list[float]:
    """The heights of the bars, as shares."""
    full = float(page.locator(".pg-strip-note").inner_text().split("A full bar is ")[1].rstrip("%.")) / 100
    heights = page.locator(f"{STRIP} .pg-fill").evaluate_all(
        "(fills) => fills.map((fill) => Number(/scaleY\\(([\\d.e-]+)\\)/.exec(fill.style.transform)[1]))"
    )
    return [height * full for height in heights]


def test_strip_shows_the_words_and_padding_apart(strip):
    chips = strip.locator(f"{STRIP} .pg-word-text").all_inner_texts()
    assert chips == [*WORDS, f"padding ×{LENGTH - len(WORDS)}"]
    assert strip.locator(f"{STRIP} .pg-added .pg-word").count() == 1
    assert strip.locator(".pg-title").text_content() == TEXT
    assert strip.locator(".pg-title").bounding_box()["width"] <= 1  # the strip says it already
    badge = strip.locator(f"{VIEWER_ROOT} .pg-proof summary").inner_text()
    assert badge.startswith("✓ 20 layers verified")


@pytest.mark.parametrize("head", [-1, 2])
def test_bars_are_what_the_pixel_spends_on_each_word(strip, trace, head):
    view(strip, head=head, step=trace.steps[1])
    look(strip, 0.3, 0.52)
    settle(strip)
    layer = partner(strip)
    maps = cross(trace, layer, trace.steps[1])
    row = (maps.mean(0) if head < 0 else maps[head])[
        trace.cell(layer, (0.3 * 64, 0.52 * 64))[0] * trace.layers[layer].grid[1] :
    ]
    row = row[trace.cell(layer, (0.3 * 64, 0.52 * 64))[1]]
    found = bars(strip)[: len(WORDS)]
    assert np.abs(np.array(found) - row[: len(WORDS)]).max() < 2e-3
    shares = strip.locator(f"{STRIP} .pg-share").all_inner_texts()
    assert float(shares[-1].rstrip("%")) == pytest.approx(100 * row[len(WORDS) :].sum(), abs=0.6)
    best = int(row[: len(WORDS)].argmax())
    assert re.search(rf"It spends [\d.]+% on “{WORDS[best]}”", strip.locator(".pg-sentence").inner_text())


def test_bars_of_all_layers_of_a_grid(strip, trace):
    strip.get_by_role("button", name="all on this grid").click()
    look(strip, 0.3, 0.3)
    settle(strip)
    layer = partner(strip)
    grid = trace.layers[layer].grid
    names = [each.name for each in trace if each.kind == "cross" and each.grid == grid]
    assert (
        f"mean of {len(names)} layers on {grid[0]}×{grid[1]} cells, all heads"
        in strip.locator(".pg-strip-note").inner_text()
    )
    row, column = trace.cell(layer, (0.3 * 64, 0.3 * 64))
    step = trace.steps[state(strip)["step"]]
    expected = np.mean([cross(trace, name, step).mean(0)[row * grid[1] + column] for name in names], 0)
    assert np.abs(np.array(bars(strip))[: len(WORDS)] - expected[: len(WORDS)]).max() < 2e-3


def test_pointing_at_a_word_fills_picture_and_atlas_and_nothing_moves(strip, trace):
    leave(strip)
    boxes = ".pg-picture, .pg-maps canvas, .pg-label, .pg-word, .pg-head, .pg-where"
    places = f"""[...document.querySelectorAll('{boxes}')].map((node) => {{
        const {{ x, y, width, height }} = node.getBoundingClientRect();
        return [x, y, width, height];
    }})"""
    before, still = atlas_pixels(strip), strip.evaluate(places)
    chip(strip, "mouth").hover()
    settle(strip)
    assert np.abs(np.array(strip.evaluate(places)) - np.array(still)).max() < 0.5
    assert (atlas_pixels(strip) != before).mean() > 0.2
    layer, step = partner(strip), trace.steps[state(strip)["step"]]
    shares = cross(trace, layer, step).mean(0)[:, WORDS.index("mouth")]
    assert np.abs(np.array(strip.evaluate(f"Array.from({VIEWER}.map)")) - shares * LENGTH).max() < 1e-2
    for each in (layer for layer in trace if layer.kind == "cross"):
        at = f"{VIEWER}.trace.all.find((layer) => layer.name === {each.name!r})"
        values = strip.evaluate(f"Array.from({VIEWER}.mapOf({at}, 0, 1))")
        expected = cross(trace, each.name, trace.steps[0])[1][:, WORDS.index("mouth")] * LENGTH
        assert np.abs(np.array(values) - expected).max() < 1e-2, each.name
    sentence = strip.locator(".pg-sentence").inner_text()
    assert "The word “mouth” on the 32×32 map" in sentence and "lands on its part in 93 %" in sentence
    leave(strip)
    assert np.array_equal(atlas_pixels(strip), before)


def test_where_a_word_is_used_is_relative_to_its_mean(strip, trace):
    chip(strip, "mouth").click()
    strip.get_by_role("button", name="Where it is used").click()
    settle(strip)
    values = np.array(strip.evaluate(f"Array.from({VIEWER}.map)"))
    shares = cross(trace, partner(strip), trace.steps[-1]).mean(0)[:, WORDS.index("mouth")]
    assert np.abs(values - shares / shares.mean()).max() < 1e-2 * (shares / shares.mean()).max()
    assert "relative to its mean" in strip.locator(".pg-scale-note").inner_text()
    assert "its mean" in strip.locator(".pg-sentence").inner_text()


def test_click_pins_words_in_colours_of_their_own(strip):
    for word in ("mouth", "monster", "red"):
        chip(strip, word).click()
    assert [pin["text"] for pin in state(strip)["pins"]] == ["mouth", "monster", "red"]
    colors = [
        chip(strip, word).locator(".pg-fill").evaluate("(fill) => fill.style.background")
        for word in ("mouth", "monster", "red")
    ]
    assert len(set(colors)) == 3 and all(colors)
    assert strip.locator(f"{STRIP} .pg-word[aria-pressed=true]").count() == 3
    assert strip.locator(f"{VIEWER_ROOT} .pg-pin-labels .pg-label").all_inner_texts() == [
        "1\n“mouth”",
        "2\n“monster”",
        "3\n“red”",
    ]
    assert state(strip)["active"] == 2
    leave(strip)
    before = bars(strip)
    look(strip, 0.05, 0.05)  # the map stays, the bars follow
    assert state(strip)["active"] == 2 and bars(strip) != before
    chip(strip, "red").click()  # selected, so it goes
    assert [pin["text"] for pin in state(strip)["pins"]] == ["mouth", "monster"]
    chip(strip, "mouth").click()
    assert state(strip)["active"] == 0
    now = strip.evaluate(f"{VIEWER}.viewNow()")
    assert now["pins"][0] == {"kind": "word", "text": "mouth"} and now["layer"] == partner(strip)
    strip.keyboard.press("Escape")
    strip.keyboard.press("Escape")
    assert state(strip)["pins"] == []


def test_words_are_reached_and_pinned_by_key(strip):
    chip(strip, "a").focus()
    strip.keyboard.press("ArrowRight")
    settle(strip)
    assert state(strip)["word"] == {"kind": "word", "text": "red"}
    assert strip.locator(".pg-sentence").get_attribute("aria-live") == "polite"
    assert "The word “red”" in strip.locator(".pg-sentence").inner_text()
    point = state(strip)["point"]
    strip.keyboard.press("Enter")
    assert state(strip)["pins"] == [{"kind": "word", "text": "red"}] and state(strip)["point"] == point
    strip.keyboard.press("ArrowLeft")
    strip.keyboard.press("ArrowLeft")
    focused = strip.evaluate("document.activeElement.querySelector('.pg-word-text').textContent")
    assert focused == f"padding ×{LENGTH - len(WORDS)}"
    strip.keyboard.press("Tab")
    assert strip.evaluate("document.activeElement.className") != "pg-word" and state(strip)["word"] is None


def test_areas_show_the_word_that_wins_each_cell(strip, trace):
    view(
        strip,
        pins=[{"kind": "word", "text": "monster"}, {"kind": "word", "text": "mouth"}],
        active=-1,
        point=[0.01, 0.01],
        reading="used",
    )
    strip.get_by_role("button", name="Which word wins").click()
    leave(strip)
    shares = cross(trace, partner(strip), trace.steps[-1]).mean(0)
    shares = shares / shares.mean(0)  # by share alone, “monster” wins everywhere
    won = (shares[:, WORDS.index("mouth")] > shares[:, WORDS.index("monster")]).reshape(32, 32)
    painted = pixels_of(strip, ".pg-picture").astype(float)
    rows, columns = ((np.arange(32) + 0.5) * side / 32 for side in painted.shape[:2])
    cells = painted[rows.astype(int)][:, columns.astype(int)]
    colors = np.array([[230, 159, 0], [86, 180, 233]], float)  # of the first two pins
    under = trace.picture.reshape(32, 2, 32, 2, 3)[:, 1, :, 1].astype(float) * 0.65 + np.array([8, 6, 14]) * 0.35
    errors = [np.abs(cells - (under * (105 / 255) + color * (150 / 255))).max(-1) for color in colors]
    agrees = np.where(won, errors[1] < errors[0], errors[0] < errors[1])
    assert 20 < won.sum() < 1004 and agrees.mean() > 0.93  # the rest is under the names of the areas


def test_trace_without_words_has_no_strip(page, trace):
    assert page.locator(STRIP).is_visible()  # the gallery's
    show(page, trace)
    assert page.locator(STRIP).is_visible()
    names = [layer.name for layer in trace if layer.kind == "self"]
    show(page, trace.select(layers=names))
    assert page.locator(STRIP).is_hidden() and page.locator(".pg-title").bounding_box()["width"] > 100


def test_trace_without_caption_numbers_its_keys(page, trace):
    show(page, replace(trace, words={}))
    assert page.locator(f"{STRIP} .pg-word-text").all_inner_texts() == [str(i + 1) for i in range(LENGTH)]
    assert page.locator(".pg-title").bounding_box()["width"] > 100


def test_branches_and_their_difference(page, guided):
    show(page, guided)
    view(page, pins=[{"kind": "pixel", "point": [0.4, 0.6]}], active=0)
    layer, step = page.evaluate(f"{VIEWER}.viewNow().layer"), guided.steps[-1]
    row, column = guided.cell(layer, (0.4 * 64, 0.6 * 64))
    rows = {name: cross(guided, layer, step, name).mean(0)[row * 32 + column] * 1024 for name in guided.branches}
    wanted = {**rows, "difference": rows["conditional"] - rows["unconditional"]}
    for name, expected in wanted.items():
        page.get_by_role("button", name=name, exact=True).click()
        settle(page)
        values = np.array(page.evaluate(f"Array.from({VIEWER}.map)"))
        assert np.abs(values - expected).max() < 1e-2 * max(1, np.abs(expected).max()), name
    assert page.locator(".pg-gradient").get_attribute("data-kind") == "diverging"
    assert "more in the conditional branch than in the unconditional one" in page.locator(".pg-sentence").inner_text()
    chip(page, "mouth").hover()
    page.locator(".pg-sentence", has_text="the unconditional caption has no “mouth” in this layer").wait_for()
    page.get_by_role("button", name="unconditional", exact=True).click()
    settle(page)
    assert page.locator(f"{STRIP} .pg-word-text").all_inner_texts() == [f"padding ×{LENGTH}"]
