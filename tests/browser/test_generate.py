"""Drawing on the page in Chromium: Generate, its progress and Stop, what draws at once, and values that it refuses."""

import re

import numpy as np
import pytest

from tests.support.chromium import (
    VIEWER,
    VIEWER_ROOT,
    atlas_pixels,
    fill_field,
    look,
    open_more,
    open_page,
    state,
    wait_for_frame,
)
from viz.page.gallery import exhibits
from viz.page.tabs.explore import CAPTIONS


def picture(page) -> np.ndarray:
    """(h, w, 3): the picture of the trace on screen, from 0 to 255."""
    width, *numbers = page.evaluate(f"(({{width, data}}) => [width, ...data])({VIEWER}.trace.picture)")
    return np.array(numbers, float).reshape(-1, width, 4)[..., :3]


def test_generate_shows_progress_and_ends_in_new_picture(page):
    page.locator("#caption textarea").fill("a round green monster with two yelow eyes")
    page.locator("#seed input").fill("4")
    fill_field(page, "steps", "40")
    before = picture(page)
    page.locator("#generate").click()
    page.locator(".pg-live", has_text=re.compile("step [1-9]")).wait_for(timeout=60_000)
    atlas = atlas_pixels(page)
    look(page, 0.25, 0.25)  # the trace on screen still follows the mouse
    assert state(page)["point"] == pytest.approx([0.25, 0.25], abs=0.01)
    assert (atlas_pixels(page) != atlas).mean() > 0.2 and np.array_equal(picture(page), before)
    assert page.evaluate(f"{VIEWER}.trace.recipe.steps") == 25
    assert page.locator(".pg-live img").get_attribute("src").startswith("data:image/png;base64,")
    page.get_by_text("does not know the word 'yelow'").wait_for()
    page.wait_for_function(f"{VIEWER}.trace.recipe.steps === 40", timeout=120_000)
    assert page.evaluate(f"{VIEWER}.trace.steps.length") == 25  # spread over the 40 of the run
    badge = page.locator(f"{VIEWER_ROOT} .pg-proof summary")
    assert re.match(r"✓ 20 layers verified at .*, to \de.\d$", badge.inner_text())
    badge.click()
    more = page.locator(f"{VIEWER_ROOT} .pg-proof-more").inner_text()
    assert re.search(r"rounded numbers, from which the output comes out to \de.\d\.", more)
    badge.click()
    now = picture(page)
    assert np.abs(now - before).mean() > 10
    assert (now.argmax(axis=2) == 1).mean() > 0.1 and now.std(axis=(0, 1)).max() > 30, "not green, or flat"
    assert page.locator(".pg-title").inner_text() == "a round green monster with two yelow eyes"
    assert "critters · seed 4 · DDIM · 25 of 40 steps recorded · guidance 1.5" in page.locator(".pg-facts").inner_text()
    assert state(page)["point"] == pytest.approx([0.25, 0.25], abs=0.01)
    page.get_by_role("progressbar", name="Drawing").wait_for(state="hidden")


def test_random_seed_draws_at_once_and_can_be_stopped(page):
    fill_field(page, "steps", "60")
    before = page.locator("#seed input").input_value()
    page.locator("#dice").click()
    page.locator(".pg-live", has_text=re.compile("step [1-9]")).wait_for(timeout=60_000)
    assert page.locator("#seed input").input_value() != before
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("progressbar", name="Drawing").wait_for(state="hidden")
    assert page.evaluate(f"{VIEWER}.trace.recipe.seed") == exhibits()[0].seed
    fill_field(page, "steps", "2")
    page.locator("#dice").click()
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 2", timeout=60_000)
    seed = page.locator("#seed input").input_value()
    assert page.evaluate(f"{VIEWER}.trace.recipe.seed") == int(seed)


def test_caption_to_try_is_drawn_at_once(page):
    fill_field(page, "steps", "2")
    page.locator("#seed input").fill("31")
    page.get_by_role("button", name=CAPTIONS[1], exact=True).click()
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 2", timeout=60_000)
    assert page.locator("#caption textarea").input_value() == CAPTIONS[1]
    recipe = page.evaluate(f"{VIEWER}.trace.recipe")
    assert (recipe["caption"], recipe["seed"], recipe["steps"]) == (CAPTIONS[1], 31, 2)


def test_stop_button_cancels_waiting_run(chromium, url, page):
    """Another visitor's run goes on; the run that waits for it never starts."""
    other = open_page(chromium, url)
    fill_field(other, "steps", "100")  # long enough for the other page to be slow
    other.locator("#generate").click()
    other.get_by_text(re.compile(r"step \d+ of 100")).wait_for(timeout=60_000)
    page.locator("#seed input").fill("5")
    wait_for_frame(page)  # which takes the value
    page.locator("#generate").click()
    page.get_by_text("Waiting for the model").wait_for()
    page.get_by_role("button", name="Stop").click()
    other.wait_for_function(f"{VIEWER}.trace.recipe.steps === 100", timeout=300_000)
    page.get_by_role("progressbar", name="Drawing").wait_for(state="hidden")
    assert page.locator(".pg-title").inner_text() == exhibits()[0].caption
    assert page.evaluate(f"{VIEWER}.trace.recipe.seed") == exhibits()[0].seed
    assert other.complaints == []
    other.close()


def test_stop_button_ends_run(page):
    page.locator("#caption textarea").fill("a red monster")
    fill_field(page, "steps", "100")
    page.locator("#generate").click()
    page.get_by_text(re.compile(r"step \d+ of 100")).wait_for(timeout=60_000)
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("progressbar", name="Drawing").wait_for(state="hidden")
    assert page.locator(".pg-title").inner_text() == exhibits()[0].caption
    fill_field(page, "steps", "2")
    page.locator("#generate").click()
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 2", timeout=60_000)


BAD = [
    ("caption textarea", "", "the caption is empty"),
    ("caption textarea", "a" * 10_000, "10,000 characters"),
    ("caption textarea", "<script>alert(1)</script>", "knows none of these words"),
    ("caption textarea", "${x}", "knows none of these words"),
    ("seed input", "-1", "got -1"),
    ("seed input", "1e99", "got 1e+99"),
    ("seed input", "", "seed"),
    ("steps input", "0", "got 0"),
    ("steps input", "5000", "got 5000"),
    ("guidance input", "-3", "got -3"),
]


@pytest.mark.parametrize(("field", "value", "message"), BAD)
def test_generate_rejects_invalid_value_and_changes_nothing(page, field, value, message):
    before = atlas_pixels(page)
    open_more(page)
    page.locator(f"#{field}").fill(value)
    wait_for_frame(page)
    page.locator("#generate").click()
    said = page.locator(".toast-body", has_text=message)
    said.wait_for(timeout=30_000)
    said.locator(".toast-close").click()
    said.wait_for(state="detached")
    page.get_by_role("progressbar", name="Drawing").wait_for(state="hidden")
    assert page.locator(".pg-title").inner_text() == exhibits()[0].caption
    assert np.array_equal(atlas_pixels(page), before)
