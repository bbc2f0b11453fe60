"""A trace too big for the browser: the viewer gets its maps from the server, in Chromium."""

import io

import numpy as np
import pytest

from tests.support.chromium import (
    VIEWER,
    VIEWER_ROOT,
    atlas_pixels,
    export_file,
    look,
    open_page,
    server,
    settle,
    view,
    wait_for_frame,
)
from viz import Trace
from viz.export import rows_on_show
from viz.page.gallery import exhibits, first_trace
from viz.query import Maps
from viz.view import View

EXHIBIT = exhibits()[0]
PIXEL = {"kind": "pixel", "point": [0.3, 0.7]}
BOX = {"kind": "box", "from": [0.4, 0.3], "to": [0.62, 0.55]}


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace.load(first_trace())


@pytest.fixture(scope="module")
def page(chromium):
    """The page of a server that sends browsers at most 1 MB, showing a trace of 4 MB."""
    with server("--browser", "1MB") as (url, _):
        page = open_page(chromium, url)
        page.map_requests = []
        page.on("request", lambda request: "component_server" in request.url and page.map_requests.append(request))
        page.locator("#export input[type=file]").set_input_files(first_trace())
        page.wait_for_function(f"{VIEWER}.trace.remote", timeout=60_000)
        settle(page)
        yield page
        assert page.complaints == []
        page.close()


def test_remote_trace_sends_outline_and_page_says_so(page, trace):
    assert page.evaluate(f"{VIEWER}.trace.buffer.byteLength") < 400_000 < EXHIBIT.trace.stat().st_size / 10
    assert "the server computes the maps" in page.locator(f"{VIEWER_ROOT} .pg-facts").inner_text()
    assert page.evaluate(f"{VIEWER}.trace.layers.map(({{ name }}) => name)") == [
        layer.name for layer in trace if layer.kind == "self"
    ]
    assert page.evaluate(f"{VIEWER}.trace.steps") == trace.steps


@pytest.mark.parametrize("pins", [[], [PIXEL], [BOX]])
@pytest.mark.parametrize(("mode", "special"), [("row", False), ("row", True), ("column", False)])
def test_remote_maps_equal_python(page, trace, mode, special, pins):
    layers = list(trace.layers)
    for layer, step, head in ((layers[0], trace.steps[0], -1), (layers[-1], trace.steps[-1], 2)):
        view(page, layer=layer, step=step, head=head, point=[0.4, 0.7], pins=pins, active=len(pins) - 1, mode=mode)
        view(page, special=special)
        viewer_map = np.array(page.evaluate(f"Array.from({VIEWER}.map)"))
        now = View.from_json(page.evaluate(f"(({{...v}}) => v)({VIEWER}.viewNow())"))
        expected = Maps(trace).of_view(now).flatten()
        assert np.abs(viewer_map - expected).max() <= 1e-3 * max(1, np.abs(expected).max())
    view(page, pins=[], mode="row", special=False, head=-1)


def test_remote_answers_send_one_request_at_a_time(page):
    page.evaluate(
        """() => {
          window.counts = { pending: 0, mostPending: 0, sent: 0 };
          window.plainFetch = window.fetch;
          window.fetch = async (resource, ...options) => {
            if (!String(resource.url || resource).includes("component_server")) return plainFetch(resource, ...options);
            counts.mostPending = Math.max(counts.mostPending, ++counts.pending);
            counts.sent++;
            try {
              const response = await plainFetch(resource, ...options);
              await new Promise((done) => setTimeout(done, 150)); // a slow server
              return response;
            } finally {
              counts.pending--;
            }
          };
        }"""
    )
    page.locator(".pg-picture").first.scroll_into_view_if_needed()
    for i in range(40):
        look(page, 0.05 + 0.022 * i, 0.9 - 0.02 * i)
    settle(page)
    page.wait_for_function("counts.pending === 0")
    counts = page.evaluate("counts")
    assert counts["mostPending"] == 1 and 0 < counts["sent"] < 40
    point = page.evaluate(f"{VIEWER}.state.point")
    assert abs(point[0] - (0.05 + 0.022 * 39)) < 0.02
    settle(page)  # another repaint, for which nothing is missing
    wait_for_frame(page)
    assert page.evaluate("counts.sent") == counts["sent"]
    page.evaluate("() => (window.fetch = window.plainFetch)")


def test_remote_answers_are_not_requested_twice(page):
    look(page, 0.2, 0.2)
    settle(page)
    first = atlas_pixels(page)
    look(page, 0.7, 0.7)
    settle(page)
    assert (atlas_pixels(page) != first).mean() > 0.1
    before = len(page.map_requests)
    look(page, 0.2, 0.2)
    settle(page)
    assert np.array_equal(atlas_pixels(page), first) and len(page.map_requests) == before


def test_remote_trace_exports_everything_but_html(page, trace):
    view(page, pins=[BOX, PIXEL], active=0, head=1)
    now = View.from_json(page.evaluate(f"{VIEWER}.viewNow()"))
    maps = np.load(io.BytesIO(export_file(page, "Displayed maps (NumPy)")[1]))
    for name, values in rows_on_show(trace, now).items():
        if values.dtype == np.float32:
            assert np.abs(maps[name] - values).max() <= 1e-3 * max(1, values.max()), name
    assert export_file(page, "Picture and atlas (PNG), 1 times the size")[1].startswith(b"\x89PNG")
    assert export_file(page, "Atlas (SVG)")[1].startswith(b"<svg")
    assert export_file(page, "the map over the picture, step by step")[1].startswith(b"GIF8")
    name, content = export_file(page, "Full recording (Q, K), Q and K")
    assert name.endswith(".safetensors") and len(content) > 4_000_000
    page.get_by_role("button", name="one HTML file").click()
    page.locator(".pg-news", has_text="too large for one HTML file").wait_for()
    page.keyboard.press("Escape")
    view(page, pins=[], head=-1)


def test_remote_trace_plots_follow_pin(page, trace):
    view(page, pins=[PIXEL], active=0, step=trace.steps[2])
    page.locator("#plots .pg-figure[data-key=map] .heatmaplayer").wait_for(timeout=60_000)
    layer = page.evaluate(f"{VIEWER}.viewNow().layer")
    expected = Maps(trace).of_view(View((0.3, 0.7), layer, trace.steps[2]))
    plotted = "document.querySelector('#plots [data-key=map]').data[0].z.map((row) => Array.from(row))"
    page.wait_for_function(f"Math.abs({plotted}[7][7] - {expected[7, 7]}) <= 1e-3 * {max(1, expected.max())}")
    z = np.array(page.evaluate(plotted))
    assert np.abs(z - expected).max() <= 1e-3 * max(1, expected.max())
    view(page, pins=[])


def test_remote_trace_outside_served_folders_shows_message(page, trace):
    page.evaluate(
        f"""() => {{
          const {{ buffer, remote }} = {VIEWER}.trace;
          {VIEWER}.open(buffer, {{}}, {{ ...remote, path: "/etc/passwd" }});
        }}"""
    )
    page.locator(f"{VIEWER_ROOT} > .pg-message", has_text="This page does not serve that file.").wait_for()
