"""The page in Chromium: opening, exploring, the gallery, errors, and widths."""

import base64
import json
import re

import numpy as np
import pytest

from tests.support.chromium import (
    VIEWER,
    VIEWER_ROOT,
    atlas_pixels,
    fill_field,
    look,
    open_page,
    pixels_of,
    state,
)
from tests.support.gallery import without_words
from viz import Trace, record
from viz.page.gallery import exhibits, first_trace
from viz.recording.run import previewer
from viz.trace_header import prefix_bytes


def test_page_opens_on_first_exhibit_with_its_query(page):
    exhibit = exhibits()[0]
    now = state(page)
    assert tuple(now["point"]) == exhibit.point and now["head"] == exhibit.head
    trace = Trace.load(exhibit.trace)
    assert page.evaluate(f"{VIEWER}.trace.steps") == trace.steps
    assert page.locator(".pg-title").inner_text() == exhibit.caption
    badge = page.locator(f"{VIEWER_ROOT} .pg-proof summary")
    assert re.fullmatch(r"✓ 20 layers verified at all 9 steps, [\d,]+ rows, to \de.\d", badge.inner_text())
    assert exhibit.layer in page.locator(".pg-where").inner_text()
    row, column = trace.cell(exhibit.layer, (exhibit.point[0] * 64, exhibit.point[1] * 64))
    sentence = page.locator(".pg-sentence").inner_text()
    assert f"The cell at row {row}, column {column} of the 32×32 map, layer up " in sentence
    assert f"step {exhibit.step}, t = {trace.timesteps[exhibit.step]:g}, looks" in sentence


def test_page_requests_no_other_host(chromium, url):
    page = chromium.new_page()
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(url)
    page.wait_for_selector(f"{VIEWER_ROOT} .pg-main:not([hidden])")
    page.close()
    assert urls and all(each.startswith((url, "data:", "blob:")) for each in urls), urls


def test_page_requests_the_beginning_of_its_trace_before_viewer_exists_and_then_the_rest(chromium, url):
    page = chromium.new_page()
    page.add_init_script("""
        const { fetch } = window;
        window.requests = [];
        window.fetch = (resource, ...options) => {
            const early = !document.querySelector("#viewer");
            const range = options[0]?.headers?.Range;
            if (String(resource).includes("gallery/")) window.requests.push([String(resource), early, range]);
            return fetch(resource, ...options);
        };
    """)
    page.goto(url)
    page.wait_for_selector(f"{VIEWER_ROOT} .pg-main:not([hidden])")
    page.evaluate(f"async () => {{ await {VIEWER}.arrived() }}")
    requests = page.evaluate("window.requests")
    page.close()
    first = exhibits()[0]
    enough = prefix_bytes(first.trace, first.layer, first.step)
    assert all(address.endswith(f"/{first.trace.name}") for address, *_ in requests)
    assert [rest for _, *rest in requests] == [[True, f"bytes=0-{enough - 1}"], [False, f"bytes={enough}-"]]


def test_atlas_follows_mouse_until_pixel_is_pinned(page):
    first = atlas_pixels(page)
    look(page, 0.1, 0.1)
    before = atlas_pixels(page)
    assert (before != first).mean() > 0.2  # the mouse alone repaints it, from the start
    assert len(np.unique(before)) > 20
    look(page, 0.6, 0.5)
    after = atlas_pixels(page)
    assert (before != after).mean() > 0.2
    page.mouse.down()
    page.mouse.up()
    look(page, 0.2, 0.8)
    assert state(page)["active"] == 0 and np.array_equal(atlas_pixels(page), after)
    look(page, 0.6, 0.5)
    page.mouse.down()
    page.mouse.up()
    assert state(page)["active"] == -1 and not state(page)["pins"]


