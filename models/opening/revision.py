"""Which weights a bundled model has, told by their content. Needs no torch.

Recorded traces name the weights they were made with. When those are trained further, the ones before stay: what
differs lies in `earlier/<revision>.model.safetensors`, so that every recipe can still be followed to the bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from models.assets import ASSETS

BUNDLED = {"critters": ASSETS / "critters"}
PARTS = ("unet", "encoder", "scheduler")  # of the folder, all that a picture depends on
# Git looks for what files have in common where names end alike: so what is in the history once is not in it twice.
_ENDING = ".model.safetensors"


@cache
def revision(name: str = "critters") -> str:
    """The first 12 hex digits of SHA-256 over the networks' weights and settings; other bits, another revision."""
    return _digest(BUNDLED[name])


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in _files(folder):
        digest.update(file.encode() + hashlib.sha256((folder / file).read_bytes()).digest())
    return digest.hexdigest()[:12]


def _files(folder: Path) -> list[str]:
    """What a revision depends on, within a pipeline's folder."""
    paths = (path for part in PARTS if (folder / part).is_dir() for path in sorted((folder / part).iterdir()))
    return [f"{path.parent.name}/{path.name}" for path in paths if path.suffix in (".safetensors", ".json")]


@cache
def earlier(name: str = "critters") -> dict[str, Path]:
    """{revision: file} of the weights that a bundled model had before: those tensors that differ from today's."""
    return {path.name.removesuffix(_ENDING): path for path in sorted((BUNDLED[name] / "earlier").glob(f"*{_ENDING}"))}


def supersede(folder: Path, new: Path) -> None:
    """Put the pipeline in `new` where the one in `folder` is, which may not be there, and keep the way back.

    Raises:
        ValueError: when more than numbers differ, so that there is no way back.
    """
    before, after = _tensors(folder), _tensors(new)
    if before and _digest(folder) != _digest(new):
        shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in (before, after)]
        if shapes[0] != shapes[1] or _settings(folder) != _settings(new):
            raise ValueError(f"what is in {folder} has other settings or tensors than what should take its place")
        ways = {path: load_file(path) for path in (folder / "earlier").glob(f"*{_ENDING}")}
        ways[folder / "earlier" / f"{_digest(folder)}{_ENDING}"] = {}
        (folder / "earlier").mkdir(exist_ok=True)
        for path, way in ways.items():
            whole = before | way
            save_file({n: x for n, x in whole.items() if not np.array_equal(x, after[n])}, path, {"format": "pt"})
            path.chmod(0o644)
    # What the library notes in settings, such as where the weights came from, does not take the place of what is there.
    noted = shutil.ignore_patterns("*.json") if before else None
    shutil.copytree(new, folder, dirs_exist_ok=True, ignore=noted)


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    """{part.name: tensor} of all that a pipeline's networks have learned."""
    files = [file for file in _files(folder) if file.endswith(".safetensors")]
    return {f"{file.split('/')[0]}.{name}": x for file in files for name, x in load_file(folder / file).items()}


def _settings(folder: Path) -> dict[str, dict]:
    """{file: what it says}, but for what the library notes about itself."""
    said = {file: json.loads((folder / file).read_text()) for file in _files(folder) if file.endswith(".json")}
    return {file: {k: v for k, v in values.items() if not k.startswith("_")} for file, values in said.items()}


def versions() -> dict[str, str]:
    """Of the libraries that decide about a picture's last bits."""
    return {name: version(name) for name in ("torch", "diffusers")}
