"""What the evaluation found about a caption's words: how often the map of such a word lands on the part it names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache

from models.assets import ASSETS
from models.attributes import ATTRIBUTES, CROWNS

EVALUATION = ASSETS / "critters" / "evaluation.json"
# {noun's role in the evaluation: {role of a word before it: the attribute that it is a value of}}
PHRASES: dict[str, dict[str, str]] = {
    "monster": {"shape": "shape", "body_color": "body_color"},
    "eyes": {"eye_count": "eye_count", "eye_color": "eye_color"},
    "crown": {"crown_color": "crown_color"},
    "mouth": {"mouth_kind": "mouth"},
    "background": {"background_color": "background_color"},
}
_NOUNS = {name: name for name in PHRASES if name != "crown"} | {"eye": "eyes"}
_NOUNS |= {crown: "crown" for crown in CROWNS if crown != "none"}
_VALUES = {value for values in ATTRIBUTES.values() for value in values}


def word_notes(words: Sequence[str], revision: str, label: Callable[[str], str] = str) -> dict[str, str]:
    """{word: a sentence that says how often the best head's map of such a word landed on its part}.

    Words without a part, such as "with", have none.

    Args:
        words: of a caption of the bundled model, in their order.
        revision: of the weights. The dictionary is empty if the evaluation was of others.
        label: makes the short name of a layer.
    """
    figures = _figures()
    if figures.get("revision") != revision or "words" not in figures:
        return {}
    notes: dict[str, list[str]] = {}
    for index, word in enumerate(words):
        role = role_of([each.lower() for each in words], index)
        if role is not None:
            notes.setdefault(word, []).append(_sentence(word.lower(), role, figures["words"], label))
    return {word: " ".join(dict.fromkeys(sentences)) for word, sentences in notes.items()}


def role_of(words: Sequence[str], index: int) -> str | None:
    """The role of one word of a caption: that of a noun, or of an adjective of the noun that it stands before."""
    if words[index] in _NOUNS:
        return _NOUNS[words[index]]
    noun = next((word for word in words[index:] if word not in _VALUES or word in _NOUNS), None)
    values = PHRASES[_NOUNS[noun]] if noun in _NOUNS else {}
    return next((role for role, attribute in values.items() if words[index] in ATTRIBUTES[attribute]), None)


def _sentence(word: str, role: str, figures: dict, label: Callable[[str], str]) -> str:
    measured = figures["roles"][role]
    rate, pictures, best = measured["best"]["rate"], measured["pictures"], measured["best"]
    if word in figures["nouns"]:
        rate, pictures = figures["nouns"][word]["rate"], figures["nouns"][word]["pictures"]
    noun = next(name for name, values in PHRASES.items() if role in (name, *values))
    part = word if word in _NOUNS else {"crown": "horns, ears or antennas"}.get(noun, noun)
    return (
        f"The maximum of its map lies on the {part} in {percent(rate)} of {pictures} drawn pictures, each with four "
        f"amounts of noise ({label(best['layer'])}, head {best['head']}). "
        f"Where the {part} of another picture would be, it lies in {percent(best['elsewhere'])}."
    )


def percent(rate: float) -> str:
    """A rate in per cent, with decimals where it is small or would be rounded to 100."""
    first = 0 if rate in (0, 1) or 0.1 <= rate < 0.99 else 1
    texts = [f"{rate * 100:.{digits}f}" for digits in range(first, 4)]
    return next((text for text in texts if rate == 1 or float(text) < 100), "over 99.999") + " %"


@cache
def _figures() -> dict:
    return json.loads(EVALUATION.read_text()) if EVALUATION.is_file() else {}
