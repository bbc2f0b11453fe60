"""Take the screenshots in assets/screenshots (`make screenshots`)."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.browser.screenshots_pointing import film_pointing
from tests.support.chromium import ROOT, browser, open_page, server, wait_for_frame, wait_until_idle
from tests.support.lessons import LESSON_PAGE, open_card, open_choices, show_scene
from viz.lesson.papers import PAPERS, available_networks
from viz.page.identity import SOCIAL_SIZE

FOLDER = ROOT / "assets" / "screenshots"
SOCIAL = ROOT / "assets" / "page" / "social.jpg"
SIZES = {1440: 900, 768: 1024, 390: 844}


def main(folder: Path = FOLDER) -> None:
    """Write the picture of a shared link and, into `folder`, `pointing.gif`, twenty seconds of pointing,
    `explore_{width}_{scheme}.png`, the page as it opens (in full length where it is narrow),
    `lesson_{width}_{scheme}.png`, the story's first scene, and `scenes/{number}_{scheme}.png`, all of them on a wide
    page, with the cards below."""
    folder.mkdir(parents=True, exist_ok=True)
    with server() as (url, _), browser() as chromium:
        take_social_picture(chromium, url)
        film_pointing(chromium, url, folder / "pointing.gif")
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
                show_scene(page, 0)
                page.screenshot(path=folder / f"lesson_{width}_{scheme}.png")
                if width == max(SIZES):
                    take_scenes(page, folder / "scenes", scheme)
                page.close()
                print(path)


def take_social_picture(chromium: Browser, url: str) -> None:
    """Write the picture of a shared link: the page as it opens on a screen of the same shape."""
    width, height = SOCIAL_SIZE
    page = open_page(chromium, url, width=1600, height=round(1600 * height / width), scheme="dark")
    wait_until_idle(page)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.resize(SOCIAL_SIZE, Image.Resampling.LANCZOS).save(SOCIAL, quality=85)
    page.close()


def take_scenes(page: Page, folder: Path, scheme: str) -> None:
    """Take each scene, then the cards below; that on score terms belongs to the attention-only classifier."""
    folder.mkdir(exist_ok=True)
    stage = page.locator("#lesson .pl-stage")
    for number in range(page.locator("#lesson .pl-dot").count()):
        show_scene(page, number)
        stage.screenshot(path=folder / f"{number}_{scheme}.png")
    for name in ("around", "nine"):
        open_card(page, name).screenshot(path=folder / f"{name}_{scheme}.png")
    if "critters-classifier" not in available_networks():
        return
    open_choices(page)
    page.get_by_role("combobox", name="Network").click()
    page.get_by_role("option", name=PAPERS["classifier"]).click()
    page.wait_for_function(f"() => {LESSON_PAGE}.lesson().position")
    open_card(page, "terms").screenshot(path=folder / f"terms_{scheme}.png")


if __name__ == "__main__":
    main()
