"""The tab *How it works* in Chromium: opening it, and reading its numbers and sentences."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page

from tests.support.chromium import open_page, wait_for_frame

LESSON_PAGE = "document.querySelector('.pg-lesson').lesson"


@contextmanager
def open_lesson_tab(chromium: Browser, url: str) -> Iterator[Page]:
    page: Any = open_page(chromium, url)
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    yield page
    complaints = page.complaints
    page.close()
    assert complaints == []


def panels(page) -> dict:
    """The numbers of all panels, as lists."""
    as_lists = "(_, value) => ArrayBuffer.isView(value) ? [...value] : value"
    return json.loads(page.evaluate(f"JSON.stringify({LESSON_PAGE}.panels(), {as_lists})"))


def state(page) -> dict:
    return page.evaluate(f"() => ({{...{LESSON_PAGE}.state}})")


def sentence(page, number: int) -> str:
    return page.locator(".pl-card").nth(number - 1).locator(".pl-sentence").first.inner_text()


def open_lesson(page, file, point: list[float], head: int) -> None:
    """Show a lesson file that the server does not know."""
    page.evaluate(
        f"""([text, view]) => {{
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            {LESSON_PAGE}.open(bytes.buffer, view);
        }}""",
        [base64.b64encode(file.read_bytes()).decode(), {"point": point, "head": head}],
    )
    wait_for_frame(page)
