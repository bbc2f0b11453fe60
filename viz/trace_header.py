"""The description in a trace's file, read without torch and without the tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from safetensors import SafetensorError, safe_open

MAX_HEADER = 16_000_000  # bytes, for files of strangers: reading a header takes some 25 times its size


class HeaderError(ValueError):
    """A file does not have the header of a trace."""


def check_header(path: str | Path) -> None:
    """Check the size of a file's header before anything reads it.

    Raises:
        HeaderError: if it is larger than the header of any trace that a page can show, or the file ends before it.
    """
    with open(path, "rb") as file:
        length = file.read(8)
    if len(length) < 8:
        raise HeaderError(f"{Path(path).name} isn't a complete .safetensors file; was its download interrupted?")
    if (size := int.from_bytes(length, "little")) > MAX_HEADER:
        raise HeaderError(f"expected a header of at most {MAX_HEADER:,} bytes, got {size:,}")


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


def prefix_bytes(path: str | Path, layer: str, step: int) -> int:
    """How many bytes from the file's beginning hold a map's Q and K of the branch that is shown, and the pictures.

    Few where the file was saved with `first=(layer, step)`; the pictures are the result and the prediction at the step.

    Raises:
        FileNotFoundError: if there is no such file.
        HeaderError: if it is not the file of a trace, or lacks this map.
    """
    branch = read_description(path)["branches"][-1]  # refuses what is no trace
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    needed = [f"{branch}/{part}/{layer}/{step}" for part in ("query", "key")]
    if missing := [name for name in needed if name not in header]:
        raise HeaderError(f"expected {missing[0]!r} in {Path(path).name}, which has no such tensor")
    shown = [name for name in ("picture", f"preview/{step}", *needed) if name in header]
    return 8 + length + max(header[name]["data_offsets"][1] for name in shown)
