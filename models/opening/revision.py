"""Revisions: which weights a model has, identified by a hash of its files. Needs no torch.

Recorded traces and measured figures name the revision of the weights they came from. When the bundled weights are
trained further, the tensors that changed are kept in `earlier/<revision>.model.safetensors`, so that every recipe can
still be followed to the bit.
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
PARTS = ("unet", "encoder", "scheduler")  # the folders that a picture depends on
# Git looks for shared content between files whose names end alike, and then stores it only once.
_ENDING = ".model.safetensors"


@cache
def revision(name: str = "critters") -> str:
    """The revision of a bundled model's weights."""
    return revision_of(BUNDLED[name])


def revision_of(folder: Path) -> str:
    """The first 12 hex digits of a SHA-256 over the weights and settings in `folder`: one for each version of them.

    The folder holds a pipeline, or one network with its config.json.
    """
    digest = hashlib.sha256()
    for file in _files(folder):
        digest.update(file.encode() + hashlib.sha256((folder / file).read_bytes()).digest())
    return digest.hexdigest()[:12]


def _files(folder: Path) -> list[str]:
    """The files that a revision depends on, relative to `folder`."""
    parts = [folder / part for part in PARTS if (folder / part).is_dir()] or [folder]
    paths = (path for part in parts for path in sorted(part.glob("*")))
    return [path.relative_to(folder).as_posix() for path in paths if path.suffix in (".safetensors", ".json")]


@cache
def earlier(name: str = "critters") -> dict[str, Path]:
    """{revision: file} of a bundled model's earlier weights; a file holds only the tensors that differ from today's."""
    return {path.name.removesuffix(_ENDING): path for path in sorted((BUNDLED[name] / "earlier").glob(f"*{_ENDING}"))}


def supersede(folder: Path, new: Path) -> None:
    """Replace the pipeline in `folder`, if there is one, by the pipeline in `new`, and keep its weights in `earlier/`.

    Raises:
        ValueError: when settings or shapes differ too, so that the tensors alone could not bring the old model back.
    """
    before, after = _tensors(folder), _tensors(new)
    if before and revision_of(folder) != revision_of(new):
        shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in (before, after)]
        if shapes[0] != shapes[1] or _settings(folder) != _settings(new):
            raise ValueError(
                f"the pipeline in {folder} has other settings or tensors than the one that is to replace it"
            )
        differences = {path: load_file(path) for path in (folder / "earlier").glob(f"*{_ENDING}")}
        differences[folder / "earlier" / f"{revision_of(folder)}{_ENDING}"] = {}
        (folder / "earlier").mkdir(exist_ok=True)
        for path, difference in differences.items():
            whole = before | difference
            save_file({n: x for n, x in whole.items() if not np.array_equal(x, after[n])}, path, {"format": "pt"})
            path.chmod(0o644)
    # Settings are the same but for the library's own notes, such as where the weights came from: keep the old files.
    ignored = shutil.ignore_patterns("*.json") if before else None
    shutil.copytree(new, folder, dirs_exist_ok=True, ignore=ignored)


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    """{part.name: tensor} of everything that a pipeline's networks have learned."""
    files = [file for file in _files(folder) if file.endswith(".safetensors")]
    return {f"{file.split('/')[0]}.{name}": x for file in files for name, x in load_file(folder / file).items()}


def _settings(folder: Path) -> dict[str, dict]:
    """{file: settings}, without the library's notes about itself."""
    settings = {file: json.loads((folder / file).read_text()) for file in _files(folder) if file.endswith(".json")}
    return {file: {k: v for k, v in values.items() if not k.startswith("_")} for file, values in settings.items()}


def versions() -> dict[str, str]:
    """The versions of the libraries on which a picture's last bits depend."""
    return {name: version(name) for name in ("torch", "diffusers")}
