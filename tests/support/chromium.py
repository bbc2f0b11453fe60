"""A real Chromium and a real server, for the browser tests, the benchmark and the screenshots."""

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
from playwright.sync_api import Browser, Page, Request, sync_playwright

ROOT = Path(__file__).parent.parent.parent
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# Where the viewer lives on the page; `viewer` is the object that createViewer returned.
ROOT_OF_VIEWER = "#viewer .pixelgaze"
VIEWER = f"document.querySelector('{ROOT_OF_VIEWER}').viewer"


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def server(*arguments: str) -> Iterator[tuple[str, float]]:
    """`python app.py`, as a user starts it; yields its address and the seconds until it said so."""
    began = time.perf_counter()
    command = [sys.executable, "-u", "app.py", *arguments]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            while not (found := re.search(r"http://\S+", _written(log))):
                if process.poll() is not None or time.perf_counter() - began > 120:
                    raise RuntimeError(f"app.py did not serve a page; it said:\n{_written(log)}")
                time.sleep(0.02)
            yield found.group().rstrip("/"), time.perf_counter() - began
        finally:
            process.terminate()
            process.wait()


def _written(log: IO[str]) -> str:
    """All of it, read without moving the place where the server writes."""
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
    """The page, with its first map on it. What its console says collects in `page.complaints`."""
    page: Any = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
    page.complaints = []
    page.on("console", lambda said: said.type in ("error", "warning") and page.complaints.append(said.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(url)
    page.wait_for_selector(f"{ROOT_OF_VIEWER} .pg-main:not([hidden])")
    return page


def sent_events(page: Page, name: str) -> list[dict]:
    """What components tell the server from now on: a list that grows, of the events whose data has a field `name`."""
    events: list[dict] = []

    def collect(request: Request) -> None:
        if "queue/join" in request.url:
            data = (request.post_data_json or {}).get("event_data")
            if isinstance(data, dict) and name in data:
                events.append(data)

    page.on("request", collect)
    return events


def look(page: Page, row: float, column: float) -> None:
    """Move the mouse to a place of the picture, in 0..1, and wait for the repaint."""
    box = page.locator(f"{ROOT_OF_VIEWER} .pg-picture").bounding_box()
    assert box, "the picture is not visible"
    page.mouse.move(box["x"] + column * box["width"], box["y"] + row * box["height"])
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def taken(page: Page, label: str) -> tuple[str, bytes]:
    """What a button of the "Export" menu gives: the file's name and its bytes."""
    if not page.locator(".pg-menu").first.is_visible():
        page.get_by_role("button", name="Export").first.click()
    with page.expect_download(timeout=90_000) as download:
        page.get_by_role("button", name=label).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def settle(page: Page) -> None:
    """Wait until all that is on screen is computed and painted."""
    page.evaluate(f"async () => {{ await {VIEWER}.whole() }}")


def view(page: Page, **changes) -> None:
    """Change what is looked at, and wait until it is painted."""
    page.evaluate(f"(view) => {VIEWER}.view(view)", changes)
    settle(page)


def state(page: Page) -> dict:
    return page.evaluate(f"() => ({{...{VIEWER}.state}})")


def atlas_pixels(page: Page) -> np.ndarray:
    return pixels_of(page, ".pg-maps canvas")


def pixels_of(page: Page, selector: str) -> np.ndarray:
    """(h, w, 3) of a canvas, whatever lies over it."""
    url = page.locator(selector).evaluate("(canvas) => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


def open_alone(chromium: Browser, path: Path) -> Page:
    """The one HTML file, opened from disk with the network off. What it requests collects in `page.asked`."""
    page: Any = chromium.new_context(viewport={"width": 1440, "height": 900}, offline=True).new_page()
    page.complaints, page.asked = [], []
    page.on("console", lambda said: said.type in ("error", "warning") and page.complaints.append(said.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri(), timeout=120_000)
    page.wait_for_selector(f"{ROOT_OF_VIEWER} .pg-main:not([hidden])", timeout=60_000)
    return page


def drop(page: Page, path: Path) -> None:
    """Open a saved trace through the page's file chooser."""
    page.locator("#export input[type=file]").wait_for(state="attached")
    page.wait_for_function("document.querySelector('#viewer .pg-export') !== null")
    page.get_by_role("button", name="Export").first.click()
    page.get_by_role("button", name="a safetensors file").wait_for()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="a safetensors file").click()
    chooser.value.set_files(path)


def serious(page: Page) -> list[str]:
    """What axe finds serious or critical on the page, a line for each place."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
