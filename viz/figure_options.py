"""How a figure is made: its parts, layers, steps, width, colours and font."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_args
from typing import Literal as L

from viz.checks import Checks, is_number, short

Part = L["picture", "plain", "atlas", "pins", "heads", "bar"]
Theme = L["light", "dark", "transparent"]
Font = L["sans", "serif"]

PARTS: tuple[Part, ...] = get_args(Part)
LAYERS = ("chosen", "grids", "all")
STEPS = ("chosen", "five", "all")
WIDTHS = {"single": 84, "double": 174, "slide": 254}  # mm: a column, a page of two columns, a slide of 16:9
NARROWEST, WIDEST = 30, 600  # mm
SMALLEST, LARGEST = 4, 40  # pt
FORMATS = ("png", "svg", "pdf")
RESOLUTIONS = (72, 1200)  # dpi


class FigureError(ValueError):
    """A figure cannot be made so; the message is one sentence for the reader."""


CHECKS = Checks(FigureError)


@dataclass(frozen=True)
class Options:
    """The choices of a figure.

    Attributes:
        parts: any of "picture", with the map over it; "plain", without; "atlas", the map in several layers and steps;
            "pins", a row of maps for each pin; "heads", every head of the chosen layer and step; "bar", the colours.
        layers: "chosen", "grids", one of each size, or "all"; or the names of some.
        steps: "chosen", "five" from first to last, or "all"; or some recorded steps.
        width: "single" (84 mm), "double" (174 mm), "slide" (254 mm, 16:9), or millimetres.
        theme: "light", "dark", or "transparent": dark ink on nothing.
        font: "sans" (Helvetica, or what has its widths) or "serif" (Times).
        size: of the font, in points.
        caption: write the caption under the figure.
    """

    parts: tuple[Part, ...] = ("picture", "atlas", "bar")
    layers: str | tuple[str, ...] = "grids"
    steps: str | tuple[int, ...] = "five"
    width: str | float = "double"
    theme: Theme = "light"
    font: Font = "sans"
    size: float = 7
    caption: bool = False

    def __post_init__(self) -> None:
        parts = self.parts
        if not isinstance(parts, (list, tuple)) or not parts or any(part not in PARTS for part in parts):
            raise FigureError(f"A figure's parts must be some of {', '.join(PARTS)}; got {short(parts)}.")
        object.__setattr__(self, "parts", tuple(part for part in PARTS if part in parts))
        for name, known in (("layers", LAYERS), ("steps", STEPS)):
            object.__setattr__(self, name, _chosen(getattr(self, name), name, known))
        CHECKS.choice(self.theme, "A figure's theme", get_args(Theme))
        CHECKS.choice(self.font, "A figure's font", get_args(Font))
        CHECKS.choice(self.caption, "A figure's caption", (True, False))
        if isinstance(self.width, str):
            CHECKS.choice(self.width, "A figure's width", tuple(WIDTHS))
        elif not is_number(self.width) or not NARROWEST <= self.width <= WIDEST:
            raise FigureError(
                f"A figure's width must be {', '.join(WIDTHS)}, or {NARROWEST} to {WIDEST} mm; got {short(self.width)}."
            )
        if not is_number(self.size) or not SMALLEST <= self.size <= LARGEST:
            raise FigureError(f"A figure's font must be of {SMALLEST} to {LARGEST} points; got {short(self.size)}.")

    @property
    def millimetres(self) -> float:
        """The width."""
        return WIDTHS[self.width] if isinstance(self.width, str) else self.width

    @classmethod
    def from_json(cls, values: object) -> Options:
        """Read options from JSON and check them; raises FigureError."""
        given = CHECKS.object_with(values, "A figure's options", set(), {field.name for field in fields(cls)})
        return cls(**given)


def _chosen(value: Any, name: str, known: tuple[str, ...]) -> str | tuple:
    """A choice by name, or a list of some."""
    if isinstance(value, str):
        return CHECKS.choice(value, f"A figure's {name}", known)
    kind = str if name == "layers" else int
    if isinstance(value, (list, tuple)) and value and all(type(each) is kind for each in value):
        return tuple(value)
    raise FigureError(f"A figure's {name} must be {', '.join(known)}, or a list of some; got {short(value)}.")
