"""A real Chromium and a real server, for the browser tests, the benchmark and the screenshots."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

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
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in process.stdout:
            if found := re.search(r"http://\S+", line):
                yield found.group().rstrip("/"), time.perf_counter() - began
                return
        raise RuntimeError(f"app.py ended with {process.wait()} before it served a page")
    finally:
        process.terminate()
        process.communicate()


def open_page(chromium: Browser, url: str, *, width: int = 1440, height: int = 900, scheme: str = "light") -> Page:
    """The page, with its first map on it. What its console says collects in `page.complaints`."""
    page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.complaints = []
    page.on("console", lambda said: said.type in ("error", "warning") and page.complaints.append(said.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(url)
    page.wait_for_selector(f"{ROOT_OF_VIEWER} .pg-main:not([hidden])")
    return page


def look(page: Page, row: float, column: float) -> None:
    """Move the mouse to a place of the picture, in 0..1, and wait for the repaint."""
    box = page.locator(".pg-picture").bounding_box()
    page.mouse.move(box["x"] + column * box["width"], box["y"] + row * box["height"])
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
