"""A trace that is too big for the browser: the same viewer, its maps from the server, in a real Chromium."""

import io

import numpy as np
import pytest

from tests.support.chromium import ROOT_OF_VIEWER, VIEWER, atlas_pixels, look, open_page, server, settle, taken, view
from viz import Trace
from viz.export import rows_on_show
from viz.page.gallery import exhibits
from viz.query import Maps
from viz.view import View

EXHIBIT = exhibits()[1]
PIXEL = {"kind": "pixel", "point": [0.3, 0.7]}
BOX = {"kind": "box", "from": [0.4, 0.3], "to": [0.62, 0.55]}


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace.load(EXHIBIT.trace)


@pytest.fixture(scope="module")
def page(chromium):
    """The page of a server that sends browsers at most 1 MB, with a trace of 4 MB opened on it."""
    with server("--browser", "1MB") as (url, _):
        page = open_page(chromium, url)
        page.on("request", lambda request: "component_server" in request.url and page.asked.append(request))
        page.asked = []
        page.locator("#export input[type=file]").set_input_files(EXHIBIT.trace)
        page.wait_for_function(f"{VIEWER}.trace.remote", timeout=60_000)
        settle(page)
        yield page
        assert page.complaints == []
        page.close()


def test_only_its_outline_is_sent_and_the_page_says_so(page, trace):
    assert page.evaluate(f"{VIEWER}.trace.buffer.byteLength") < 400_000 < EXHIBIT.trace.stat().st_size / 10
    assert "the maps come from the server" in page.locator(f"{ROOT_OF_VIEWER} .pg-facts").inner_text()
    assert page.evaluate(f"{VIEWER}.trace.layers.map(({{ name }}) => name)") == list(trace.layers)
    assert page.evaluate(f"{VIEWER}.trace.steps") == trace.steps


@pytest.mark.parametrize("pins", [[], [PIXEL], [BOX]])
@pytest.mark.parametrize(("mode", "special"), [("row", False), ("row", True), ("column", False)])
def test_numbers_equal_python_s(page, trace, mode, special, pins):
    layers = list(trace.layers)
    for layer, step, head in ((layers[0], trace.steps[0], -1), (layers[-1], trace.steps[-1], 2)):
        view(page, layer=layer, step=step, head=head, point=[0.4, 0.7], pins=pins, active=len(pins) - 1, mode=mode)
        view(page, special=special)
        shown = np.array(page.evaluate(f"Array.from({VIEWER}.map)"))
        now = View.from_json(page.evaluate(f"(({{...v}}) => v)({VIEWER}.viewNow())"))
        expected = Maps(trace).of_view(now).flatten()
        assert np.abs(shown - expected).max() <= 1e-3 * max(1, np.abs(expected).max())
    view(page, pins=[], mode="row", special=False, head=-1)


def test_a_fast_mouse_has_one_request_on_its_way_and_builds_no_queue(page):
    page.evaluate(
        """() => {
          window.way = { now: 0, most: 0, all: 0 };
          window.plainFetch = window.fetch;
          window.fetch = async (...asked) => {
            if (!String(asked[0].url || asked[0]).includes("component_server")) return plainFetch(...asked);
            way.most = Math.max(way.most, ++way.now);
            way.all++;
            try {
              const answer = await plainFetch(...asked);
              await new Promise((done) => setTimeout(done, 150));
              return answer;
            } finally {
              way.now--;
            }
          };
        }"""
    )
    page.locator(".pg-picture").first.scroll_into_view_if_needed()
    for i in range(40):
        look(page, 0.05 + 0.022 * i, 0.9 - 0.02 * i)
    settle(page)
    way = page.evaluate("way")
    assert way["most"] == 1 and way["now"] == 0 and 0 < way["all"] < 40
    page.evaluate("() => (window.fetch = window.plainFetch)")
    point = page.evaluate(f"{VIEWER}.state.point")
    assert abs(point[0] - (0.05 + 0.022 * 39)) < 0.02
    page.wait_for_timeout(300)
    before = len(page.asked)
    page.wait_for_timeout(500)
    assert len(page.asked) == before  # what is whole asks for nothing more


def test_what_was_seen_is_not_asked_again(page):
    look(page, 0.2, 0.2)
    settle(page)
    first = atlas_pixels(page)
    look(page, 0.7, 0.7)
    settle(page)
    assert (atlas_pixels(page) != first).mean() > 0.1
    before = len(page.asked)
    look(page, 0.2, 0.2)
    settle(page)
    assert np.array_equal(atlas_pixels(page), first) and len(page.asked) == before


def test_it_is_taken_away_as_far_as_the_server_can(page, trace):
    view(page, pins=[BOX, PIXEL], active=0, head=1)
    now = View.from_json(page.evaluate(f"{VIEWER}.viewNow()"))
    found = np.load(io.BytesIO(taken(page, "Displayed maps (NumPy)")[1]))
    for name, values in rows_on_show(trace, now).items():
        if values.dtype == np.float32:
            assert np.abs(found[name] - values).max() <= 1e-3 * max(1, values.max()), name
    assert taken(page, "Picture and atlas, PNG, 1 times the size")[1].startswith(b"\x89PNG")
    assert taken(page, "Atlas, SVG")[1].startswith(b"<svg")
    assert taken(page, "Across the steps, GIF")[1].startswith(b"GIF8")
    name, content = taken(page, "Full recording (Q, K), Q and K")
    assert name.endswith(".safetensors") and len(content) > 4_000_000
    page.get_by_role("button", name="one HTML file").click()
    page.locator(".pg-news", has_text="too large for one HTML file").wait_for()
    page.keyboard.press("Escape")
    view(page, pins=[], head=-1)


def test_plots_follow_a_pin(page, trace):
    view(page, pins=[PIXEL], active=0, step=trace.steps[2])
    page.locator("#plots .pg-figure[data-key=map] .heatmaplayer").wait_for(timeout=60_000)
    layer = page.evaluate(f"{VIEWER}.viewNow().layer")
    expected = Maps(trace).of_view(View((0.3, 0.7), layer, trace.steps[2]))
    held = "document.querySelector('#plots [data-key=map]').data[0].z.map((row) => Array.from(row))"
    page.wait_for_function(f"Math.abs({held}[7][7] - {expected[7, 7]}) <= 1e-3 * {max(1, expected.max())}")
    z = np.array(page.evaluate(held))
    assert np.abs(z - expected).max() <= 1e-3 * max(1, expected.max())
    view(page, pins=[])


def test_a_trace_that_is_gone_is_a_sentence(page, trace):
    page.evaluate(
        f"""() => {{
          const {{ buffer, remote }} = {VIEWER}.trace;
          {VIEWER}.open(buffer, {{}}, {{ ...remote, path: "/etc/passwd" }});
        }}"""
    )
    page.locator(f"{ROOT_OF_VIEWER} > .pg-message", has_text="This page does not serve that file.").wait_for()
