"""Which weights a bundled model has, told by their content. Needs no torch."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

BUNDLED = {"critters": Path(__file__).parent.parent / "assets" / "critters"}
PARTS = ("unet", "encoder", "scheduler")  # of the folder, all that a picture depends on


@cache
def revision(name: str = "critters") -> str:
    """The first 12 hex digits of SHA-256 over the networks' weights and settings; other bits, another revision."""
    digest = hashlib.sha256()
    for part in PARTS:
        for path in sorted((BUNDLED[name] / part).iterdir()):
            if path.suffix in (".safetensors", ".json"):
                digest.update(f"{part}/{path.name}".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def versions() -> dict[str, str]:
    """Of the libraries that decide about a picture's last bits."""
    return {name: version(name) for name in ("torch", "diffusers")}
