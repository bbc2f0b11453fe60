"""Chromium and the page's server, for the browser tests, the benchmark and the screenshots."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Frame, Page, Request, sync_playwright

ROOT = Path(__file__).parent.parent.parent
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# The viewer's element on the page, and the Viewer object (viz/web/viewer/viewer.js) it holds.
VIEWER_ROOT = "#viewer .pixelgaze"
VIEWER = f"document.querySelector('{VIEWER_ROOT}').viewer"


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def server(
    *arguments: str, start: tuple[str, ...] = ("app.py",), own_store: bool = False
) -> Iterator[tuple[str, float]]:
    """Run `python app.py`, or what `start` names instead; yields its address and the seconds until it printed it.

    With `own_store` no other test's run of the same recipe is found.
    Each has its own folder of uploads: Gradio names them by content and deletes them when a server ends. The gallery is
    not followed ahead of time, which would keep both cores busy while the page is tested.
    """
    began = time.perf_counter()
    command = [sys.executable, "-u", *start, *arguments, "--on-demand"]
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryDirectory() as uploads:
        environment = {"PIXELGAZE_CACHE": uploads} | os.environ | {"GRADIO_TEMP_DIR": uploads}
        if own_store:
            environment["PIXELGAZE_CACHE"] = uploads
        if "PYTEST_XDIST_WORKER" in os.environ:
            environment["OMP_NUM_THREADS"] = "1"  # the other worker's server has the other core
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            while not (address := re.search(r"http://\S+", _read_log(log))):
                if process.poll() is not None or time.perf_counter() - began > 120:
                    raise RuntimeError(f"app.py did not serve a page; its output:\n{_read_log(log)}")
                time.sleep(0.02)
            yield address.group().rstrip("/"), time.perf_counter() - began
        finally:
            process.terminate()
            process.wait()


def _read_log(log: IO[str]) -> str:
    """The whole log, read without moving the position at which the server writes."""
    return os.pread(log.fileno(), 1_000_000, 0).decode()


def open_page(
    chromium: Browser,
    url: str,
    *,
    width: int = 1440,
    height: int = 900,
    scheme: Literal["light", "dark"] = "light",
    **options,
) -> Page:
    """Open the page and wait until a trace has arrived whole, the first or that of a link.

    Console warnings and errors collect in `page.complaints`.
    """
    page: Any = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
    _collect_complaints(page)
    # Not the first visit, at which the page points by itself. A frame may not have storage.
    page.add_init_script("try { localStorage.setItem('pixelgaze-taught', '1') } catch {}")
    page.goto(url)
    page.wait_for_selector(f"{VIEWER_ROOT} .pg-main:not([hidden])")
    page.wait_for_function(f"{VIEWER}.trace && !{VIEWER}.trace.arriving")  # arrived() would reject when a link's opens
    return page


def _collect_complaints(page: Any) -> None:
    page.complaints = []
    page.on("console", lambda entry: entry.type in ("error", "warning") and page.complaints.append(entry.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))


def reload(page: Any, url: str | None = None) -> None:
    """Reload the page, or go to another address.

    Of the requests that this cuts off Gradio complains in the console; that is forgotten, and nothing else may be said.
    """
    before = len(page.complaints)
    if url is None:
        page.reload()
    else:
        page.goto(url)
    cut_off = page.complaints[before:]
    assert all("AbortError" in words or "Connection errored out" in words for words in cut_off), cut_off
    del page.complaints[before:]


def sent_events(page: Page, name: str) -> list[dict]:
    """A list that grows by the data of every event sent to the server from now on that has a field `name`."""
    events: list[dict] = []

    def collect(request: Request) -> None:
        if "queue/join" in request.url:
            data = (request.post_data_json or {}).get("event_data")
            if isinstance(data, dict) and name in data:
                events.append(data)

    page.on("request", collect)
    return events


def open_more(page: Page) -> None:
    """Unfold the fields that are rarely changed: steps, guidance, and both halves of it."""
    if not page.locator("#steps input").is_visible():
        page.locator("#more > button").click()
        page.locator("#steps input").wait_for()
        wait_for_frame(page)  # they are made only now, and take their values after they are there


def fill_field(page: Page, name: str, text: str) -> None:
    """Fill in one of the folded fields, such as "steps"."""
    open_more(page)
    page.locator(f"#{name} input").fill(text)
    wait_for_frame(page)


def look(page: Page, row: float, column: float) -> None:
    """Move the mouse to a point of the picture, given as fractions in [0, 1], and wait for the repaint."""
    box = page.locator(f"{VIEWER_ROOT} .pg-picture").bounding_box()
    assert box, "the picture is not visible"
    page.mouse.move(box["x"] + column * box["width"], box["y"] + row * box["height"])
    wait_for_frame(page)


def wait_until(page: Page | Frame, condition: str, argument: object = None, *, seconds: float = 30) -> None:
    """Wait until a JavaScript expression is true, or a function of `argument`.

    It is evaluated from outside, time and again. Page.wait_for_function does so by `eval` inside of the page, which the
    content security policy of a saved HTML file forbids; it works there only if the condition holds from the start.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(condition, argument):
        assert time.monotonic() < end, f"Not true after {seconds} s: {condition}"
        time.sleep(0.02)


