"""Takes the pictures in assets/screenshots from the real page (`make screenshots`)."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

from tests.support.chromium import ROOT, VIEWER, browser, open_page, server
from viz.lesson.papers import PAPERS, available_networks

FOLDER = ROOT / "assets" / "screenshots"
SIZES = {1440: 900, 768: 1024, 390: 844}


def main(folder: Path = FOLDER) -> None:
    """`explore_{width}_{scheme}.png`, the page as it opens (narrow ones whole); `lesson_…`, the whole lesson; and
    `panels/{number}_{scheme}.png`, each of its panels, on a wide page."""
    folder.mkdir(parents=True, exist_ok=True)
    with server() as (url, _), browser() as chromium:
        for scheme in ("light", "dark"):
            for width, height in SIZES.items():
                page = open_page(chromium, url, width=width, height=height, scheme=scheme)
                page.wait_for_function(f"{VIEWER}.frames.length > 0")
                page.locator("#shelf").scroll_into_view_if_needed()  # its thumbnails are not fetched before
                page.wait_for_timeout(500)
                page.evaluate("scrollTo(0, 0)")
                path = folder / f"explore_{width}_{scheme}.png"
                page.screenshot(path=path, full_page=width < 1000)
                page.get_by_role("tab", name="How it works").click()
                page.wait_for_selector("#lesson .pl-main")
                page.get_by_role("button", name="Shuffle the cells").click()
                page.wait_for_timeout(500)
                page.screenshot(path=folder / f"lesson_{width}_{scheme}.png", full_page=True)
                if width == max(SIZES):
                    take_panels(page, folder / "panels", scheme)
                page.close()
                print(path)


def take_panels(page: Page, folder: Path, scheme: str) -> None:
    """A picture of each panel; those that only some layers have, in a network that has them."""
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
    page.wait_for_timeout(500)
    for card, name in ((terms, "scores"), (cards.filter(has_text="Every head, layer by layer"), "heads")):
        card.screenshot(path=folder / f"classifier_{name}_{scheme}.png")


if __name__ == "__main__":
    main()
