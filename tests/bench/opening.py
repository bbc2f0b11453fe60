"""How long the server takes to start, and a page to show its first map."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page

from tests.bench.figures import Value
from tests.bench.timing import seconds
from tests.support.chromium import ROOT, server

SLOW = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 0.75e6 / 8}
EMPTY = """
import gradio
with gradio.Blocks(analytics_enabled=False) as page:
    gradio.HTML("<p id=there>nothing</p>")
page.launch(ssr_mode=False)
"""


def starting(rounds: int) -> Iterator[tuple[str, Value]]:
    """Figures of the start: `import gradio` and `python app.py` in turns."""
    pairs = [(seconds(import_gradio), until_served()) for _ in range(rounds)]
    yield "import_gradio_s", statistics.median(imported for imported, _ in pairs)
    yield "served_s", statistics.median(served for _, served in pairs)
    yield "served_over_allowed", statistics.median(served / (1.3 * imported + 1) for imported, served in pairs)


def import_gradio() -> None:
    subprocess.run([sys.executable, "-c", "import gradio"], cwd=ROOT, check=True)


def until_served() -> float:
    """Seconds from `python app.py` to the last byte of its page."""
    began = time.perf_counter()
    with server() as (url, _), urllib.request.urlopen(url, timeout=60) as response:
        response.read()
        return time.perf_counter() - began


@contextmanager
def empty_server() -> Iterator[str]:
    """A Gradio page with one line of text; yields its address."""
    with server(start=("-c", EMPTY)) as (url, _):
        yield url


def first_maps(chromium: Browser, url: str, *, slow: bool) -> Iterator[tuple[str, Value]]:
    """Figures of opening a warm server's page beside an empty one, in turns.

    Args:
        slow: also over 1.6 Mbit/s with 150 ms.
    """
    with empty_server() as empty:
        pairs = [(opening(chromium, empty, show_text), opening(chromium, url, show_map)) for _ in range(4)][1:]
    yield "empty_page_s", statistics.median(nothing for nothing, _ in pairs)
    yield "first_map_s", statistics.median(shown for _, shown in pairs)
    yield "first_map_over_allowed", statistics.median(shown / (1.2 * nothing + 0.5) for nothing, shown in pairs)
    if slow:
        yield "first_map_slow_s", opening(chromium, url, show_map, SLOW)


def show_text(page: Page) -> None:
    page.wait_for_selector("#there")


def show_map(page: Page) -> None:
    page.wait_for_function("document.querySelector('#viewer .pixelgaze')?.viewer?.map")


def opening(chromium: Browser, url: str, wait: Callable[[Page], None], network: dict | None = None) -> float:
    """Seconds from opening a page, with nothing cached, until `wait` returns.

    Args:
        network: conditions as `Network.emulateNetworkConditions` takes them.
    """
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(180_000)
    if network is not None:
        devtools = context.new_cdp_session(page)
        devtools.send("Network.enable")
        devtools.send("Network.emulateNetworkConditions", network)

    def open_and_wait() -> None:
        page.goto(url, wait_until="commit")
        wait(page)

    spent = seconds(open_and_wait)
    context.close()
    return spent
