"""Links and trace files that reopen a view on the page, in Chromium."""

import json
import re
import shutil

import pytest
from playwright.sync_api import Route

from tests.support.chromium import (
    VIEWER,
    VIEWER_ROOT,
    fill_field,
    open_more,
    open_page,
    open_trace_file,
    server,
    settle,
    wait_for_frame,
)
from tests.support.gallery import kept_trace
from viz import Trace, record
from viz.page.gallery import exhibits
from viz.page.links import decode, encode
from viz.recipe import Recipe
from viz.view import View

EXHIBIT = exhibits()[1]
PICTURE = f"Array.from({VIEWER}.trace.picture.data).join()"
VIEW_CHANGES = {
    "pins": [
        {"kind": "pixel", "point": [0.3, 0.7]},
        {"kind": "box", "from": [0.4, 0.3], "to": [0.625, 0.55]},
        {"kind": "region", "grid": [8, 8], "mask": "AAAYPDwYAAA"},
    ],
    "active": 2,
    "mode": "column",
    "special": True,
    "heads": True,
    "head": 1,
    "range": "own",
    "log": False,
    "smooth": True,
    "base": "preview",
}


def wait_for_opened(page) -> None:
    """Wait until a file is on screen, even one of the trace that the page opened with."""
    page.wait_for_function(f"document.querySelector('{VIEWER_ROOT}').opened === true")


def copy_link(page) -> str:
    """What the page copies, after the "?"."""
    page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text } }")
    page.get_by_role("button", name="Export").first.click()
    page.get_by_role("button", name="a link that redraws").click()
    page.locator(".pg-news", has_text="Link copied").wait_for()
    address, look = page.evaluate("window.copied").split("?", 1)
    assert address == page.url.split("?", 1)[0] and look.startswith("look=")
    return look


def wait_for_caption(page, caption: str) -> None:
    page.wait_for_function(f"{VIEWER}.trace.recipe.caption === {json.dumps(caption)}", timeout=120_000)


def test_link_draws_same_picture_after_restart(chromium):
    caption = "a square green monster with three yelow eyes & “horns”"
    with server() as (url, _):
        page = open_page(chromium, url)
        page.locator("#caption textarea").fill(caption)
        page.locator("#seed input").fill("12")
        fill_field(page, "steps", "4")
        page.locator("#generate").click()
        wait_for_caption(page, caption)
        page.evaluate(f"(view) => {VIEWER}.view(view)", {**VIEW_CHANGES, "step": 2, "layer": EXHIBIT.layer})
        view, picture, look = page.evaluate(f"{VIEWER}.viewNow()"), page.evaluate(PICTURE), copy_link(page)
        settle(page)
        numbers = page.evaluate(f"Array.from({VIEWER}.mapOf({VIEWER}.trace.layers[0], 1, 0)).join()")
        page.close()
    with server() as (url, _):
        page = open_page(chromium, f"{url}/?{look}")
        wait_for_caption(page, caption)
        assert page.evaluate(PICTURE) == picture
        settle(page)
        assert page.evaluate(f"{VIEWER}.viewNow()") == view
        assert view["active"] == 2 and len(view["pins"]) == 3 and view["mode"] == "column" and view["step"] == 2
        assert page.evaluate(f"Array.from({VIEWER}.mapOf({VIEWER}.trace.layers[0], 1, 0)).join()") == numbers
        assert page.locator("#caption textarea").input_value() == caption
        open_more(page)
        assert page.locator("#steps input").input_value() == "4"
        page.close()


