"""A figure as SVG and as PNG."""

from __future__ import annotations

import base64
import io
import re
from functools import cache
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from viz.figure_items import DOTS, Box, Dot, Image, Item, Lines, Sheet, Text, hundredths

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


def to_picture(sheet: Sheet, dpi: int) -> Pillow.Image:
    """The figure in pixels, RGB, or RGBA if its ground is transparent."""
    scale = dpi / DOTS
    size = max(1, round(sheet.width * scale)), max(1, round(sheet.height * scale))
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
    pen = ImageDraw.Draw(picture)
    match item:
        case Image(x, y, width, height):
            left, top, right, bottom = (round(v * scale) for v in (x, y, x + width, y + height))
            size = max(1, right - left), max(1, bottom - top)
            shown = Pillow.fromarray(enlarged(item)).resize(size, Pillow.Resampling.NEAREST)
            picture.paste(shown, (left, top))
        case Box(x, y, width, height, fill):
            pen.rectangle((x * scale, y * scale, (x + width) * scale, (y + height) * scale), fill)
        case Lines(strokes, stroke, thick):
            half = thick / 2
            for a, b, c, d in strokes:
                if a == c or b == d:  # Pillow's own lines end askew
                    box = (min(a, c) - half, min(b, d) - half, max(a, c) + half, max(b, d) + half)
                    left, top, right, bottom = (round(v * scale) for v in box)
                    pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), stroke)
                else:
                    pen.line([v * scale for v in (a, b, c, d)], stroke, max(1, round(thick * scale)))
        case Dot(x, y, radius, fill):
            _draw_dot(picture, x * scale, y * scale, radius * scale, fill)
        case Text(x, y, text, size, fill, bold, anchor):
            side = {"start": "l", "middle": "m", "end": "r"}[anchor]
            pen.text((x * scale, y * scale), text, fill, _font(font, bold, size * scale), anchor=f"{side}s")


def _draw_dot(picture: Pillow.Image, x: float, y: float, radius: float, fill: str) -> None:
    """A circle with a smooth edge: drawn four times as large, then made smaller."""
    left, top, side = round(x - radius) - 1, round(y - radius) - 1, round(2 * radius) + 3
    mask = Pillow.new("L", (4 * side, 4 * side))
    box = [4 * (x - radius - left), 4 * (y - radius - top), 4 * (x + radius - left), 4 * (y + radius - top)]
    ImageDraw.Draw(mask).ellipse(box, 255)
    picture.paste(fill, (left, top), mask.resize((side, side), Pillow.Resampling.BOX))


@cache
def _font(font: str, bold: bool, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name, style in zip(_FILES[font], _STYLES[bold], strict=True):
        try:
            return ImageFont.truetype(name.format(style), size)
        except OSError:
            continue
    return ImageFont.load_default(size)
