"""Critters: little monsters drawn by a program, which therefore knows the mask of every part.

    critter = draw_critter(seed=8)
    critter.image                  # PIL.Image, 64x64 RGB
    critter.caption()              # "a round purple monster with two yellow eyes, ..."
    critter.masks["left eye"]      # (64, 64) bool; the masks of all parts tile the picture

A critter is drawn once, at four times its size, as a picture of *paints* (small integers). A palette turns paints
into colours and a table turns them into parts, so picture and masks cannot disagree.
Parts that come in pairs always share their colour, which attention has to coordinate.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from models.attributes import ATTRIBUTES, COLORS, Attributes, caption, sample_attributes

SIZE = 64
SUPERSAMPLING = 4

_DARK, _TEETH, _TONGUE = (34, 28, 40), (245, 245, 240), (205, 85, 95)

# Places in the body, in units of its half width and half height: the root of the crown (x and y), the line of the eyes
# (y) and how far out they may be (x), the mouth (y).
_CROWN_X = {"round": 0.58, "square": 0.72, "triangular": 0.34, "fluffy": 0.58}
_CROWN_Y = {"round": -0.72, "square": -0.92, "triangular": -0.92, "fluffy": -0.74}
_EYE_Y = {"round": -0.22, "square": -0.26, "triangular": -0.04, "fluffy": -0.2}
_EYE_X = {"round": 0.42, "square": 0.46, "triangular": 0.33, "fluffy": 0.42}
_MOUTH_Y = {"round": 0.46, "square": 0.46, "triangular": 0.58, "fluffy": 0.44}


@dataclass(frozen=True)
class Critter:
    """One drawn monster. `parts` is (64, 64) uint8: for each pixel, the index of its part in `part_names`."""

    attributes: Attributes
    image: Image.Image
    parts: np.ndarray
    part_names: tuple[str, ...]

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """{part: (64, 64) bool}. Every pixel belongs to exactly one part."""
        return {name: self.parts == index for index, name in enumerate(self.part_names)}

    def caption(self, mentioned: Collection[str] = tuple(ATTRIBUTES)) -> str:
        """The English description that mentions the attributes in `mentioned` and leaves the others open."""
        return caption(self.attributes, mentioned)


def draw_critter(
    seed: int,
    attributes: Attributes | None = None,
    eye_colors: Mapping[str, str] | None = None,
) -> Critter:
    """Draw the critter of `seed`; the same arguments always give the same picture.

    Args:
        seed: decides place, size and proportions, and the attributes if none are given.
        attributes: what to draw.
        eye_colors: {part name ("left eye"): color} for single eyes, to draw the mismatched pairs that
            `models.training.judge` must notice and that the model learns to correct (`models.training.batches`).
    """
    rng = random.Random(seed)
    sampled = sample_attributes(rng)  # even if attributes are given, so that later random numbers stay the same
    attributes = attributes or sampled
    canvas = _Canvas(rng, attributes, dict(eye_colors or {}))
    _paint_critter(canvas, rng)
    return Critter(attributes, canvas.image(), canvas.parts(), tuple(canvas.part_names))


class _Canvas:
    """A picture of paints at SUPERSAMPLING times the final size; coordinates are in final pixels."""

    def __init__(self, rng: random.Random, attributes: Attributes, eye_colors: dict[str, str]) -> None:
        self.attributes = attributes
        self.part_names: list[str] = []
        self._eye_colors = eye_colors
        self._jitter = {
            name: tuple(rng.randint(-9, 9) for _ in range(3)) for name in ("body", "eye", "crown", "background")
        }
        self._palette: list[tuple[int, int, int]] = []
        self._part_of_paint: list[int] = []
        self._paints = Image.new("P", (SIZE * SUPERSAMPLING,) * 2)
        self._pen = ImageDraw.Draw(self._paints)

    def part(self, name: str) -> None:
        """Begin the part `name`: all paints mixed from here on belong to it."""
        self.part_names.append(name)

    def paint(self, color: tuple[int, int, int], jitter: str | None = None, darker: float = 1.0) -> int:
        shift = self._jitter[jitter] if jitter else (0, 0, 0)
        channels = [max(0, min(255, round((c + s) * darker))) for c, s in zip(color, shift, strict=True)]
        self._palette.append((channels[0], channels[1], channels[2]))
        self._part_of_paint.append(len(self.part_names) - 1)
        return len(self._palette) - 1

    def eye_color(self, name: str) -> tuple[int, int, int]:
        return COLORS[self._eye_colors.get(name, self.attributes.eye_color)]

    def ellipse(self, x: float, y: float, rx: float, ry: float, paint: int) -> None:
        self._pen.ellipse(_scaled(x - rx, y - ry, x + rx, y + ry), fill=paint)

    def box(self, x0: float, y0: float, x1: float, y1: float, paint: int, radius: float = 0) -> None:
        self._pen.rounded_rectangle(_scaled(x0, y0, x1, y1), radius * SUPERSAMPLING, fill=paint)

    def polygon(self, points: list[tuple[float, float]], paint: int) -> None:
        self._pen.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points], fill=paint)

    def line(self, points: list[tuple[float, float]], width: float, paint: int) -> None:
        self._pen.line(
            [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points], paint, round(width * SUPERSAMPLING), "curve"
        )

    def arc(self, x: float, y: float, rx: float, ry: float, start: int, end: int, width: float, paint: int) -> None:
        box = _scaled(x - rx, y - ry, x + rx, y + ry)
        self._pen.arc(box, start, end, fill=paint, width=round(width * SUPERSAMPLING))

    def image(self) -> Image.Image:
        self._paints.putpalette([channel for color in self._palette for channel in color])
        return self._paints.convert("RGB").reduce(SUPERSAMPLING)

    def parts(self) -> np.ndarray:
        centre = SUPERSAMPLING // 2
        paints = np.asarray(self._paints)[centre::SUPERSAMPLING, centre::SUPERSAMPLING]
        return np.array(self._part_of_paint, np.uint8)[paints]


def _scaled(*box: float) -> tuple[float, ...]:
    return tuple(value * SUPERSAMPLING for value in box)


@dataclass(frozen=True)
class _Body:
    x: float
    y: float
    rx: float
    ry: float


def _paint_critter(canvas: _Canvas, rng: random.Random) -> None:
    """Paint from back to front; the random numbers are drawn in the same order for all attributes."""
    attributes = canvas.attributes
    rx = rng.uniform(16.5, 21.5)
    body = _Body(x=rng.uniform(29, 35), y=rng.uniform(37, 40), rx=rx, ry=min(21.0, rx * rng.uniform(0.88, 1.1)))
    tall, lean = rng.uniform(0.8, 1.15), rng.uniform(-1, 1)
    gaze = (rng.uniform(-1, 1), rng.uniform(-1, 1))
    eye_size, spread = rng.uniform(0, 1), rng.uniform(0.92, 1.08)
    mouth_width, drop = rng.uniform(0.34, 0.46), rng.uniform(-0.04, 0.04)

    canvas.part("background")
    canvas.box(0, 0, SIZE, SIZE, canvas.paint(COLORS[attributes.background_color], "background"))
    if attributes.crown != "none":
        for side, name in ((-1, "left"), (1, "right")):
            canvas.part(f"{name} {attributes.crown.removesuffix('s')}")
            _draw_crown(canvas, body, side, tall, lean)
    canvas.part("body")
    _draw_body(canvas, body, phase=lean)
    _draw_eyes(canvas, body, eye_size, spread, gaze)
    canvas.part("mouth")
    _draw_mouth(canvas, body.x, body.y + (_MOUTH_Y[attributes.shape] + drop) * body.ry, mouth_width * body.rx)


def _draw_body(canvas: _Canvas, body: _Body, phase: float) -> None:
    paint = canvas.paint(COLORS[canvas.attributes.body_color], "body")
    shape = canvas.attributes.shape
    if shape == "round":
        canvas.ellipse(body.x, body.y, body.rx, body.ry, paint)
    elif shape == "square":
        canvas.box(body.x - body.rx, body.y - body.ry, body.x + body.rx, body.y + body.ry, paint, radius=3)
    elif shape == "triangular":
        top, bottom = body.y - 1.05 * body.ry, body.y + body.ry
        points = [(-0.3, top), (0.3, top), (1.15, bottom), (-1.15, bottom)]
        corners = [(body.x + x * body.rx, y) for x, y in points]
        canvas.polygon(corners, paint)
        canvas.line([*corners, corners[0], corners[1]], 2.5, paint)
    else:
        canvas.ellipse(body.x, body.y, 0.86 * body.rx, 0.86 * body.ry, paint)
        for tuft in range(11):
            angle = 2 * math.pi * (tuft + 0.3 * phase) / 11
            x, y = body.x + 0.84 * body.rx * math.cos(angle), body.y + 0.84 * body.ry * math.sin(angle)
            canvas.ellipse(x, y, 0.24 * body.rx, 0.24 * body.rx, paint)


def _draw_crown(canvas: _Canvas, body: _Body, side: int, tall: float, lean: float) -> None:
    """One half of a crown, left (`side` -1) or right (1); its root is hidden by the body, which is painted later."""
    attributes = canvas.attributes
    paint = canvas.paint(COLORS[attributes.crown_color], "crown")
    x = body.x + side * _CROWN_X[attributes.shape] * body.rx
    y = body.y + _CROWN_Y[attributes.shape] * body.ry
    outward = side * (1.5 + lean)
    if attributes.crown == "horns":
        height = 13 * tall
        tip = (x + 2 * outward, max(2.0, y - height))
        canvas.polygon([(x - 3.6, y + 4), (x - 2.6 + outward, y - 0.5 * height), tip, (x + 3.6, y + 4)], paint)
    elif attributes.crown == "ears":
        canvas.ellipse(x + outward, y - 2.5 * tall, 5.2 * tall, 6.4 * tall, paint)
        inner = canvas.paint(COLORS[attributes.crown_color], "crown", darker=0.72)
        canvas.ellipse(x + outward, y - 2.5 * tall, 2.7 * tall, 3.9 * tall, inner)
    else:
        top = (x + 1.6 * outward, max(4.5, y - 11 * tall))
        canvas.line([(x, y + 4), (x + 0.4 * outward, y - 4 * tall), top], 1.9, paint)
        canvas.ellipse(*top, 3.1, 3.1, paint)


def _draw_eyes(canvas: _Canvas, body: _Body, size: float, spread: float, gaze: tuple[float, float]) -> None:
    shape, count = canvas.attributes.shape, canvas.attributes.eye_count
    y = body.y + _EYE_Y[shape] * body.ry
    if count == "one":
        places, radius = {"eye": (body.x, y)}, 6.2 + 1.8 * size
    elif count == "two":
        radius = 4.5 + 1.1 * size
        out = max(radius + 1.2, spread * _EYE_X[shape] * body.rx)
        places = {"left eye": (body.x - out, y), "right eye": (body.x + out, y)}
    else:
        radius = 3.6 + 0.7 * size
        out = max(radius + 2.2, spread * _EYE_X[shape] * body.rx)
        places = {
            "left eye": (body.x - out, y + 1),
            "middle eye": (body.x, y - 1.2 * radius),
            "right eye": (body.x + out, y + 1),
        }
    for name, (eye_x, eye_y) in places.items():
        canvas.part(name)
        canvas.ellipse(eye_x, eye_y, radius, radius, canvas.paint(canvas.eye_color(name), "eye"))
        pupil_x, pupil_y = eye_x + 0.34 * radius * gaze[0], eye_y + 0.34 * radius * gaze[1]
        canvas.ellipse(pupil_x, pupil_y, 0.42 * radius, 0.42 * radius, canvas.paint(_DARK))
        canvas.ellipse(pupil_x - 0.9, pupil_y - 0.9, 0.7, 0.7, canvas.paint(_TEETH))


def _draw_mouth(canvas: _Canvas, x: float, y: float, half: float) -> None:
    mouth = canvas.attributes.mouth
    dark = canvas.paint(_DARK)
    if mouth == "smiling":
        canvas.arc(x, y - 2.6, half, 5.0, 15, 165, 1.7, dark)
    elif mouth == "frowning":
        canvas.arc(x, y + 3.6, half, 5.0, 195, 345, 1.7, dark)
    elif mouth == "open":
        canvas.ellipse(x, y, 0.62 * half, 3.6, dark)
        canvas.ellipse(x, y + 1.7, 0.42 * half, 1.6, canvas.paint(_TONGUE))
    else:
        canvas.box(x - half, y - 2.5, x + half, y + 2.5, dark, radius=1)
        teeth = canvas.paint(_TEETH)
        step = 2 * half / 5
        for tooth in range(5):
            left = x - half + tooth * step
            canvas.box(left + 0.2 * step, y - 2.5, left + 0.85 * step, y + (0.2 if tooth % 2 else 0.9), teeth)