def test_link_to_gallery_trace_opens_it(page, chromium, url):
    page.locator("#shelf button.thumbnail-item").nth(1).click()
    wait_for_caption(page, EXHIBIT.caption)
    page.evaluate(f"(view) => {VIEWER}.view(view)", VIEW_CHANGES)
    view, picture, look = page.evaluate(f"{VIEWER}.viewNow()"), page.evaluate(PICTURE), copy_link(page)
    recipe, decoded = decode(look.removeprefix("look="))
    assert recipe == EXHIBIT.recipe and json.loads(json.dumps(decoded.to_json())) == view
    fresh = open_page(chromium, f"{url}/?{look}")
    wait_for_caption(fresh, EXHIBIT.caption)
    assert fresh.evaluate(PICTURE) == picture and fresh.evaluate(f"{VIEWER}.viewNow()") == view
    expected = Trace.load(kept_trace(EXHIBIT))
    assert picture.split(",")[:3] == [str(n) for n in expected.picture[0, 0]]
    assert fresh.evaluate(f"{VIEWER}.trace.steps") == expected.steps  # the recording, not a new run
    fresh.close()


def hold_requests(page, pattern: str) -> list[Route]:
    """Hold back requests from now on whose URL matches, until `release`; returns a list that grows by them."""
    routes: list[Route] = []
    page.route(re.compile(pattern), lambda route: routes.append(route))
    return routes


def release(page, pattern: str, routes: list[Route]) -> None:
    page.route(re.compile(pattern), lambda route: route.continue_())
    for route in routes:
        route.continue_()


def test_link_applies_to_trace_still_being_fetched(chromium, url):
    """The trace is held back until the link is answered, which the seed's field shows."""
    page = chromium.new_page()
    events, traces = hold_requests(page, "queue/join"), hold_requests(page, "safetensors")
    first = exhibits()[0]
    step = first.steps[3]  # of those in its file
    assert step != first.step
    look = encode(Recipe(first.caption, seed=first.seed), View((0.25, 0.75), first.layer, step, 1))
    page.goto(f"{url}/?look={look}")
    page.locator("#seed input").fill("99")
    release(page, "queue/join", events)
    page.wait_for_function(f"document.querySelector('#seed input').value === '{first.seed}'")
    wait_for_frame(page)
    assert traces and page.evaluate(f"{VIEWER}.trace") is None
    release(page, "safetensors", traces)
    page.wait_for_selector(f"{VIEWER_ROOT} .pg-main:not([hidden])")
    assert page.evaluate(f"{VIEWER}.viewNow()")["point"] == [0.25, 0.75]
    assert page.evaluate(f"{VIEWER}.viewNow()")["step"] == step
    page.close()


LINK = encode(Recipe("a red monster", steps=2), View((0.5, 0.5), EXHIBIT.layer, 1))


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (LINK[:-5], "This link was cut short"),
        (LINK[:20] + ("A" if LINK[20] != "A" else "B") + LINK[21:], "This link is damaged"),
        ("", "This link was cut short"),
        ("%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", "it contains characters that no link has"),
    ],
)
def test_link_that_is_invalid_shows_message_and_first_exhibit(chromium, url, look, message):
    page = open_page(chromium, f"{url}/?look={look}")
    page.locator(".toast-body", has_text=message).wait_for()
    assert page.locator(".pg-title").inner_text() == exhibits()[0].caption
    page.close()


@pytest.mark.parametrize(
    ("recipe", "step", "message"),
    [
        (Recipe(EXHIBIT.caption, seed=EXHIBIT.seed), 16, "asks for the layer “no <b>such</b> layer”, which"),
        (Recipe("a red monster", steps=2), 7, "asks for the layer “no <b>such</b> layer” and step 7, which"),
    ],
    ids=["recorded", "drawn"],
)
def test_link_to_missing_layer_or_step_shows_warning(chromium, url, recipe, step, message):
    look = encode(recipe, View((0.5, 0.5), "no <b>such</b> layer", step))
    page = open_page(chromium, f"{url}/?look={look}")
    page.locator(".toast-body", has_text=message).wait_for(timeout=120_000)
    wait_for_caption(page, recipe.caption)
    page.close()


def test_link_made_with_other_weights_shows_warning(chromium, url):
    recipe = Recipe(EXHIBIT.caption, seed=EXHIBIT.seed, revision="0123456789ab", versions={"torch": "1.0"})
    page = open_page(chromium, f"{url}/?look={encode(recipe, View((0.5, 0.5), EXHIBIT.layer, 16))}")
    page.locator(".toast-body", has_text="made with the weights 0123456789ab (here ").wait_for()
    wait_for_caption(page, EXHIBIT.caption)
    page.close()


