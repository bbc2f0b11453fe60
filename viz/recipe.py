"""Recipes: all it takes to make a trace, checked. Following one is `viz.runs`; this part needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CAPTION, MAX_STEPS, MAX_GUIDANCE, MAX_SEED = 300, 100, 20.0, 2**32 - 1


class RecipeError(ValueError):
    """A recipe cannot be followed; the message is one sentence for the person who wrote it."""


@dataclass(frozen=True)
class Recipe:
    """What to draw and how. The same recipe gives the same trace.

    Raises:
        RecipeError: when a value is out of its range, saying what is expected and what came.
    """

    caption: str
    seed: int = 0
    steps: int = 25
    guidance: float = 2.5
    model: str = "critters"

    def __post_init__(self) -> None:
        if not isinstance(self.caption, str) or not self.caption.strip():
            raise RecipeError("Say what to draw: the caption is empty.")
        if len(self.caption) > MAX_CAPTION:
            raise RecipeError(f"The caption has {len(self.caption):,} characters; at most {MAX_CAPTION} are read.")
        self._whole("seed", "The seed", 0, MAX_SEED)
        self._whole("steps", "The number of steps", 1, MAX_STEPS)
        guidance = self.guidance
        if not _is_number(guidance) or not 0 <= guidance <= MAX_GUIDANCE:
            raise RecipeError(f"Guidance must be a number from 0 to {MAX_GUIDANCE:g}; got {_short(guidance)}.")

    def _whole(self, name: str, what: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not _is_number(value) or not low <= value <= high or value != int(value):
            raise RecipeError(f"{what} must be a whole number from {low} to {high:,}; got {_short(value)}.")
        object.__setattr__(self, name, int(value))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a far larger one"
    return f"{value:g}" if isinstance(value, float) else str(value)[:40]


def check_words(recipe: Recipe, pipeline) -> list[str]:
    """Sentences about words that the model will ignore.

    Raises:
        RecipeError: when the caption has too many words, or none that the model knows.
    """
    try:
        reading = pipeline.encoder.read(recipe.caption)
    except ValueError as error:
        message = str(error)
        raise RecipeError(message[0].upper() + message[1:] + ".") from error
    if not reading.words:
        raise RecipeError("The model knows none of these words. Try “a green monster with two yellow eyes”.")
    return reading.warnings()


def spread(total: int, count: int) -> list[int]:
    """At most `count` indices below `total`, evenly spread, the first and the last among them."""
    kept = min(total, count)
    return sorted({round(i * (total - 1) / max(1, kept - 1)) for i in range(kept)})
