"""The plots below the viewer, in Chromium: they follow the pin and mark the step on screen."""

import csv
import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.chromium import VIEWER, look, open_page, open_trace_file, sent_events, serious_violations
from viz import Trace
from viz.curves import measure_over_steps
from viz.labels import layer_label
from viz.page.gallery import exhibits
from viz.query import Maps
from viz.view import Box, Pixel

EXHIBIT = exhibits()[0]
PIN = {"kind": "pixel", "point": [0.55, 0.34]}
BOX = {"kind": "box", "from": [0.5, 0.6], "to": [0.65, 0.8]}


@pytest.fixture
def page(chromium, url):
    page = open_page(chromium, url, height=1000)
    page.scripts = []
    page.on("request", lambda request: "plotly" in request.url and page.scripts.append(request.url))
    page.wait_for_function("document.querySelector('#viewer .pg-export') !== null")
    yield page
    complaints = page.complaints
    page.close()
    assert complaints == []


def pin(page, *pins, active=0) -> None:
    page.evaluate(f"(pins) => {VIEWER}.view({{ pins, active: {active} }})", list(pins))


def lines(page, key: str) -> dict[str, list[float]]:
    """{name: values} of a figure's lines; empty if the figure is not shown."""
    return page.evaluate(
        """(key) => {
        const figure = document.querySelector(`.pg-plot:not([hidden]) .pg-figure[data-key="${key}"]`);
        return Object.fromEntries(((figure && figure.data) || []).map(({ meta, y }) => [meta, Array.from(y)]));
        }""",
        key,
    )


def wait_for_lines(page, key: str, name: str) -> None:
    page.wait_for_function(
        """([key, name]) => {
        const figure = document.querySelector(`.pg-plot:not([hidden]) .pg-figure[data-key="${key}"]`);
        return figure && figure.data && figure.data.some(({ meta }) => meta === name);
        }""",
        arg=[key, name],
        timeout=90_000,
    )


LAST = layer_label(EXHIBIT.layer)
WEIGHT = f"document.querySelector('.pg-figure[data-key=weight]').data.find(({{ meta }}) => meta === '{LAST}').y[0]"
MARK = "document.querySelector('.pg-figure[data-key=entropy]').layout.shapes[0].x0"


def test_plots_load_no_script_before_first_pin(page):
    look(page, 0.2, 0.2)
    look(page, 0.6, 0.4)
    assert page.get_by_text("Pin a pixel, rectangle, region or word to plot how").is_visible()
    assert page.scripts == [] and page.locator(".pg-figure").count() == 0


def test_plots_follow_pin_and_equal_python(page):
    trace = Trace.load(EXHIBIT.trace)
    pin(page, PIN)
    wait_for_lines(page, "entropy", LAST)
    assert lines(page, "weight") == {} and page.get_by_text("Also pin a rectangle or region").is_visible()
    pin(page, PIN, BOX)
    wait_for_lines(page, "weight", LAST)
    expected = measure_over_steps(
        Maps(trace), Pixel(tuple(PIN["point"])), head=EXHIBIT.head, region=Box(tuple(BOX["from"]), tuple(BOX["to"]))
    )
    entropy, unit = expected.comparable_entropy
    assert page.locator(".pg-figure[data-key=entropy] .ytitle").text_content() == unit == "share of log₂(keys)"
    for key, values in (("entropy", entropy), ("distance", expected.distance), ("weight", expected.weight)):
        curves = lines(page, key)
        assert list(curves) == list(values)
        assert all(np.allclose(curves[name], values[name], rtol=1e-3, atol=1e-4) for name in values), key
    before = lines(page, "entropy")
    requests = sent_events(page, "lines")
    look(page, 0.8, 0.8)
    assert lines(page, "entropy") == before
    page.get_by_role("button", name="by head").click()
    wait_for_lines(page, "entropy", "head 3")
    assert list(lines(page, "entropy")) == ["mean", "head 0", "head 1", "head 2", "head 3"]
    assert [request["lines"] for request in requests] == ["heads"]  # the mouse requested nothing
    page.keyboard.press("Escape")


def test_plots_of_column_show_its_own_measures(page):
    pin(page, PIN, BOX)
    wait_for_lines(page, "weight", LAST)
    page.locator("#viewer .pg-picture").focus()
    page.keyboard.press("r")
    wait_for_lines(page, "received", LAST)
    place = {"mode": "column", "head": EXHIBIT.head, "region": Box(tuple(BOX["from"]), tuple(BOX["to"]))}
    expected = measure_over_steps(Maps(Trace.load(EXHIBIT.trace)), Pixel(tuple(PIN["point"])), **place)
    page.wait_for_function(f"Math.abs({WEIGHT} - {expected.weight[LAST][0]}) < 1e-3")
    assert lines(page, "entropy") == {}
    for key, values in (("received", expected.received), ("distance", expected.distance), ("weight", expected.weight)):
        assert all(np.allclose(lines(page, key)[name], values[name], rtol=1e-3, atol=1e-4) for name in values), key
    assert page.get_by_text("so they have no entropy").is_visible()
    keys = page.locator(".pg-plot:not([hidden]) .pg-figure").evaluate_all("(all) => all.map((one) => one.dataset.key)")
    assert keys == ["received", "distance", "weight", "map"]
    page.keyboard.press("r")
    wait_for_lines(page, "entropy", LAST)


