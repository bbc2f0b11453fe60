"""What the one who started the server allows: how much memory, and which models are opened by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from viz.recipe import RecipeError
from viz.recording.budget import budget

# In a browser all Q and K of a trace lie in memory, twice as wide as they were sent.
BROWSER_BYTES = 96_000_000


@dataclass(frozen=True)
class Rules:
    """`memory` and `browser`: amounts of memory (`viz.recording.budget`); `models`: the folder of models to open."""

    memory: str | None = None
    models: Path | None = None
    browser: str | None = None


_rules = Rules()


def allow(memory: str | None, models: str | None, browser: str | None = None) -> None:
    """Set the rules.

    Raises:
        ValueError: when `memory` or `browser` is no amount of memory, or `models` no folder.
    """
    global _rules
    budget(memory)
    budget(browser)
    if models is not None and not Path(models).is_dir():
        raise ValueError(f"there is no folder {models}")
    _rules = Rules(memory, Path(models).resolve() if models else None, browser)


def allowed() -> int:
    """Bytes that one recording may take now."""
    return budget(_rules.memory)


def browser() -> int:
    """Bytes of Q and K that are sent to a browser; for a larger trace the server answers, map by map."""
    return budget(_rules.browser) if _rules.browser else BROWSER_BYTES


def offered() -> list[str]:
    """The names of the models in the models folder."""
    if _rules.models is None:
        return []
    return sorted(path.name for path in _rules.models.iterdir() if path.is_dir() or path.suffix == ".safetensors")


def source(name: str, upload: str | None) -> str | Path:
    """What to open: an uploaded file, a model of the models folder, or a Hub id. Other paths are not looked at.

    Raises:
        RecipeError: for anything else.
    """
    if upload:
        return Path(upload)
    name = name.strip()
    if not name:
        raise RecipeError("Say which model: a Hub id such as google/ddpm-cifar10-32, or upload a file.")
    if name in offered():
        return _rules.models / name
    if len(name) > 200 or name.startswith(("/", ".", "~", "\\")) or name.count("/") != 1:
        known = ", ".join(offered()[:8]) or "none here; see --models"
        raise RecipeError(f"Expected a Hub id such as google/ddpm-cifar10-32, or the name of a model folder ({known}).")
    return name
