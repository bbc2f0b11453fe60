"""Views: what of a trace is looked at, and how. The same in Python, in the viewer's JavaScript and in a link.

A view from outside is believed only after `View.from_json` has checked every field.
"""

from __future__ import annotations

import base64
import math
import re
from dataclasses import dataclass, fields
from typing import Literal, get_args

Place = tuple[float, float]  # (row, column) in 0..1 of the picture
Mode = Literal["row", "column"]
Range = Literal["common", "own"]
Base = Literal["picture", "preview"]
Lines = Literal["layers", "heads"]  # of the plots: one for each layer, or for each head of one layer

MAX_PINS, MAX_NAME, MAX_STEP, MAX_HEAD, MAX_GRID = 4, 300, 9_999, 1_023, 256
CHOICES = {"mode": get_args(Mode), "range": get_args(Range), "base": get_args(Base)}
SWITCHES = ("special", "log", "smooth", "heads")


class ViewError(ValueError):
    """A view cannot be shown; the message is one sentence for the reader."""


@dataclass(frozen=True)
class Pixel:
    """The query is one place, (row, column) in 0..1 of the picture."""

    point: Place

    def to_json(self) -> dict:
        return {"kind": "pixel", "point": list(self.point)}


@dataclass(frozen=True)
class Box:
    """The query is a rectangle between two places, its upper left and lower right corner."""

    start: Place
    end: Place

    def to_json(self) -> dict:
        return {"kind": "box", "from": list(self.start), "to": list(self.end)}


@dataclass(frozen=True)
class Region:
    """The query is painted: on a grid over the picture, bits row by row, the highest of a byte first."""

    grid: tuple[int, int]
    mask: bytes

    def to_json(self) -> dict:
        return {
            "kind": "region",
            "grid": list(self.grid),
            "mask": base64.urlsafe_b64encode(self.mask).decode().rstrip("="),
        }


Query = Pixel | Box | Region


@dataclass(frozen=True)
class View:
    """What is looked at. A field that is None is left open: the viewer keeps what it has.

    Attributes:
        point: (row, column) in 0..1 of the picture, what is pointed at.
        layer, step, head: as the trace names them; head -1 is the mean of all.
        pins: up to four queries that stay; `active` is the one that is shown, -1 the place pointed at.
        mode: "row", what the query looks at, or "column", who looks at it.
        special: less the mean row of all pixels.
        range: "common" to all maps, or each map's "own"; `log`: a logarithmic scale.
        smooth: cells are blended; base: the "picture" under the map, or the "preview" of the step.
        heads: all heads of the layer side by side.
    """

    point: Place
    layer: str
    step: int
    head: int = -1
    pins: tuple[Query, ...] | None = None
    active: int | None = None
    mode: Mode | None = None
    special: bool | None = None
    range: Range | None = None
    log: bool | None = None
    smooth: bool | None = None
    base: Base | None = None
    heads: bool | None = None

    @property
    def query(self) -> Query:
        """What is shown: the active pin, or the pixel pointed at."""
        active = -1 if self.active is None else self.active
        return Pixel(self.point) if active < 0 or not self.pins else self.pins[active]

    def to_json(self) -> dict:
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.pins is not None:
            said["pins"] = [pin.to_json() for pin in self.pins]
        return {name: value for name, value in said.items() if value is not None}

    @classmethod
    def from_json(cls, said: object) -> View:
        """What came as JSON, checked.

        Raises:
            ViewError: for a field that is missing, unknown, of the wrong type or outside its range.
        """
        _keys(said, "The view", {"point", "layer", "step"}, {field.name for field in fields(cls)})
        pins = None if "pins" not in said else _pins(said["pins"])
        active = (
            None if "active" not in said else _whole(said["active"], "The view's active pin", -1, len(pins or ()) - 1)
        )
        return cls(
            point=_place(said["point"], "The view's point"),
            layer=_name(said["layer"]),
            step=_whole(said["step"], "The view's step", 0, MAX_STEP),
            head=_whole(said.get("head", -1), "The view's head", -1, MAX_HEAD),
            pins=pins,
            active=active,
            **{name: _choice(said[name], name, allowed) for name, allowed in CHOICES.items() if name in said},
            **{name: _choice(said[name], name, (True, False)) for name in SWITCHES if name in said},
        )


