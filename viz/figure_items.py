"""What a figure is made of: pictures, texts, boxes, lines and dots, at whole dots of 1/300 inch; how wide text is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

DOTS = 300  # to the inch
POINT = DOTS / 72  # dots
MILLIMETRE = DOTS / 25.4  # dots

# Thousandths of the font's size, of the characters from space to ~: Adobe's metrics of Helvetica and Times, which Arial
# and Liberation share. Other characters count as a digit.
_WIDTHS = {
    "sans": (
        "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 "
        "556 278 278 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 "
        "722 667 611 722 667 944 667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 "
        "500 222 833 556 556 556 556 333 500 278 556 500 722 500 500 500 334 260 334 584"
    ),
    "serif": (
        "250 333 408 500 500 833 778 180 333 333 500 564 250 333 250 278 500 500 500 500 500 500 500 500 500 "
        "500 278 278 564 564 564 444 921 722 667 667 722 611 556 722 722 333 389 722 611 889 722 722 556 722 "
        "667 556 611 722 722 944 722 722 611 333 278 333 469 500 333 444 500 444 500 444 333 500 500 278 278 "
        "500 278 778 500 500 500 500 333 389 278 500 500 722 500 500 444 480 200 480 541"
    ),
}
METRICS = {font: [int(width) for width in widths.split()] for font, widths in _WIDTHS.items()}
BOLD = 1.1  # at most, of the width of the same text


@dataclass(frozen=True)
class Image:
    """Pixels, (h, w, 3) uint8, drawn with sharp edges in a box."""

    x: int
    y: int
    width: int
    height: int
    pixels: np.ndarray


@dataclass(frozen=True)
class Text:
    """A line of text; x is its start, middle or end, y its baseline, `size` the font's in dots."""

    x: int
    y: int
    text: str
    size: float
    fill: str
    bold: bool = False
    anchor: Literal["start", "middle", "end"] = "start"


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: int
    y: int
    width: int
    height: int
    fill: str


Stroke = tuple[int, int, int, int]  # from (x, y) to (x, y)


@dataclass(frozen=True)
class Lines:
    """Strokes of one colour."""

    strokes: tuple[Stroke, ...]
    stroke: str
    thick: int


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    x: int
    y: int
    radius: int
    fill: str


Item = Image | Text | Box | Lines | Dot


@dataclass(frozen=True)
class Sheet:
    """A figure: its size in dots, its items in the order of drawing, its font, and a title for who cannot see it."""

    width: int
    height: int
    items: tuple[Item, ...]
    font: str
    title: str


def whole(value: float) -> int:
    """The nearest whole number; halves go up."""
    return math.floor(value + 0.5)


def hundredths(value: float) -> float:
    """Rounded to two decimals."""
    return whole(value * 100) / 100


def frame(x: int, y: int, width: int, height: int) -> tuple[Stroke, ...]:
    """The strokes around a box."""
    right, bottom = x + width, y + height
    return (x, y, right, y), (right, y, right, bottom), (right, bottom, x, bottom), (x, bottom, x, y)


def sampled(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels (h, w, …) on another grid, each the nearest one."""
    down, across = (
        ((np.arange(n) + 0.5) * have / n).astype(int) for n, have in zip(shape, pixels.shape[:2], strict=True)
    )
    return pixels[down][:, across]


def width_of(text: str, size: float, font: str, bold: bool = False) -> float:
    """The width of text in dots."""
    widths = METRICS[font]
    total = sum(widths[ord(each) - 32] if " " <= each <= "~" else 556 for each in text)
    return total * size * (BOLD if bold else 1) / 1000


def cut(text: str, room: float, size: float, font: str, bold: bool = False) -> str:
    """The text, or as much of it as fits, with "…" at its end."""
    if width_of(text, size, font, bold) <= room:
        return text
    short = text
    while short and width_of(f"{short}…", size, font, bold) > room:
        short = short[:-1]
    return f"{short}…"


def wrap(text: str, room: float, size: float, font: str, bold: bool = False) -> list[str]:
    """The text in lines that fit; a word that does not is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width_of(longer, size, font, bold) <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [cut(line, room, size, font, bold) for line in lines]
