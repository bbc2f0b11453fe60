"""The animation at the top of the README: twenty seconds of pointing, as a GIF of at most 4 MB."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, FloatRect, Locator, Page

from tests.support.chromium import VIEWER_ROOT, open_page, settle, view, wait_for_frame, wait_until_idle
from viz import colors

SCREEN = 1360, 860
WIDTH = 690  # of the animation
RATE = 8  # frames a second
COLORS = 96
MOST_BYTES = 4_000_000
# Places in the first exhibit's picture: [row, column] in 0..1.
LEFT_EYE, RIGHT_EYE, HORN, MOUTH = (0.52, 0.38), (0.52, 0.645), (0.3, 0.59), (0.71, 0.5)

Place = tuple[float, float]


class Film:
    """Frames of a page on which a cursor moves, which Chromium does not draw itself."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[Image.Image] = []
        self.at: Place = (0.0, 0.0)  # x, y on the screen
        self.part = seen(page)
        page.evaluate(
            f"""() => {{
            const cursor = document.createElement("div");
            cursor.className = "pg-ghost";
            cursor.id = "film-cursor";
            document.querySelector("{VIEWER_ROOT}").append(cursor);
            }}"""
        )

    def shoot(self) -> None:
        settle(self.page)
        wait_for_frame(self.page)
        image = Image.open(io.BytesIO(self.page.screenshot(clip=self.part))).convert("RGB")
        height = round(WIDTH * image.height / image.width)
        self.frames.append(image.resize((WIDTH, height), Image.Resampling.LANCZOS))

    def put(self, place: Place) -> None:
        self.at = place
        self.page.mouse.move(*place)
        self.page.evaluate(
            "([x, y]) => (document.querySelector('#film-cursor').style.translate = `${x}px ${y}px`)", list(place)
        )

    def hold(self, seconds: float) -> None:
        self.shoot()
        self.frames += [self.frames[-1]] * (round(seconds * RATE) - 1)

    def glide(self, to: Place, seconds: float) -> None:
        """Move the cursor, slower at both ends."""
        start, count = self.at, round(seconds * RATE)
        for i in range(1, count + 1):
            share = i / count
            eased = share * share * (3 - 2 * share)
            self.put((start[0] + (to[0] - start[0]) * eased, start[1] + (to[1] - start[1]) * eased))
            self.shoot()


def seen(page: Page) -> FloatRect:
    """The part of the screen that is filmed: words, tools, picture and atlas."""
    boxes = [page.locator(f"{VIEWER_ROOT} {name}").bounding_box() for name in (".pg-strip", ".pg-left", ".pg-right")]
    words, picture, atlas = (box for box in boxes if box)
    x, y = picture["x"] - 6, words["y"] - 8
    return {
        "x": x,
        "y": y,
        "width": atlas["x"] + atlas["width"] + 6 - x,
        "height": picture["y"] + picture["height"] + 6 - y,
    }


def place_in(node: Locator, row: float, column: float) -> Place:
    box = node.bounding_box()
    assert box, "what the film points at is not visible"
    return box["x"] + column * box["width"], box["y"] + row * box["height"]


def play(film: Film) -> None:
    """From eye to eye, a pin, the steps from noise to picture, and two words."""
    page = film.page
    viewer = page.locator(VIEWER_ROOT)
    picture, slider = viewer.locator(".pg-picture"), viewer.locator(".pg-player input")
    film.put(place_in(picture, *LEFT_EYE))
    film.hold(0.9)
    for place, seconds in ((RIGHT_EYE, 1.8), (HORN, 1.3), (MOUTH, 1.3), (LEFT_EYE, 1.3)):
        film.glide(place_in(picture, *place), seconds)
        film.hold(0.5)
    page.mouse.down()
    page.mouse.up()  # pins it
    film.hold(0.6)
    film.glide(place_in(slider, 0.5, 0.98), 0.9)
    page.mouse.down()
    film.glide(place_in(slider, 0.5, 0.02), 1.0)
    film.hold(0.3)
    film.glide(place_in(slider, 0.5, 0.98), 2.2)
    film.glide(place_in(slider, 0.5, 0.62), 0.6)
    page.mouse.up()
    for word in ("eyes", "horns"):
        button = viewer.locator(".pg-word", has_text=word).first
        film.glide(place_in(button, 0.3, 0.5), 1.1)
        film.hold(1.2)
    film.glide(place_in(picture, *LEFT_EYE), 0.9)
    film.hold(0.6)


def write_gif(frames: list[Image.Image], path: Path) -> None:
    """Write the frames with one palette; Pillow stores only what changes from one to the next.

    Raises:
        RuntimeError: if the file is larger than GitHub's readers should wait for.
    """
    chosen = frames[:: max(1, len(frames) // 12)]
    sheet = Image.new("RGB", (WIDTH, chosen[0].height * len(chosen)))
    for i, frame in enumerate(chosen):
        sheet.paste(frame, (0, i * frame.height))
    # Yellow is rare in the frames, and says most: the colour map's own colours come first.
    scale = [channel for color in colors.palette(colors.SEQUENTIAL)[::8] for channel in color]
    others = sheet.quantize(COLORS - len(scale) // 3).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((scale + others)[: 3 * COLORS])
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    flat[0].save(path, save_all=True, append_images=flat[1:], duration=1000 // RATE, loop=0, optimize=False)
    if (size := path.stat().st_size) > MOST_BYTES:
        raise RuntimeError(f"{path} has {size} bytes, more than {MOST_BYTES}; lower WIDTH, RATE or COLORS.")


def film_pointing(chromium: Browser, url: str, path: Path) -> None:
    """Write the animation to `path`."""
    page = open_page(chromium, url, width=SCREEN[0], height=SCREEN[1])
    wait_until_idle(page)
    view(page, pins=[], active=-1)
    film = Film(page)
    play(film)
    write_gif(film.frames, path)
    page.close()
