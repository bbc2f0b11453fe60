"""Words and the parts that they name: where each stands in a critter's caption, and the part's mask.

A word's *role* is what it says of the critter: the nouns are called after the part they name ("eyes", also for "eye";
"crown" for "horns", "ears" and "antennas"), all others after the attribute whose value they are ("eye_count" for
"two"). A noun and its adjectives have one part. `models.notes.PHRASES` lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.critters import Critter
from models.notes import PHRASES

NOUNS = tuple(PHRASES)
PART_OF: dict[str, str] = {role: noun for noun, values in PHRASES.items() for role in (noun, *values)}
ROLES = (*NOUNS, *(role for values in PHRASES.values() for role in values))
# What a pixel belongs to; the part "monster" is all of these but the last.
REGIONS = ("body", "eyes", "crown", "mouth", "background")
NONE = -1  # where a caption has no word in a role


@dataclass(frozen=True)
class Parts:
    """The masks and words of some critters with captions that mention everything.

    Attributes:
        regions: (P, 64, 64) uint8, for each pixel the index of its region in `REGIONS`.
        words: for each critter, the words of its caption.
        places: (P, R) int64, for each role of `ROLES` the index of its word in the caption; -1 where there is none,
            because the critter has no crown.
    """

    regions: np.ndarray
    words: tuple[tuple[str, ...], ...]
    places: np.ndarray

    def masks(self, role: str) -> np.ndarray:
        """(P, 64, 64) bool: the part that the words in this role name; empty where a critter has no crown."""
        part = PART_OF[role]
        if part == "monster":
            return self.regions != REGIONS.index("background")
        return self.regions == REGIONS.index(part)


def parts_of(critters: Sequence[Critter], words: Sequence[Sequence[str]]) -> Parts:
    """The parts of some critters, and where their captions name them.

    Args:
        words: for each critter, the words of `critter.caption()` as the encoder reads them.

    Raises:
        ValueError: if a caption does not mention everything, in the order that `models.attributes.caption` has.
    """
    regions = np.stack([_regions(critter) for critter in critters])
    places = np.array([_places(critter, of_one) for critter, of_one in zip(critters, words, strict=True)])
    return Parts(regions, tuple(tuple(of_one) for of_one in words), places)


def region_of(part: str) -> str:
    """The region of a critter's part: "eyes" for "left eye", "crown" for "right horn"."""
    last = part.split()[-1]
    return {"eye": "eyes", "horn": "crown", "ear": "crown", "antenna": "crown"}.get(last, last)


def _regions(critter: Critter) -> np.ndarray:
    numbers = [REGIONS.index(region_of(part)) for part in critter.part_names]
    return np.array(numbers, np.uint8)[critter.parts]


def _places(critter: Critter, words: Sequence[str]) -> list[int]:
    """For each role, the index of its word among `words`."""
    attributes = critter.attributes
    nouns = {"eyes": "eye" if attributes.eye_count == "one" else "eyes", "crown": attributes.crown}
    found = dict.fromkeys(ROLES, NONE)
    for role, values in PHRASES.items():
        noun = nouns.get(role, role)
        if noun == "none":
            continue
        expected = [*(getattr(attributes, attribute) for attribute in values.values()), noun]
        first = next((i for i in range(len(words)) if list(words[i : i + len(expected)]) == expected), None)
        if first is None:
            raise ValueError(f"expected {' '.join(expected)!r} in the caption, got {' '.join(words)!r}")
        found |= {name: first + index for index, name in enumerate((*values, role))}
    return [found[role] for role in ROLES]