def wait_for_frame(page: Page) -> None:
    """Wait until what is due has been painted: two animation frames."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def export_file(page: Page, label: str) -> tuple[str, bytes]:
    """The name and the bytes of the file that a button of the Export menu downloads."""
    if not page.locator(".pg-menu").first.is_visible():
        page.get_by_role("button", name="Export").first.click()
    with page.expect_download(timeout=90_000) as download:
        page.get_by_role("button", name=label).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def settle(page: Page) -> None:
    """Wait until everything on screen is computed and painted."""
    page.evaluate(f"async () => {{ await {VIEWER}.whole() }}")


def wait_until_idle(page: Page) -> None:
    """Wait until the page has fetched its thumbnails and fonts, painted every map and has nothing left to do."""
    page.wait_for_selector(f"{VIEWER_ROOT} .pg-export", state="attached")  # the last part of the viewer
    page.wait_for_function(
        """() => {
        const thumbnails = [...document.querySelectorAll("#shelf img")];
        return thumbnails.length && thumbnails.every((image) => image.complete && image.naturalWidth);
        }"""
    )
    settle(page)
    page.evaluate("async () => { await document.fonts.ready; await new Promise((done) => requestIdleCallback(done)) }")


def view(page: Page, **changes) -> None:
    """Change the view, and wait until it is painted."""
    page.evaluate(f"(view) => {VIEWER}.view(view)", changes)
    settle(page)


def state(page: Page) -> dict:
    return page.evaluate(f"() => ({{...{VIEWER}.state}})")


def atlas_pixels(page: Page) -> np.ndarray:
    return pixels_of(page, ".pg-maps canvas")


def pixels_of(page: Page, selector: str) -> np.ndarray:
    """(h, w, 3): the colours of a canvas, without what lies over it."""
    url = page.locator(selector).evaluate("(canvas) => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


def open_offline(chromium: Browser, path: Path, *, wait: bool = True) -> Page:
    """Open an HTML file from disk with the network off, and wait for its viewer.

    The URLs it requests collect in `page.requested_urls`.
    """
    page: Any = chromium.new_context(viewport={"width": 1440, "height": 900}, offline=True).new_page()
    _collect_complaints(page)
    page.requested_urls = []
    page.on("request", lambda request: page.requested_urls.append(request.url))
    page.goto(path.as_uri(), timeout=120_000)
    if wait:
        page.wait_for_selector(f"{VIEWER_ROOT} .pg-main:not([hidden])", timeout=60_000)
    return page


def open_trace_file(page: Page, path: Path) -> None:
    """Open a saved trace with the Export menu's file chooser."""
    page.locator("#export input[type=file]").wait_for(state="attached")
    page.wait_for_function("document.querySelector('#viewer .pg-export') !== null")
    page.get_by_role("button", name="Export").first.click()
    page.get_by_role("button", name="a safetensors file").wait_for()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="a safetensors file").click()
    chooser.value.set_files(path)


def serious_violations(page: Page) -> list[str]:
    """The serious and critical accessibility violations that axe reports, one line for each element."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
