"""Take the screenshots in assets/screenshots (`make screenshots`)."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

from tests.support.chromium import ROOT, browser, open_page, server, wait_for_frame, wait_until_idle
from tests.support.lessons import LESSON_PAGE
from viz.lesson.papers import PAPERS, available_networks

FOLDER = ROOT / "assets" / "screenshots"
SIZES = {1440: 900, 768: 1024, 390: 844}


def main(folder: Path = FOLDER) -> None:
    """Write `explore_{width}_{scheme}.png`, the page as it opens (in full length where it is narrow),
    `lesson_{width}_{scheme}.png`, the whole lesson, and `panels/{number}_{scheme}.png`, its panels on a wide page."""
    folder.mkdir(parents=True, exist_ok=True)
    with server() as (url, _), browser() as chromium:
        for scheme in ("light", "dark"):
            for width, height in SIZES.items():
                page = open_page(chromium, url, width=width, height=height, scheme=scheme)
                page.locator("#shelf").scroll_into_view_if_needed()  # only then are its thumbnails fetched
                wait_until_idle(page)
                page.evaluate("scrollTo(0, 0)")
                wait_for_frame(page)
                path = folder / f"explore_{width}_{scheme}.png"
                page.screenshot(path=path, full_page=width < 1000)
                page.get_by_role("tab", name="How it works").click()
                page.wait_for_selector("#lesson .pl-main")
                page.get_by_role("button", name="Shuffle the cells").click()
                page.locator("#lesson .pl-figures canvas").last.wait_for()
                wait_for_frame(page)
                page.screenshot(path=folder / f"lesson_{width}_{scheme}.png", full_page=True)
                if width == max(SIZES):
                    take_panels(page, folder / "panels", scheme)
                page.close()
                print(path)


def take_panels(page: Page, folder: Path, scheme: str) -> None:
    """Take each panel that is visible, then those of a network that has the panels this one lacks."""
    folder.mkdir(exist_ok=True)
    cards = page.locator("#lesson .pl-card")
    for index in range(cards.count()):
        if cards.nth(index).is_visible():
            cards.nth(index).screenshot(path=folder / f"{index + 1:02d}_{scheme}.png")
    if "critters-classifier" not in available_networks():
        return
    page.get_by_role("combobox", name="Network").click()
    page.get_by_role("option", name=PAPERS["classifier"]).click()
    terms = cards.filter(has_text="Splitting the scores")
    terms.wait_for()
    page.wait_for_function(f"() => {LESSON_PAGE}.panels().terms")
    wait_for_frame(page)
    for card, name in ((terms, "scores"), (cards.filter(has_text="Every head, layer by layer"), "heads")):
        card.screenshot(path=folder / f"classifier_{name}_{scheme}.png")


if __name__ == "__main__":
    main()
