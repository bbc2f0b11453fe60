"""The page over a slow line: the first map comes before the rest, and a broken connection loses nothing."""

import time

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.support.chromium import (
    VIEWER,
    VIEWER_ROOT,
    atlas_pixels,
    export_file,
    look,
    open_page,
    open_trace_file,
    settle,
    state,
    view,
    wait_for_frame,
)
from viz.page.gallery import exhibits

EXHIBIT = exhibits()[0]
LINE = f"{VIEWER_ROOT} .pg-arriving"
CARDS = f"[...document.querySelectorAll('{VIEWER_ROOT} .pg-card')]"
PLACES = f"{CARDS}.map((card) => [card.offsetTop, card.offsetHeight])"

# Lets the bytes of written traces pass only as far as the test allows, and then waits or breaks.
SLOW = """
    const { fetch } = window;
    window.line = { open: Infinity, passed: 0, broken: false, cancelled: false, ranges: [] };
    window.fetch = async (resource, options) => {
        if (!/trace-[0-9a-f]+\\.safetensors/.test(String(resource))) return fetch(resource, options);
        line.ranges.push(options?.headers?.Range ?? null);
        if (line.broken) throw new TypeError("Failed to fetch");
        const response = await fetch(resource, options);
        const reader = response.body.getReader();
        let held = new Uint8Array(0);
        const pull = async (controller) => {
            while (line.passed >= line.open) {
                if (line.broken) return controller.error(new TypeError("network error"));
                await new Promise((done) => setTimeout(done, 20));
            }
            if (!held.length) {
                const { done, value } = await reader.read();
                if (done) return controller.close();
                held = value;
            }
            const next = held.subarray(0, line.open - line.passed);
            held = held.subarray(next.length);
            line.passed += next.length;
            controller.enqueue(next);
        };
        const cancel = () => (line.cancelled = true);
        const { status, headers } = response;
        return new Response(new ReadableStream({ pull, cancel }), { status, headers });
    };
"""


