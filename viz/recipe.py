"""Recipes: everything needed to make a trace, checked. `viz.recording.run` follows them; this module needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from models.opening.revision import earlier, revision
from viz.checks import Checks, as_whole, short

MAX_CAPTION, MAX_STEPS, MAX_GUIDANCE, MAX_SEED = 300, 100, 20.0, 2**32 - 1
MODELS = ("critters",)
MAX_VERSIONS, MAX_VERSION = 8, 40


class RecipeError(ValueError):
    """A recipe cannot be followed; the message is one sentence for its author."""


CHECKS = Checks(RecipeError)


@dataclass(frozen=True)
class Recipe:
    """What to draw and how. The same recipe gives the same trace.

    Attributes:
        caption: the words to draw.
        revision: hash of the weights it was followed with; "" for any. See `weights`.
        versions: {library: version} it was followed with. With other weights or versions the picture may differ.

    Raises:
        RecipeError: if a value is out of range, saying what was expected and what was given.
    """

    caption: str
    seed: int = 0
    steps: int = 25
    guidance: float = 1.5
    model: str = "critters"
    revision: str = ""
    versions: dict[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.caption, str) or not self.caption.strip():
            raise RecipeError("Say what to draw: the caption is empty.")
        if len(self.caption) > MAX_CAPTION:
            raise RecipeError(f"The caption has {len(self.caption):,} characters; the limit is {MAX_CAPTION}.")
        self._set("seed", CHECKS.whole(as_whole(self.seed), "The seed", 0, MAX_SEED))
        self._set("steps", CHECKS.whole(as_whole(self.steps), "The number of steps", 1, MAX_STEPS))
        CHECKS.number(self.guidance, "Guidance", 0, MAX_GUIDANCE)
        CHECKS.choice(self.model, "The model", MODELS)
        CHECKS.text(self.revision, "The revision", MAX_VERSION)
        if not isinstance(self.versions, dict) or len(self.versions) > MAX_VERSIONS:
            versions = short(self.versions)
            raise RecipeError(f"The versions must be an object of at most {MAX_VERSIONS} fields; got {versions}.")
        for text in (*self.versions, *self.versions.values()):
            CHECKS.text(text, "A version", MAX_VERSION)

    def _set(self, name: str, value: int) -> None:
        object.__setattr__(self, name, value)  # frozen

    @property
    def weights(self) -> str:
        """The revision to follow it with: its own if that one is bundled, else the latest."""
        return self.revision if self.revision in earlier(self.model) else revision(self.model)

    @classmethod
    def from_json(cls, values: object) -> Recipe:
        """The recipe in a trace or a link, without its unknown fields; raises RecipeError."""
        if not isinstance(values, dict) or "caption" not in values:
            raise RecipeError("This recipe does not say what to draw.")
        for name, origin in {"photo": "from a photo", "negative": "with a negative prompt"}.items():
            if values.get(name):  # without it, the rest would draw another picture
                raise RecipeError(f"It was made {origin}, and cannot be drawn again from words alone.")
        known = ("caption", "seed", "steps", "guidance", "model", "revision", "versions")
        return cls(**{name: values[name] for name in known if name in values})

    def to_json(self) -> dict:
        """The JSON that `from_json` reads, without empty fields."""
        return {name: value for name, value in asdict(self).items() if value not in ("", {})}


def check_words(recipe: Recipe, pipeline) -> list[str]:
    """Warnings, a sentence each, about words the model will ignore.

    Args:
        pipeline: the bundled model's, with an `encoder` (`models.words`).

    Raises:
        RecipeError: if the caption has too many words, or none that the model knows.
    """
    try:
        parsed = pipeline.encoder.read(recipe.caption)
    except ValueError as error:
        message = str(error)
        raise RecipeError(message[0].upper() + message[1:] + ".") from error
    if not parsed.words:
        raise RecipeError("The model knows none of these words. Try “a green monster with two yellow eyes”.")
    return parsed.warnings()


def spread(total: int, count: int) -> list[int]:
    """At most `count` indices below `total`, evenly spread, with the first and the last."""
    number = min(total, count)
    return sorted({round(i * (total - 1) / max(1, number - 1)) for i in range(number)})
