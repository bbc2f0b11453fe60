"""The attributes of a critter: their values, random choices of them, and captions in English."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, fields, replace

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49),
    "orange": (240, 140, 40),
    "yellow": (250, 220, 70),
    "green": (60, 170, 80),
    "blue": (60, 110, 220),
    "purple": (140, 70, 190),
    "pink": (245, 150, 190),
    "white": (238, 238, 238),
}
SHAPES = ("round", "square", "triangular", "fluffy")
EYE_COUNTS = ("one", "two", "three")
CROWNS = ("horns", "ears", "antennas", "none")
MOUTHS = ("smiling", "frowning", "toothy", "open")


@dataclass(frozen=True)
class Attributes:
    """All that a caption can mention. `crown_color` is meaningless when `crown` is "none"."""

    shape: str
    body_color: str
    eye_count: str
    eye_color: str
    crown: str
    crown_color: str
    mouth: str
    background_color: str


ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "body_color": tuple(COLORS),
    "eye_count": EYE_COUNTS,
    "eye_color": tuple(COLORS),
    "crown": CROWNS,
    "crown_color": tuple(COLORS),
    "mouth": MOUTHS,
    "background_color": tuple(COLORS),
}
assert tuple(ATTRIBUTES) == tuple(field.name for field in fields(Attributes))


def sample_attributes(rng: random.Random) -> Attributes:
    """Random attributes; every part differs in colour from the part behind it."""
    colors = tuple(COLORS)
    body = rng.choice(colors)
    background = rng.choice([color for color in colors if color != body])
    return Attributes(
        shape=rng.choice(SHAPES),
        body_color=body,
        eye_count=rng.choices(EYE_COUNTS, weights=(1, 3, 1))[0],
        eye_color=rng.choice([color for color in colors if color != body]),
        crown=rng.choices(CROWNS, weights=(3, 3, 3, 1))[0],
        crown_color=rng.choice([color for color in colors if color != background]),
        mouth=rng.choice(MOUTHS),
        background_color=background,
    )


def caption(attributes: Attributes, mentioned: Collection[str] = tuple(ATTRIBUTES)) -> str:
    """The English description of a critter that mentions only the attributes named in `mentioned`.

    A crown's colour is mentioned only with the crown. A critter without a crown has "a bare head".
    """
    value = {name: getattr(attributes, name) for name in ATTRIBUTES if name in mentioned}
    subject = _phrase(value.get("shape"), value.get("body_color"), "monster")
    features = []
    if "eye_count" in value or "eye_color" in value:
        noun = "eye" if attributes.eye_count == "one" else "eyes"
        words = [word for word in (value.get("eye_count"), value.get("eye_color"), noun) if word]
        features.append(_phrase(*words) if words[0] != "one" and noun == "eye" else " ".join(words))
    if value.get("crown") == "none":
        features.append("a bare head")
    elif "crown" in value:
        features.append(" ".join(word for word in (value.get("crown_color"), value["crown"]) if word))
    if "mouth" in value:
        features.append(_phrase(value["mouth"], "mouth"))
    sentence = subject
    if features:
        *earlier, last = features
        sentence += " with " + (", ".join(earlier) + " and " + last if earlier else last)
    if "background_color" in value:
        sentence += " on " + _phrase(value["background_color"], "background")
    return sentence


def _phrase(*words: str | None) -> str:
    """The words that are not None or empty, after their indefinite article."""
    text = " ".join(word for word in words if word)
    return ("an " if text[0] in "aeiou" and not text.startswith("one") else "a ") + text


def change(attributes: Attributes, **values: str) -> Attributes:
    """A copy of `attributes` with some values changed, checked against `ATTRIBUTES`.

    Raises:
        ValueError: for an unknown attribute, or a value that it cannot take.
    """
    for name, value in values.items():
        if name not in ATTRIBUTES:
            raise ValueError(f"no attribute {name!r}; there are {', '.join(ATTRIBUTES)}")
        if value not in ATTRIBUTES[name]:
            raise ValueError(f"{name} cannot be {value!r}; it can be {', '.join(ATTRIBUTES[name])}")
    return replace(attributes, **values)