def test_viewer_arrow_keys_move_query_by_one_cell(page):
    page.evaluate(f"{VIEWER}.choose({{point: [0.01, 0.5], layer: {VIEWER}.trace.layers[2].index}})")  # of 8x8 cells
    page.locator(".pg-picture").focus()
    for key, place in (("ArrowRight", (0, 5)), ("ArrowUp", (0, 5)), ("ArrowDown", (1, 5)), ("ArrowLeft", (1, 4))):
        page.keyboard.press(key)
        page.locator(".pg-sentence", has_text="row {}, column {} of the 8×8 map".format(*place)).wait_for()
    page.keyboard.press("Enter")
    assert state(page)["active"] == 0


@pytest.mark.parametrize("head", [-1, 0, 3])
def test_viewer_rows_equal_trace(page, head):
    trace = without_words(first_trace())
    names = page.evaluate(f"{VIEWER}.trace.layers.map((layer) => layer.name)")
    assert names == list(trace.layers)
    for index, name in enumerate(names):
        for step in (0, len(trace.steps) - 1):
            layer = f"{VIEWER}.trace.layers[{index}].index"
            page.evaluate(f"{VIEWER}.choose({{layer: {layer}, step: {step}, head: {head}, point: [0.4, 0.7]}})")
            page.evaluate(f"{VIEWER}.repaint()")
            row = np.array(page.evaluate(f"Array.from({VIEWER}.map)"))
            rows = trace.rows(name, step=trace.steps[step], query=trace.cell(name, (0.4 * 64, 0.7 * 64)))
            weights = (rows.mean(0) if head < 0 else rows[head]).flatten().numpy()
            expected = weights * len(weights)
            assert np.abs(row - expected).max() <= 1e-3 * max(1, expected.max())


def test_viewer_clicks_choose_layer_step_and_head(page):
    maps = page.locator(".pg-maps canvas")
    box = maps.bounding_box()
    maps.click(position={"x": 0.55 * box["width"], "y": 0.05 * box["height"]})  # once the page stands still
    now = state(page)
    assert (now["layer"], now["step"]) == (0, 4)
    page.locator(".pg-label[aria-pressed=true] .pg-name", has_text="down 1 · attention 0").wait_for()
    page.get_by_role("button", name="middle").click()
    assert state(page)["layer"] == page.evaluate(f"{VIEWER}.trace.layers[3].index")
    page.get_by_role("button", name="head 2").click()
    assert state(page)["head"] == 2
    page.locator(".pg-where", has_text="head 2").wait_for()
    page.get_by_label("Denoising step").fill("8")
    assert state(page)["step"] == 8 and "t = 39" in page.locator(".pg-step").inner_text()


def test_play_button_moves_step(page):
    page.get_by_label("Play the steps").click()
    before = state(page)["step"]
    page.wait_for_function(f"{VIEWER}.state.step !== {before}")
    page.get_by_label("Pause").click()


def test_step_prediction_replaces_picture_and_follows_mouse(page):
    page.get_by_label("Denoising step").fill("0")
    look(page, 0.3, 0.3)
    final = pixels_of(page, ".pg-picture")
    page.get_by_role("button", name="Prediction at this step").click()
    look(page, 0.3, 0.3)
    assert (final != pixels_of(page, ".pg-picture")).mean() > 0.5
    look(page, 0.7, 0.6)
    assert state(page)["point"] == pytest.approx([0.7, 0.6], abs=0.01)


def test_gallery_opens_another_trace(page):
    fill_field(page, "steps", "3")
    fill_field(page, "guidance", "4")
    page.locator("#shelf button.thumbnail-item").nth(1).click()
    caption = exhibits()[1].caption
    shown = f"document.querySelector('.pg-title').textContent === {json.dumps(caption)}"
    page.wait_for_function(shown, timeout=120_000)  # it may be drawn first
    assert page.locator("#caption textarea").input_value() == caption
    values = [page.locator(f"#{field} input").input_value() for field in ("seed", "steps", "guidance")]
    assert values == [str(exhibits()[1].seed), "25", "1.5"], "Generate would draw another picture"
    assert tuple(state(page)["point"]) == exhibits()[1].point