@pytest.fixture
def page(chromium, url):
    """The page with a trace of which a sixth has arrived; its first map is the last step's."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script(SLOW)
    holder = type("Holder", (), {"new_page": lambda self, **options: context.new_page()})()
    page = open_page(holder, url)
    view(page, step=page.evaluate(f"{VIEWER}.trace.steps.at(-1)"), layer=EXHIBIT.layer)
    before = page.evaluate(f"window.before = {VIEWER}.trace, window.line.open = 1_000_000, 0")
    assert before == 0
    open_trace_file(page, EXHIBIT.trace)
    page.wait_for_function(f"{VIEWER}.trace !== window.before")
    yield page
    complaints = page.complaints
    context.close()
    assert complaints == []


def let_all_pass(page):
    page.evaluate("window.line.open = Infinity; window.line.broken = false")
    page.evaluate(f"async () => {{ await {VIEWER}.arrived() }}")
    settle(page)


def test_one_points_while_the_trace_arrives_and_nothing_moves(page):
    page.wait_for_function("window.line.passed >= 1e6")
    expect(page.locator(LINE)).to_have_text(
        f"Arriving: 1.0 of {page.evaluate(f'{VIEWER}.trace.buffer.byteLength / 1e6'):.1f} MB"
    )
    assert page.evaluate(f"{VIEWER}.trace.arriving") and state(page)["step"] == page.evaluate(
        f"{VIEWER}.trace.steps.length - 1"
    )
    look(page, 0.2, 0.2)
    before = page.evaluate(f"[...{VIEWER}.map]")
    look(page, 0.6, 0.6)
    after = page.evaluate(f"[...{VIEWER}.map]")
    assert np.abs(np.array(before) - after).max() > 0.1
    some = atlas_pixels(page)
    boxes = page.evaluate(PLACES)
    page.evaluate(f"{VIEWER}.choose({{ step: 0 }})")
    wait_for_frame(page)
    assert page.evaluate(f"{VIEWER}.map") is None
    assert page.locator(".pg-sentence").first.inner_text().endswith("This map is still arriving.")
    page.evaluate(f"{VIEWER}.choose({{ step: {VIEWER}.trace.steps.length - 1 }})")
    let_all_pass(page)
    assert page.locator(LINE).count() == 0
    assert page.evaluate(f"[...{VIEWER}.map]") == after  # the same numbers as before the rest came
    assert (atlas_pixels(page) != some).mean() > 0.2
    assert boxes == page.evaluate(PLACES)


def test_arrived_trace_is_the_file(page):
    let_all_pass(page)
    name, data = export_file(page, "Q and K of every layer and step, for viz.Trace.load")
    assert len(data) == page.evaluate(f"{VIEWER}.trace.buffer.byteLength") and name.endswith(".safetensors")
    assert page.evaluate(
        f"{VIEWER}.trace.layers.every((layer) => {VIEWER}.trace.steps.every((_, i) => layer.numbers(i)))"
    )


def test_exports_wait_for_the_rest(page):
    page.get_by_role("button", name="Export").first.click() if not page.locator(".pg-menu").first.is_visible() else None
    page.get_by_role("button", name="the maps of the atlas and the pins").click()
    expect(page.locator(".pg-news").first).to_have_text("Waiting for the rest of the recording…")
    with page.expect_download():
        page.evaluate("window.line.open = Infinity")
    expect(page.locator(".pg-news").first).to_have_text("Saved.")


def test_broken_connection_keeps_what_has_arrived_and_can_be_tried_again(page):
    page.wait_for_function("window.line.passed >= 1e6")
    page.evaluate("window.line.broken = true")
    expect(page.locator(LINE)).to_contain_text("The connection broke at 1.")
    expect(page.locator(LINE)).to_contain_text("What has arrived can be used.")
    look(page, 0.3, 0.4)
    assert page.evaluate(f"{VIEWER}.map") is not None
    page.get_by_role("button", name="Export").first.click() if not page.locator(".pg-menu").first.is_visible() else None
    page.get_by_role("button", name="the maps of the atlas and the pins").click()
    page.locator(LINE).get_by_role("button", name="Try again").click()  # still broken
    expect(page.locator(LINE)).to_contain_text("The connection broke at 1.")
    expect(page.locator(".pg-news").first).to_contain_text("This needs the whole recording. The connection broke at 1.")
    page.evaluate("window.line.open = Infinity; window.line.broken = false")
    page.locator(LINE).get_by_role("button", name="Try again").click()
    let_all_pass(page)
    assert page.locator(LINE).count() == 0
    received = page.evaluate("window.line.ranges")
    assert received[0] is None and all(each.startswith("bytes=1") for each in received[1:]) and len(received) == 3


def test_connection_that_breaks_before_the_next_trace_opens_is_said_in_the_line(page):
    let_all_pass(page)
    boxes = page.evaluate(PLACES)
    page.evaluate(f"window.before = {VIEWER}.trace, window.line.open = window.line.passed + 1000, 0")
    page.locator(".pg-export > button").first.press("Escape")  # closes the menu
    open_trace_file(page, EXHIBIT.trace)
    page.wait_for_function("window.line.passed >= window.line.open")
    page.evaluate("window.line.broken = true")
    expect(page.locator(LINE)).to_contain_text("trying again…")
    assert page.evaluate(PLACES) == boxes and not page.locator(f"{VIEWER_ROOT} > .pg-message").is_visible()
    page.evaluate("window.line.open = Infinity; window.line.broken = false")
    page.wait_for_function(f"{VIEWER}.trace !== window.before")
    let_all_pass(page)
    assert page.evaluate(PLACES) == boxes


def test_another_trace_ends_the_arrival(page):
    page.evaluate(f"window.before = {VIEWER}.trace, 0")
    page.locator("#shelf button img").first.click()
    page.wait_for_function(f"{VIEWER}.trace !== window.before")
    page.evaluate(f"async () => {{ await {VIEWER}.arrived() }}")
    assert page.locator(LINE).count() == 0
    assert page.evaluate("window.line.cancelled")  # nobody reads the first one on


@pytest.mark.timed
def test_first_map_comes_before_the_rest_over_a_slow_line(chromium, url):
    """1.6 Mbit/s with 150 ms; a generous bar, as the bench has the strict one."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")
    line = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 200_000}
    devtools.send("Network.emulateNetworkConditions", line)
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("#pg-poster", timeout=10_000)
    poster = time.perf_counter() - began
    page.wait_for_function(f"document.querySelector('{VIEWER_ROOT}')?.viewer?.map", timeout=60_000)
    spent = time.perf_counter() - began
    assert page.locator("#pg-poster").count() == 0
    assert page.evaluate(f"{VIEWER}.trace.arriving")
    look(page, 0.2, 0.3)
    assert page.evaluate(f"{VIEWER}.map") is not None
    context.close()
    assert poster < 5 and spent < 20
