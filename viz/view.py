"""Views: which maps of a trace to look at, and how. The same in Python, in the viewer's JavaScript and in a link.

A view from outside is trusted only after `View.from_json` has checked every field.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from viz.checks import Checks, is_number, short
from viz.layer import Branch
from viz.trace_description import MAX_BRANCH
from viz.words import KINDS, MAX_ENCODING, MAX_ENCODINGS, MAX_WORD, WordKind

Place = tuple[float, float]  # (row, column) in 0..1 of the picture
Mode = Literal["row", "column"]
Range = Literal["common", "own"]
Base = Literal["picture", "preview"]
Lines = Literal["layers", "heads"]  # of the plots: one for each layer, or for each head of one layer
Reading = Literal["spent", "used", "looks"]
Bars = Literal["layer", "grid"]
DIFFERENCE = "difference"  # in place of a branch: the last of two minus the first

MAX_PINS, MAX_NAME, MAX_STEP, MAX_HEAD, MAX_GRID = 4, 300, 9_999, 1_023, 256
CHOICES: dict[str, tuple] = {
    "mode": get_args(Mode),
    "range": get_args(Range),
    "base": get_args(Base),
    "reading": get_args(Reading),
    "bars": get_args(Bars),
    **dict.fromkeys(("special", "log", "smooth", "heads", "winner"), (True, False)),
}


class ViewError(ValueError):
    """A view cannot be shown; the message is one sentence for the reader."""


CHECKS = Checks(ViewError)


@dataclass(frozen=True)
class Pixel:
    """A query of one place."""

    point: Place

    def to_json(self) -> dict:
        return {"kind": "pixel", "point": list(self.point)}


@dataclass(frozen=True)
class Box:
    """A query of a rectangle, from its upper left to its lower right corner."""

    start: Place
    end: Place

    def to_json(self) -> dict:
        return {"kind": "box", "from": list(self.start), "to": list(self.end)}


@dataclass(frozen=True)
class Region:
    """A painted query: bits of a grid over the picture, row by row, the highest bit of a byte first."""

    grid: tuple[int, int]
    mask: bytes

    @classmethod
    def of_cells(cls, grid: tuple[int, int], cells: Iterable[tuple[int, int]]) -> Region:
        """The region of some cells, (row, column), of a grid; raises ViewError as `query_from_json`."""
        (height, width), chosen = grid, list(cells)
        for row, column in chosen:
            if not (0 <= row < height and 0 <= column < width):
                raise ViewError(f"The cell {short((row, column))} is outside the {height}×{width} grid.")
        bits = sum(1 << (-(height * width) // 8 * -8 - 1 - row * width - column) for row, column in set(chosen))
        mask = bits.to_bytes(-(-height * width // 8), "big")
        return _region((height, width), base64.urlsafe_b64encode(mask).decode().rstrip("="))

    def to_json(self) -> dict:
        return {
            "kind": "region",
            "grid": list(self.grid),
            "mask": base64.urlsafe_b64encode(self.mask).decode().rstrip("="),
        }


@dataclass(frozen=True)
class WordQuery:
    """A query of a word, by its text, so that it can be asked of another trace. Fields as of `viz.words.Word`."""

    text: str
    nth: int = 0
    of: WordKind = "word"
    encoder: int = 0

    def to_json(self) -> dict:
        optional = {
            "nth": self.nth or None,
            "of": self.of if self.of != "word" else None,
            "encoder": self.encoder or None,
        }
        return {"kind": "word", "text": self.text} | {name: value for name, value in optional.items() if value}


Area = Pixel | Box | Region  # a part of the picture
Query = Area | WordQuery


@dataclass(frozen=True)
class View:
    """The choices of a viewer. A field that is None is left as it is in the viewer.

    Attributes:
        point: the place under the cursor.
        layer, step, head: as the trace names them; head -1 is the mean of all.
        pins: up to four queries that stay.
        active: index of the pin whose maps are shown; -1 for those of `point`.
        mode: "row", what the query looks at; or "column", who looks at it.
        special: subtract the mean row of all pixels.
        range: of the colours, "common" to all maps, or each map's "own".
        log: use a logarithmic scale.
        smooth: blend the cells.
        base: the image under the map, the "picture" or the "preview" of the step.
        heads: show all heads of the layer side by side.
        reading: of a word, "spent", what the pixels spend on it; "used", where it is used: the same relative to its
            mean; or "looks", what the word looks at, in layers where words are queries.
        branch: the picture of the batch, the last by default; or "difference", the last of two minus the first.
        winner: show which word wins in each cell.
        opacity: of the map over the picture, 0 to 1.
        bars: under the words, the shares in the chosen "layer" and head, or the mean of all on its "grid".
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
    reading: Reading | None = None
    branch: Branch | None = None
    winner: bool | None = None
    bars: Bars | None = None
    opacity: float | None = None

    @property
    def query(self) -> Query:
        """The active pin, or the pixel under the cursor."""
        active = -1 if self.active is None else self.active
        return Pixel(self.point) if active < 0 or not self.pins else self.pins[active]

    def to_json(self) -> dict:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.pins is not None:
            values["pins"] = [pin.to_json() for pin in self.pins]
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, values: object) -> View:
        """Read a view from JSON and check it.

        Raises:
            ViewError: for a field that is missing, unknown, of the wrong type or out of range.
        """
        known = {field.name for field in fields(cls)}
        given = CHECKS.object_with(values, "The view", {"point", "layer", "step"}, known)
        pins = _pins(given["pins"]) if "pins" in given else None
        last = len(pins or ()) - 1
        active = CHECKS.whole(given["active"], "The view's active pin", -1, last) if "active" in given else None
        choices: dict[str, Any] = {
            name: CHECKS.choice(given[name], f"The view's “{name}”", allowed)
            for name, allowed in CHOICES.items()
            if name in given
        }
        return cls(
            point=_place(given["point"], "The view's point"),
            layer=_name(given["layer"]),
            step=CHECKS.whole(given["step"], "The view's step", 0, MAX_STEP),
            head=CHECKS.whole(given.get("head", -1), "The view's head", -1, MAX_HEAD),
            pins=pins,
            active=active,
            branch=_branch(given["branch"]) if "branch" in given else None,
            opacity=CHECKS.number(given["opacity"], "The view's opacity", 0, 1) if "opacity" in given else None,
            **choices,
        )


