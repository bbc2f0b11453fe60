"""GIFs, opened again."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image


def read_gif(file: Path | IO[bytes]) -> tuple[list[np.ndarray], list[int]]:
    """The frames of a GIF that repeats for ever, (h, w, 3), and their durations in milliseconds."""
    gif: Any = Image.open(file)
    assert gif.info["loop"] == 0
    frames, durations = [], []
    for index in range(gif.n_frames):
        gif.seek(index)
        frames.append(np.asarray(gif.convert("RGB"), int))
        durations.append(gif.info["duration"])
    return frames, durations
