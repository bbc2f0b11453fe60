"""Limits set on the command line: how much memory recordings may take, and which models can be opened by name."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from models.opening.errors import CannotOpen
from models.opening.folders import UNETS, read_json
from viz.page import public
from viz.recipe import RecipeError
from viz.recording.budget import budget

# A browser holds all Q and K of a trace in memory, at twice the size at which they are sent.
BROWSER_BYTES = 96_000_000
DOWNLOAD_BYTES = 16_000_000_000  # Stable Diffusion XL has 14 GB
MODELS_SHARE = 0.7  # of the free memory; recordings take a quarter of what is left at the time


@dataclass(frozen=True)
class Limits:
    """`models` is a folder of models; the others are amounts as `viz.recording.budget` reads them."""

    memory: str | None = None
    models: Path | None = None
    browser: str | None = None
    open_models: str | None = None
    download: str | None = None


_limits = Limits()


def set_limits(
    memory: str | None,
    models: str | None,
    browser: str | None = None,
    open_models: str | None = None,
    download: str | None = None,
) -> None:
    """Set the limits of this server.

    Raises:
        ValueError: when `models` is not a folder, or another is not an amount of memory.
    """
    global _limits
    for amount in (memory, browser, open_models, download):
        budget(amount)
    if models is not None and not Path(models).is_dir():
        raise ValueError(f"--models must be a folder; there is none at {models}")
    _limits = Limits(memory, Path(models).resolve() if models else None, browser, open_models, download)


def memory_limit() -> int:
    """Bytes that one recording may take now."""
    return budget(_limits.memory)


def models_limit(free: int) -> int:
    """Bytes that visitors' open models may take together.

    Args:
        free: bytes that would be free without them; most of it, unless the command line sets a limit.
    """
    return budget(_limits.open_models) if _limits.open_models else int(free * MODELS_SHARE)


def download_limit() -> int:
    """Bytes that the files of a model on the Hub may have."""
    return budget(_limits.download) if _limits.download else DOWNLOAD_BYTES


def browser_limit() -> int:
    """Bytes of Q and K that are sent to a browser; for larger traces the server computes the maps."""
    return budget(_limits.browser) if _limits.browser else BROWSER_BYTES


def model_names() -> list[str]:
    """Names of the models in the models folder."""
    if _limits.models is None:
        return []
    return sorted(path.name for path in _limits.models.iterdir() if path.is_dir() or path.suffix == ".safetensors")


def offered_names() -> list[str]:
    """Those of them that are worth offering: files, and folders whose index names a U-Net."""
    return [name for name in model_names() if _limits.models is not None and _names_a_unet(_limits.models / name)]


def _names_a_unet(path: Path) -> bool:
    if path.is_file():
        return True
    with suppress(CannotOpen):
        if (path / "model_index.json").is_file():
            return "unet" in read_json(path / "model_index.json")
        return read_json(path / "config.json").get("_class_name") in UNETS
    return False


def resolve_source(name: str, upload: str | None = None) -> str | Path:
    """The model to open: an uploaded file, a model from the models folder, or a Hugging Face model ID.

    Raises:
        RecipeError: for anything else, such as a path elsewhere on the server.
    """
    if public.caps() is not None:
        return _listed(name, upload)
    if upload:
        return Path(upload)
    name = name.strip()
    if not name:
        raise RecipeError("Enter a Hugging Face model ID such as google/ddpm-cifar10-32, or upload a file.")
    if _limits.models is not None and name in model_names():
        return _limits.models / name
    if len(name) > 200 or name.startswith(("/", ".", "~", "\\")) or name.count("/") != 1:
        known = ", ".join(model_names()[:8])
        folder = f"the name of a model in the server's folder ({known})" if known else "upload a file"
        raise RecipeError(f"Expected a Hugging Face model ID such as google/ddpm-cifar10-32, or {folder}.")
    return name


def _listed(name: str, upload: str | None) -> Path:
    """On a public page: a model of the models folder."""
    names = model_names()
    if upload or _limits.models is None or name.strip() not in names:
        known = f": {', '.join(names[:8])}" if names else ", which has none besides the bundled one"
        raise RecipeError(f"This public page opens the models in its own folder only{known}.")
    return _limits.models / name.strip()
