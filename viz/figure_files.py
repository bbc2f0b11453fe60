"""A figure as SVG and as PNG."""

from __future__ import annotations

import base64
import io
import math
import re
from functools import cache
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from viz.figure_items import DOTS, Box, Dot, Image, Item, Lines, Sheet, Stroke, Text, hundredths, sampled, whole

FAMILIES = {
    "sans": "Helvetica, Arial, 'Liberation Sans', sans-serif",
    "serif": "Times, 'Times New Roman', 'Liberation Serif', serif",
}
# Files of these fonts, as FreeType finds them; without any, Pillow's own font is taken.
_FILES = {
    "sans": ("LiberationSans-{}.ttf", "Arial{}.ttf", "DejaVuSans{}.ttf"),
    "serif": ("LiberationSerif-{}.ttf", "Times_New_Roman{}.ttf", "DejaVuSerif{}.ttf"),
}
_STYLES = {False: ("Regular", "", ""), True: ("Bold", "_Bold", "-Bold")}
FINE = 4  # parts of a pixel's side, at a dot's edge
_FORBIDDEN = re.compile("[\x00-\x1f\ufffe\uffff\ud800-\udfff]")  # by XML, even escaped


def enlarged(image: Image) -> np.ndarray:
    """The pixels, each repeated as often as fits the box, because many programs blur what they enlarge."""
    high, wide = image.pixels.shape[:2]
    return image.pixels.repeat(max(1, image.height // high), 0).repeat(max(1, image.width // wide), 1)


def to_svg(sheet: Sheet) -> str:
    """One SVG with real text and with its pictures in it."""
    width, height = sheet.width, sheet.height
    size = f'width="{_mm(width)}mm" height="{_mm(height)}mm" viewBox="0 0 {width} {height}"'
    font = escape(FAMILIES[sheet.font], {"'": "&#39;"})
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{font}">\n<title>{_clean(sheet.title)}</title>'
    return "\n".join([head, *map(_element, sheet.items), "</svg>\n"])


def _mm(dots: int) -> str:
    return f"{hundredths(dots * 25.4 / DOTS):g}"


def _clean(text: str) -> str:
    return escape(_FORBIDDEN.sub("", text), {'"': "&quot;", "'": "&#39;"})


def _element(item: Item) -> str:
    match item:
        case Image(x, y, width, height):
            file = io.BytesIO()
            Pillow.fromarray(enlarged(item)).save(file, "PNG")
            data = base64.b64encode(file.getvalue()).decode()
            place = f'x="{x}" y="{y}" width="{width}" height="{height}" preserveAspectRatio="none"'
            return f'<image {place} image-rendering="pixelated" href="data:image/png;base64,{data}"/>'
        case Box(x, y, width, height, fill):
            return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{fill}"/>'
        case Lines(strokes, stroke, thick):
            path = "".join(f"M{a} {b}L{c} {d}" for a, b, c, d in strokes)
            return f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="{thick}" stroke-linecap="square"/>'
        case Dot(x, y, radius, fill):
            return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{fill}"/>'
        case Text(x, y, text, size, fill, bold, anchor):
            style = (' font-weight="700"' if bold else "") + ("" if anchor == "start" else f' text-anchor="{anchor}"')
            return f'<text x="{x}" y="{y}" font-size="{size:g}" fill="{fill}"{style}>{_clean(text)}</text>'


def to_picture(sheet: Sheet, dpi: float) -> Pillow.Image:
    """The figure in pixels, RGB, or RGBA if its ground is transparent.

    Everything but text is set pixel by pixel, as the page sets it (viz/web/export/figure/files.js).
    """
    scale = dpi / DOTS
    size = max(1, whole(sheet.width * scale)), max(1, whole(sheet.height * scale))
    picture = Pillow.new("RGBA", size, (0, 0, 0, 0))
    for item in sheet.items:
        _draw(picture, item, scale, sheet.font)
    has_ground = bool(sheet.items) and isinstance(sheet.items[0], Box)
    return picture.convert("RGB") if has_ground else picture


def to_png(sheet: Sheet, dpi: int) -> bytes:
    """The same as a PNG in which the resolution is written."""
    file = io.BytesIO()
    to_picture(sheet, dpi).save(file, "PNG", dpi=(dpi, dpi))
    return file.getvalue()


def _draw(picture: Pillow.Image, item: Item, scale: float, font: str) -> None:
    match item:
        case Image(x, y, width, height, pixels):
            left, top, right, bottom = (whole(v * scale) for v in (x, y, x + width, y + height))
            shown = sampled(pixels, (max(1, bottom - top), max(1, right - left)))
            picture.paste(Pillow.fromarray(shown), (left, top))
        case Box(fill=fill):
            picture.paste(fill, (0, 0, *picture.size))  # the ground, the only box
        case Lines(strokes, stroke, thick):
            for line in strokes:
                _draw_line(picture, line, stroke, thick, scale)
        case Dot(x, y, radius, fill):
            _draw_dot(picture, x * scale, y * scale, radius * scale, fill)
        case Text(x, y, text, size, fill, bold, anchor):
            side = {"start": "l", "middle": "m", "end": "r"}[anchor]
            place = x * scale, y * scale
            ImageDraw.Draw(picture).text(place, text, fill, _font(font, bold, size * scale), anchor=f"{side}s")


def _draw_line(picture: Pillow.Image, line: Stroke, stroke: str, thick: int, scale: float) -> None:
    a, b, c, d = line
    if a == c or b == d:
        half = thick / 2
        box = (min(a, c) - half, min(b, d) - half, max(a, c) + half, max(b, d) + half)
        left, top, right, bottom = (whole(v * scale) for v in box)
        picture.paste(stroke, (left, top, max(left + 1, right), max(top + 1, bottom)))
        return
    # Otherwise the pixels whose middle is no farther than half of the thickness from the line.
    x0, y0, x1, y1 = (v * scale for v in line)
    left, top = math.floor(min(x0, x1)), math.floor(min(y0, y1))
    high, wide = math.floor(max(y0, y1)) + 1 - top, math.floor(max(x0, x1)) + 1 - left
    beyond, below = np.arange(left, left + wide) + 0.5 - x0, (np.arange(top, top + high) + 0.5 - y0)[:, None]
    across, down, half = x1 - x0, y1 - y0, max(1.0, thick * scale) / 2
    long = across * across + down * down
    along, aside = beyond * across + below * down, beyond * down - below * across
    on = (along >= 0) & (along <= long) & (aside * aside <= half * half * long)
    picture.paste(stroke, (left, top), Pillow.fromarray(on.astype(np.uint8) * 255))


def _draw_dot(picture: Pillow.Image, x: float, y: float, radius: float, fill: str) -> None:
    """A circle, whose edge covers a pixel by as many of its parts as lie inside."""
    left, top, side = math.floor(x - radius) - 1, math.floor(y - radius) - 1, math.floor(2 * radius) + 4
    part = (np.arange(FINE) + 0.5) / FINE
    right = ((left + np.arange(side) - x)[:, None] + part).ravel()
    down = ((top + np.arange(side) - y)[:, None] + part).ravel()[:, None]
    inside = right * right + down * down <= radius * radius
    count = inside.reshape(side, FINE, side, FINE).sum((1, 3))
    mask = np.floor(255 * count / FINE**2 + 0.5).astype(np.uint8)
    picture.paste(fill, (left, top), Pillow.fromarray(mask))


@cache
def _font(font: str, bold: bool, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name, style in zip(_FILES[font], _STYLES[bold], strict=True):
        try:
            return ImageFont.truetype(name.format(style), size)
        except OSError:
            continue
    return ImageFont.load_default(size)