def query_from_json(said: object) -> Query:
    """One query, checked; raises ViewError."""
    kind = said.get("kind") if isinstance(said, dict) else None
    if kind == "pixel":
        _keys(said, "A pinned pixel", {"kind", "point"})
        return Pixel(_place(said["point"], "A pinned pixel's point"))
    if kind == "box":
        _keys(said, "A pinned box", {"kind", "from", "to"})
        corners = _place(said["from"], "A pinned box's corner"), _place(said["to"], "A pinned box's corner")
        box = Box(tuple(map(min, *corners)), tuple(map(max, *corners)))
        if not (box.start[0] < box.end[0] and box.start[1] < box.end[1]):
            raise ViewError("A pinned box must have a height and a width.")
        return box
    if kind == "region":
        _keys(said, "A pinned region", {"kind", "grid", "mask"})
        return _region(said["grid"], said["mask"])
    raise ViewError(f"A pin must be a pixel, a box or a region; got {_short(kind)}.")


def _region(grid: object, mask: object) -> Region:
    if not isinstance(grid, (list, tuple)) or len(grid) != 2:
        raise ViewError(f"A pinned region's grid must be a height and a width; got {_short(grid)}.")
    height, width = (_whole(side, "A side of a pinned region's grid", 1, MAX_GRID) for side in grid)
    expected = math.ceil(height * width / 8)
    letters = math.ceil(expected * 4 / 3)
    if not isinstance(mask, str) or len(mask) != letters:
        raise ViewError(f"A pinned region on a {height}×{width} grid must have a mask of {letters} letters.")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", mask):
        raise ViewError("A pinned region's mask must be base64url.")
    bits = base64.urlsafe_b64decode(mask + "=" * (-letters % 4))
    if not any(bits) or bits[-1] & ((1 << (-(height * width) % 8)) - 1):
        raise ViewError("A pinned region must hold at least one cell, and none outside its grid.")
    return Region((height, width), bits)


def _pins(said: object) -> tuple[Query, ...]:
    if not isinstance(said, (list, tuple)) or len(said) > MAX_PINS:
        raise ViewError(f"The view's pins must be a list of at most {MAX_PINS}.")
    return tuple(query_from_json(pin) for pin in said)


def _keys(said: object, what: str, needed: set[str], known: set[str] | None = None) -> None:
    if not isinstance(said, dict):
        raise ViewError(f"{what} must be an object; got {_short(said)}.")
    if missing := sorted(needed - set(said)):
        raise ViewError(f"{what} lacks {', '.join(missing)}.")
    if unknown := sorted(map(str, set(said) - (known or needed))):
        raise ViewError(f"{what} has a field that no view has: {_short(unknown[0])}.")


def _place(said: object, what: str) -> Place:
    pair = isinstance(said, (list, tuple)) and len(said) == 2
    if not pair or not all(isinstance(x, (int, float)) and not isinstance(x, bool) and 0 <= x <= 1 for x in said):
        raise ViewError(f"{what} must be a row and a column from 0 to 1; got {_short(said)}.")
    return float(said[0]), float(said[1])


def _whole(said: object, what: str, low: int, high: int) -> int:
    if not isinstance(said, int) or isinstance(said, bool) or not low <= said <= high:
        raise ViewError(f"{what} must be a whole number from {low} to {high}; got {_short(said)}.")
    return said


def _name(said: object) -> str:
    if not isinstance(said, str) or not 0 < len(said) <= MAX_NAME:
        raise ViewError(f"The view's layer must be a name of at most {MAX_NAME} letters; got {_short(said)}.")
    return said


def _choice(said: object, what: str, allowed: tuple) -> object:
    if not any(said is choice or (isinstance(said, str) and said == choice) for choice in allowed):
        raise ViewError(f"The view's “{what}” must be {' or '.join(map(str, allowed))}; got {_short(said)}.")
    return said


def _short(said: object) -> str:
    if isinstance(said, int) and abs(said) >= 10**20:
        return "a far larger one"
    return str(said)[:60]
