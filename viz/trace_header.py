"""The description in a trace's file, read without torch and without the tensors."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open


class HeaderError(ValueError):
    """A file does not have the header of a trace."""


def read_description(path: str | Path) -> dict:
    """The description in a trace's file: "layers", "timesteps", "recipe" and more, see `viz.trace_file`.

    Only checks that the file is complete and has a recipe and timesteps; `Trace.load` checks everything.

    Raises:
        FileNotFoundError: if there is no such file.
        HeaderError: if it is not the file of a trace.
    """
    try:
        with safe_open(path, "np") as file:  # refuses headers of more than 100 MB
            description = json.loads((file.metadata() or {})["trace"])
        if not isinstance(description["recipe"], dict) or not isinstance(description["timesteps"], list):
            raise TypeError("no recipe and no timesteps")
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise HeaderError(f"expected the file of a trace, got something else ({error})") from error
    return description
