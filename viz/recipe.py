"""Recipes: all it takes to make a trace, checked. Following one is `viz.recording.run`; this part needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from models.opening.revision import earlier, revision

MAX_CAPTION, MAX_STEPS, MAX_GUIDANCE, MAX_SEED = 300, 100, 20.0, 2**32 - 1
MODELS = ("critters",)
MAX_VERSIONS, MAX_VERSION = 8, 40


class RecipeError(ValueError):
    """A recipe cannot be followed; the message is one sentence for the person who wrote it."""


@dataclass(frozen=True)
class Recipe:
    """What to draw and how. The same recipe gives the same trace.

    `revision` (a hash of the weights) and `versions` (of libraries) say what it was followed with, where it was.
    Weights that are here are used again, see `weights`; where the rest differs from what is here, the picture may, too.

    Raises:
        RecipeError: when a value is out of its range, saying what is expected and what came.
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
            raise RecipeError(f"The caption has {len(self.caption):,} characters; at most {MAX_CAPTION} are read.")
        self._whole("seed", "The seed", 0, MAX_SEED)
        self._whole("steps", "The number of steps", 1, MAX_STEPS)
        guidance = self.guidance
        if not _is_number(guidance) or not 0 <= guidance <= MAX_GUIDANCE:
            raise RecipeError(f"Guidance must be a number from 0 to {MAX_GUIDANCE:g}; got {_short(guidance)}.")
        if self.model not in MODELS:
            raise RecipeError(f"The model must be {' or '.join(MODELS)}; got {_short(self.model)}.")
        if not isinstance(self.revision, str) or len(self.revision) > MAX_VERSION:
            raise RecipeError(f"The revision must be at most {MAX_VERSION} letters; got {_short(self.revision)}.")
        self._checked_versions()

    @property
    def weights(self) -> str:
        """The revision that it is followed with: its own where that is bundled, else the latest."""
        return self.revision if self.revision in earlier(self.model) else revision(self.model)

    @classmethod
    def from_json(cls, said: object) -> Recipe:
        """A recipe as a trace or a link holds it; raises RecipeError. What else is said in it is left out."""
        if not isinstance(said, dict) or "caption" not in said:
            raise RecipeError("This recipe does not say what to draw.")
        for name, what in {"photo": "from a photo", "negative": "with a negative prompt"}.items():
            if said.get(name):  # left out, the rest would draw another picture
                raise RecipeError(f"It was made {what}, which is not drawn again from words alone.")
        known = ("caption", "seed", "steps", "guidance", "model", "revision", "versions")
        return cls(**{name: said[name] for name in known if name in said})

    def to_json(self) -> dict:
        """What `from_json` reads; empty fields are left out."""
        return {name: value for name, value in asdict(self).items() if value not in ("", {})}

    def _checked_versions(self) -> None:
        versions = self.versions
        if not isinstance(versions, dict) or len(versions) > MAX_VERSIONS:
            raise RecipeError(f"The versions must be an object of at most {MAX_VERSIONS}; got {_short(versions)}.")
        for text in (*versions, *versions.values()):
            if not isinstance(text, str) or len(text) > MAX_VERSION:
                raise RecipeError(f"A version must be at most {MAX_VERSION} letters; got {_short(text)}.")

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