def query_from_json(value: object) -> Query:
    """Read one query from JSON and check it; raises ViewError."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == "pixel":
        given = _fields(value, "A pinned pixel", "point")
        return Pixel(_place(given["point"], "A pinned pixel's point"))
    if kind == "box":
        given = _fields(value, "A pinned box", "from", "to")
        one, other = (_place(given[name], "A pinned box's corner") for name in ("from", "to"))
        box = Box((min(one[0], other[0]), min(one[1], other[1])), (max(one[0], other[0]), max(one[1], other[1])))
        if not (box.start[0] < box.end[0] and box.start[1] < box.end[1]):
            raise ViewError("A pinned box must have a height and a width.")
        return box
    if kind == "region":
        given = _fields(value, "A pinned region", "grid", "mask")
        return _region(given["grid"], given["mask"])
    if kind == "word":
        return _word(value)
    raise ViewError(f"A pin must be a pixel, a box, a region or a word; got {short(kind)}.")


def _fields(value: object, subject: str, *names: str) -> dict[str, Any]:
    return CHECKS.object_with(value, subject, set(names), {"kind", *names})


def _word(value: object) -> WordQuery:
    given = CHECKS.object_with(value, "A pinned word", {"text"}, {"kind", "text", "nth", "of", "encoder"})
    if not given["text"]:
        raise ViewError("A pinned word must have a text.")
    return WordQuery(
        CHECKS.text(given["text"], "A pinned word", MAX_WORD),
        CHECKS.whole(given.get("nth", 0), "The number of a pinned word", 0, MAX_ENCODING),
        CHECKS.choice(given.get("of", "word"), "The kind of a pinned word", KINDS),
        CHECKS.whole(given.get("encoder", 0), "The encoder of a pinned word", 0, 2 * MAX_ENCODINGS),
    )


def _region(grid: object, mask: object) -> Region:
    if not isinstance(grid, (list, tuple)) or len(grid) != 2:
        raise ViewError(f"A pinned region's grid must be a height and a width; got {short(grid)}.")
    height, width = (CHECKS.whole(side, "A side of a pinned region's grid", 1, MAX_GRID) for side in grid)
    characters = math.ceil(math.ceil(height * width / 8) * 4 / 3)
    if not isinstance(mask, str) or len(mask) != characters:
        raise ViewError(f"A pinned region on a {height}×{width} grid must have a mask of {characters} characters.")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", mask):
        raise ViewError("A pinned region's mask must be base64url.")
    bits = base64.urlsafe_b64decode(mask + "=" * (-characters % 4))
    if not any(bits) or bits[-1] & ((1 << (-(height * width) % 8)) - 1):
        raise ViewError("A pinned region must hold at least one cell, and none outside its grid.")
    return Region((height, width), bits)


def _pins(values: object) -> tuple[Query, ...]:
    if not isinstance(values, (list, tuple)) or len(values) > MAX_PINS:
        raise ViewError(f"The view's pins must be a list of at most {MAX_PINS}.")
    return tuple(query_from_json(value) for value in values)


def _place(value: object, subject: str) -> Place:
    pair = value if isinstance(value, (list, tuple)) else ()
    if len(pair) != 2 or not all(is_number(part) and 0 <= part <= 1 for part in pair):
        raise ViewError(f"{subject} must be a row and a column from 0 to 1; got {short(value)}.")
    return float(pair[0]), float(pair[1])


def _branch(value: object) -> Branch:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_BRANCH:
        raise ViewError(f"The view's branch must be a name of at most {MAX_BRANCH} characters; got {short(value)}.")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ViewError(f"The view's layer must be a name of at most {MAX_NAME} characters; got {short(value)}.")
    return value
