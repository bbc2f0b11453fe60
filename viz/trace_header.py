"""What the file of a trace says of itself, read without torch and without its numbers."""

from __future__ import annotations

import json
from pathlib import Path

MAX_HEADER = 100_000_000  # as safetensors has it


class HeaderError(ValueError):
    """A file does not begin as the file of a trace does."""


def described(path: str | Path) -> dict:
    """The description in a trace's file: "layers", "timesteps", "recipe" and more, see `viz.trace_file`.

    Only its place is checked, not what it says; `Trace.load` checks all of a file.

    Raises:
        HeaderError: when there is none.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(min(length, MAX_HEADER))
    try:
        said = json.loads(json.loads(text)["__metadata__"]["trace"])
        if not isinstance(said["recipe"], dict) or not isinstance(said["timesteps"], list):
            raise TypeError("no recipe and no timesteps")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise HeaderError(f"expected the file of a trace, got something else ({error})") from error
    return said
