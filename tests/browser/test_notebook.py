"""A trace in a notebook: the notebook is executed, and its output opened in Chromium with the network off."""

import json

import pytest

from tests.support.chromium import ROOT, VIEWER, VIEWER_ROOT, open_offline, wait_until
from viz import Trace
from viz.page.gallery import exhibits, first_trace
from viz.trace_header import read_description

nbformat = pytest.importorskip("nbformat", reason="nbclient is in requirements-dev.txt")
nbclient = pytest.importorskip("nbclient", reason="nbclient is in requirements-dev.txt")

EXHIBIT = exhibits()[0]
ATLAS = "document.querySelector('.pg-maps canvas').toDataURL()"
FRAME = "iframe[title^='PixelGaze']"


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> dict:
    """The data of the output of a cell that ends with a trace."""
    cells = ["from viz import Trace", f"Trace.load({str(first_trace())!r})"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    path = tmp_path_factory.mktemp("notebook") / "run.ipynb"
    nbformat.write(notebook, path)  # as it is saved, and opened again without a kernel
    (result,) = json.loads(path.read_text())["cells"][1]["outputs"]
    return result["data"]


@pytest.fixture
def page(chromium, output, tmp_path):
    """A page that shows the output in the width that JupyterLab gives it."""
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><body><div style='width: 1000px'>{''.join(output['text/html'])}</div></body>")
    page = open_offline(chromium, path, wait=False)
    page.frame_locator(FRAME).locator(".pg-main:not([hidden])").wait_for(timeout=60_000)
    yield page
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:", "blob:", "about:")) for url in page.requested_urls)
    page.context.close()


def test_trace_shows_the_viewer_in_the_output(page):
    frame = page.frames[1]
    shown = frame.evaluate(f"{VIEWER}.trace.recipe.caption")
    assert shown == EXHIBIT.caption == read_description(first_trace())["recipe"]["caption"]
    before = frame.evaluate(ATLAS)
    picture = frame.locator(f"{VIEWER_ROOT} .pg-picture").bounding_box()
    page.mouse.move(picture["x"] + 0.2 * picture["width"], picture["y"] + 0.8 * picture["height"])
    wait_until(frame, f"(before) => {ATLAS} !== before", before)
    assert frame.evaluate(f"{VIEWER}.viewNow().point") == pytest.approx([0.8, 0.2], abs=0.02)


def test_columns_are_computed_by_workers_in_the_frame(page):
    frame = page.frames[1]
    before = frame.evaluate(ATLAS)
    frame.evaluate(f"(view) => {VIEWER}.view(view)", {"point": [0.5, 0.3], "mode": "column"})
    frame.evaluate(f"{VIEWER}.whole()")
    assert frame.evaluate(ATLAS) != before


def test_frame_cannot_reach_the_notebook(page):
    frame = page.frames[1]
    assert frame.evaluate("origin") == "null"
    assert frame.evaluate("() => { try { return parent.document.title } catch (error) { return error.name } }") == (
        "SecurityError"
    )


def test_files_can_be_saved_from_the_frame(page):
    frame = page.frame_locator(FRAME)
    frame.get_by_role("button", name="Export").first.click()
    with page.expect_download(timeout=90_000) as download:
        frame.get_by_role("button", name="Q and K of every layer").click()
    assert Trace.load(download.value.path()).recipe["caption"] == EXHIBIT.caption


def test_the_viewer_can_fill_the_screen_from_its_frame(page):
    frame = page.frames[1]
    frame.locator(".pg-full").click()
    wait_until(frame, "Boolean(document.fullscreenElement)")
    frame.locator(".pg-full").click()
    wait_until(frame, "!document.fullscreenElement")
