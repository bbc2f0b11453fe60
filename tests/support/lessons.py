"""The tab *How it works*, opened in a real Chromium, and what it says."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page

from tests.support.chromium import open_page

PAGE = "document.querySelector('.pg-lesson').lesson"


@contextmanager
def opened(chromium: Browser, url: str) -> Iterator[Page]:
    page: Any = open_page(chromium, url)
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    yield page
    complaints = page.complaints
    page.close()
    assert complaints == []


def panels(page) -> dict:
    """The numbers on the page, as lists."""
    return json.loads(page.evaluate(f"JSON.stringify({PAGE}.panels(), (_, x) => ArrayBuffer.isView(x) ? [...x] : x)"))


def state(page) -> dict:
    return page.evaluate(f"() => ({{...{PAGE}.state}})")


def sentence(page, number: int) -> str:
    return page.locator(".pl-card").nth(number - 1).locator(".pl-sentence").first.inner_text()


def open_lesson(page, file, point: list[float], head: int) -> None:
    page.evaluate(
        f"""([text, view]) => {{
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            {PAGE}.open(bytes.buffer, view);
        }}""",
        [base64.b64encode(file.read_bytes()).decode(), {"point": point, "head": head}],
    )
    frame(page)


def frame(page) -> None:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