def test_trace_file_opens_from_export_menu(page, tmp_path):
    path = shutil.copy(exhibits()[0].trace, tmp_path / "mine.safetensors")
    open_trace_file(page, path)
    wait_for_opened(page)
    page.locator(".pg-news", has_text="Opened").wait_for()
    assert page.evaluate(PICTURE).split(",")[:3] == [str(n) for n in Trace.load(path).picture[0, 0]]


def test_trace_file_without_recipe_opens_but_has_no_link(page, tmp_path, shared_pipeline):
    with record(shared_pipeline.unet) as trace:  # no recipe, no picture, cross-attention, single precision
        shared_pipeline("a red monster", num_inference_steps=3)
    open_trace_file(page, trace.save(tmp_path / "run.safetensors"))
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 3")
    assert page.evaluate(f"{VIEWER}.trace.layers.length") == sum(layer.kind == "self" for layer in trace)
    page.get_by_role("button", name="a link that redraws").click()
    page.locator(".pg-news", has_text="No link: this trace's recipe cannot be followed here").wait_for()


def test_link_to_opened_file_says_it_does_not_contain_file(page, tmp_path):
    open_trace_file(page, shutil.copy(exhibits()[0].trace, tmp_path / "mine.safetensors"))
    wait_for_opened(page)
    page.get_by_role("button", name="a link that redraws").click()
    page.locator(".pg-news", has_text="doesn't contain your file").wait_for()
    page.locator("#shelf button.thumbnail-item").nth(1).click()
    wait_for_caption(page, EXHIBIT.caption)
    copy_link(page)
    assert "contain your file" not in page.locator(".pg-news").first.inner_text()


BAD = [
    (lambda content: b"short", "isn't a complete .safetensors file"),
    (lambda content: content[: len(content) // 2], "was its download interrupted?"),
    (lambda content: content.replace(b"pixelgaze-trace", b"pixelgaze-other", 1), "expected the format"),
    (lambda content: content.replace(b'\\"heads\\": 4', b'\\"heads\\": 5', 1), "to be floats of shape"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD)
def test_trace_file_that_is_invalid_changes_nothing(page, tmp_path, spoil, message):
    path = tmp_path / "bad <img src=x onerror=alert(1)>.safetensors"
    content = exhibits()[0].trace.read_bytes()
    path.write_bytes(spoil(content))
    assert path.read_bytes() != content
    open_trace_file(page, path)
    page.locator(".toast-body", has_text=message).wait_for()
    assert page.locator(".pg-title").inner_text() == exhibits()[0].caption
    assert page.locator(".toast-body img, .pg-news img").count() == 0
    page.get_by_role("button", name="1 times the size").click()  # the page still works
    page.locator(".pg-news", has_text=re.compile(r"Saved, \d+ × \d+")).wait_for()


def test_trace_file_dropped_on_page_opens(page):
    page.locator('button[title^="a safetensors file"]').first.wait_for(state="attached")  # the last part of the page
    page.evaluate(
        """async (address) => {
        const content = await (await fetch(address)).arrayBuffer();
        const transfer = new DataTransfer();
        transfer.items.add(new File([content], "dropped.safetensors"));
        const tell = (type) => window.dispatchEvent(new DragEvent(type, { dataTransfer: transfer }));
        ["dragenter", "dragover"].forEach(tell);
        if (document.querySelector(".pg-drop").hidden) throw new Error("The page does not offer to take the file.");
        tell("drop");
        }""",
        f"{page.url.rstrip('/')}/gradio_api/file={exhibits()[0].trace}",
    )
    wait_for_opened(page)
    assert not page.locator(".pg-drop").is_visible()
    assert page.locator(f"{VIEWER_ROOT} .pg-proof").inner_text().startswith("✓ 20 layers verified")