def test_title_shows_hostile_caption_as_text(page):
    hostile = "a red monster <img src=x onerror=alert(1)> ${1+1} ${ {{value}} \" ' `"
    page.locator("#caption textarea").fill(hostile)
    fill_field(page, "steps", "2")
    page.locator("#generate").click()
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 2", timeout=60_000)
    assert page.locator(".pg-title").inner_text() == hostile
    assert page.locator(f"{VIEWER_ROOT} img").count() == 0


@pytest.mark.parametrize("scale", [1, 1.5, 3])
@pytest.mark.parametrize("width", [1440, 1024, 768, 390])
def test_page_does_not_overflow_at_any_width(chromium, url, width, scale):
    page = open_page(chromium, url, width=width, device_scale_factor=scale)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    card, maps = (page.locator(part).bounding_box() for part in (".pg-right", ".pg-maps canvas"))
    assert page.locator(".pg-tick").count() >= 7
    assert maps["x"] + maps["width"] <= card["x"] + card["width"] <= width
    assert page.complaints == []
    page.close()


def test_atlas_on_narrow_page_spreads_steps_that_fit(chromium, url):
    page = open_page(chromium, url, width=390)
    fill_field(page, "steps", "20")
    page.locator("#generate").click()
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 20", timeout=120_000)
    for step in [*range(20), 0]:
        page.evaluate(f"{VIEWER}.choose({{step: {step}}})")
    labels = page.locator(".pg-tick").all_text_contents()
    assert labels[0] == "999" and labels[-1] == "49" and len(labels) < 20
    page.evaluate(f"{VIEWER}.choose({{step: 1}})")
    page.locator(".pg-tick.pg-chosen", has_text="949").wait_for()
    page.close()


def test_viewer_hover_repaints_once_per_move(chromium, url):
    page = open_page(chromium, url, width=390)
    page.locator(".pg-picture").scroll_into_view_if_needed()
    page.evaluate(f"{VIEWER}.frames.length = 0")
    for place in range(12):
        look(page, 0.05 + 0.07 * place, 0.5)
    assert page.evaluate(f"{VIEWER}.frames.length") <= 13
    page.close()


def test_viewer_keeps_proportions_of_wide_picture(page, tmp_path, shared_pipeline):
    with record(shared_pipeline.unet, preview=previewer(shared_pipeline)) as trace:
        shared_pipeline("a red monster", num_inference_steps=2, height=32, width=48)
    path = trace.select(layers=[layer.name for layer in trace if layer.kind == "self"]).save(tmp_path / "wide")
    page.evaluate(
        f"(bytes) => {VIEWER}.open(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)).buffer)",
        base64.b64encode(path.read_bytes()).decode(),
    )
    for selector in (".pg-picture", ".pg-preview >> nth=0", ".pg-mark"):
        box = page.locator(selector).bounding_box()
        assert box["width"] / box["height"] == pytest.approx(48 / 32, rel=0.05), selector
    page.locator(".pg-picture").scroll_into_view_if_needed()
    look(page, 0.99, 0.99)
    page.locator(".pg-sentence", has_text="row 15, column 23 of the 16×24 map").wait_for()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 404}, "no longer on the server; draw it again"),
        ({"body": b"short"}, "it is shorter than its own header"),
        ({"body": bytes(8) + b"x" * 100}, "its header is not JSON"),
        ({"body": b"\x02" + bytes(7) + b"{}"}, "not a version 1 or 2 trace of PixelGaze"),
        ({"body": b"\xff" * 100}, "it ends inside its header"),
    ],
)
def test_viewer_says_why_trace_cannot_be_shown(chromium, url, answer, message):
    page = chromium.new_page()
    page.route(re.compile("safetensors"), lambda route: route.fulfill(**answer))
    page.goto(url)
    page.get_by_text(message).wait_for()
    page.close()