def test_plots_are_redrawn_for_another_trace_of_same_recipe(page, tmp_path):
    pin(page, PIN)
    wait_for_lines(page, "entropy", LAST)
    trace = Trace.load(EXHIBIT.trace)
    names = [layer.name for layer in trace if layer.kind == "self"][:2]
    open_trace_file(page, trace.select(layers=names).save(tmp_path / "two.safetensors"))
    page.wait_for_function("document.querySelector('.pg-figure[data-key=entropy]').data.length === 2", timeout=60_000)
    assert list(lines(page, "entropy")) == [layer_label(name) for name in names]


def test_plots_step_line_moves_at_once(page):
    pin(page, PIN)
    wait_for_lines(page, "entropy", LAST)
    page.wait_for_function(f"{MARK} === {EXHIBIT.step}")
    marked_step = page.evaluate(f"() => {{ {VIEWER}.view({{ step: {EXHIBIT.steps[1]} }}); return {MARK}; }}")
    assert marked_step == EXHIBIT.steps[1] != EXHIBIT.step


def test_plots_map_equals_viewer_map(page):
    pin(page, PIN)
    wait_for_lines(page, "entropy", LAST)
    plotted = "document.querySelector('.pg-figure[data-key=map]').data[0].z.map((row) => Array.from(row))"
    for step, head in ((16, -1), (24, 1)):
        page.evaluate(f"{VIEWER}.view({{ step: {step}, head: {head} }})")
        index = Trace.load(EXHIBIT.trace).steps.index(step)
        values = page.evaluate(f"Array.from({VIEWER}.mapOf({VIEWER}.trace.layers[9], {index}, {head}))")
        page.wait_for_function(f"Math.abs({plotted}[17][9] - {values[17 * 32 + 9]}) < 1e-3")
        of = "Pin 1, row 17, column 10; up 2 · attention 1, " + ("mean of 4 heads" if head < 0 else f"head {head}")
        page.get_by_text(f"{of}, step {step}, t = ").wait_for()
        assert np.allclose(np.ravel(page.evaluate(plotted)), values, atol=1e-3)


def test_plots_download_as_png_svg_and_csv(page, tmp_path):
    pin(page, PIN)
    wait_for_lines(page, "entropy", LAST)
    files = {}
    for kind in ("PNG", "SVG", "CSV"):
        with page.expect_download(timeout=60_000) as download:
            page.get_by_role("button", name=f"entropy, {kind}").click()
        name = f"pixelgaze-entropy-pin-1-row-17-column-10-head-{EXHIBIT.head}.{kind.lower()}"
        assert download.value.suggested_filename == name
        files[kind] = Path(download.value.path()).read_bytes()
    assert Image.open(io.BytesIO(files["PNG"])).size == (1800, 1120)
    text = "".join(ElementTree.fromstring(files["SVG"]).itertext())
    about = f"pin 1, row 17, column 10; head {EXHIBIT.head}"
    assert LAST in text and about.capitalize() in text
    header, *rows = csv.reader(io.StringIO(files["CSV"].decode()))
    curves = lines(page, "entropy")
    trace = Trace.load(EXHIBIT.trace)
    assert header == ["step", "timestep", "pin", "head", *curves]
    assert {int(row[0]): float(row[1]) for row in rows} == trace.timesteps
    assert {"; ".join(row[2:4]) for row in rows} == {about}
    assert np.allclose(np.array([row[4:] for row in rows], float).T, list(curves.values()))


@pytest.mark.parametrize("width", [1440, 768, 390])
def test_plots_fit_page_and_have_no_serious_axe_violations(chromium, url, width):
    page = open_page(chromium, url, width=width)
    page.wait_for_function("document.querySelector('#viewer .pg-export') !== null")
    pin(page, PIN, BOX)
    wait_for_lines(page, "weight", LAST)
    page.wait_for_function("document.querySelectorAll('.pg-figure .main-svg').length >= 8")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Export").first.click()
    assert serious_violations(page) == []
    for figure in page.locator(".pg-figure").all():
        inside, drawn = figure.bounding_box(), figure.locator(".main-svg").first.bounding_box()
        assert drawn["width"] <= inside["width"] + 1
    page.close()


def test_plots_show_latest_of_many_pins(page):
    pins = [PIN, {"kind": "pixel", "point": [0.1, 0.1]}, {"kind": "pixel", "point": [0.9, 0.5]}]
    for count in (1, 2, 3):  # faster than the server answers
        pin(page, *pins[:count], active=count - 1)
    page.locator(".pg-pinned [role=status]", has_text="Pin 3: what it looks at").wait_for(timeout=90_000)
    wait_for_lines(page, "entropy", LAST)
    expected = measure_over_steps(
        Maps(Trace.load(EXHIBIT.trace)), Pixel((0.9, 0.5)), head=EXHIBIT.head
    ).comparable_entropy[0][LAST]
    page.wait_for_function(
        f"Math.abs(document.querySelector('.pg-figure[data-key=entropy]').data.at(-1).y[0] - {expected[0]}) < 1e-3"
    )
