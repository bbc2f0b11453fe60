"""Takes the pictures in assets/screenshots from the real page (`make screenshots`)."""

from __future__ import annotations

from pathlib import Path

from tests.browser.chromium import ROOT, VIEWER, browser, open_page, server

FOLDER = ROOT / "assets" / "screenshots"
SIZES = {1440: 900, 768: 1024, 390: 844}


def main(folder: Path = FOLDER) -> None:
    """`explore_{width}_{scheme}.png`, the page as it opens (narrow ones whole); `lesson_…`, the whole lesson."""
    folder.mkdir(parents=True, exist_ok=True)
    with server() as (url, _), browser() as chromium:
        for scheme in ("light", "dark"):
            for width, height in SIZES.items():
                page = open_page(chromium, url, width=width, height=height, scheme=scheme)
                page.wait_for_function(f"{VIEWER}.frames.length > 0")
                page.wait_for_timeout(500)  # the gallery's thumbnails
                path = folder / f"explore_{width}_{scheme}.png"
                page.screenshot(path=path, full_page=width < 1000)
                page.get_by_role("tab", name="How it works").click()
                page.wait_for_selector("#lesson .pl-main")
                page.get_by_role("button", name="Shuffle the pixels").click()
                page.wait_for_timeout(500)
                page.screenshot(path=folder / f"lesson_{width}_{scheme}.png", full_page=True)
                page.close()
                print(path)


if __name__ == "__main__":
    main()
