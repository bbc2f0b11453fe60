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
    """The page on this tab, without motion: scenes stand at their ends at once."""
    page: Any = open_page(chromium, url, reduced_motion="reduce")
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


def show_scene(page, number: int) -> None:
    """Go to a scene and wait until it stands still at its end."""
    page.locator(".pl-dot").nth(number).click()
    page.wait_for_function(f"() => {LESSON_PAGE}.stage.scene === {number} && {LESSON_PAGE}.stage.t === 1")
    wait_for_frame(page)


def narration(page, number: int) -> str:
    """What a scene says."""
    show_scene(page, number)
    return page.locator(".pl-narration").inner_text()


def open_card(page, name: str):
    """Unfold one of the cards below the story: "around", "terms", "cross" or "nine"."""
    card = page.locator(f".pl-card.pl-{name}")
    if card.get_attribute("open") is None:
        card.locator("summary").click()
        wait_for_frame(page)
    return card


def open_choices(page) -> None:
    """Unfold the menus of network, picture, layer and step."""
    if not page.get_by_role("combobox", name="Layer").is_visible():
        page.locator("#choices > button").click()


def part(page, number: int = 0) -> dict:
    """The box of a part of the figure that can be pointed at, in pixels of the window."""
    figure = page.locator(".pl-canvas").bounding_box()
    box = page.evaluate(f"{LESSON_PAGE}.stage.parts[{number}]")
    return {**box, "x": figure["x"] + box["x"], "y": figure["y"] + box["y"]}


def point_at(page, row: float, column: float, number: int = 0, *, click: bool = False) -> None:
    """Point at a place of a part of the figure, in fractions of its sides, or click it."""
    box = part(page, number)
    act = page.mouse.click if click else page.mouse.move
    act(box["x"] + column * box["width"], box["y"] + row * box["height"])
    wait_for_frame(page)


def as_power(value: float) -> str:
    """A small number as the lesson writes it: 4×10⁻⁷."""
    digits, exponent = f"{value:.0e}".split("e")
    return f"{digits}×10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


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
