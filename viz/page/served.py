"""The files that a browser may name."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from gradio.utils import get_upload_folder
from starlette.responses import FileResponse

from viz.page.gallery import GALLERY
from viz.page.store import store

MAX_PATH = 4096  # characters, as in Linux
PIECE = 2**18  # bytes


def send_in_large_pieces() -> None:
    """Let files go out in pieces of `PIECE`, four times as large as Starlette's.

    Each piece is read in another thread, and all answers wait for each other in between: where 40 visitors opened,
    uploaded and exported traces, half of what the event loop did was sending them. Gradio compresses exported HTML
    files piece by piece on the event loop, which takes some milliseconds for each, so they shouldn't be larger.
    """
    FileResponse.chunk_size = PIECE


def served_path(path: object) -> Path:
    """The resolved `path` of a file in the gallery, the store or Gradio's cache. Any browser can send any path.

    Raises:
        PermissionError: when it lies elsewhere, or is gone.
    """
    text = str(path)
    if len(text) > MAX_PATH:  # each of its folders would be looked up
        raise PermissionError("This page does not serve that file.")
    try:
        resolved = Path(text).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a null character, a circle of links
        raise PermissionError("This page does not serve that file.") from error
    if not any(
        resolved.is_relative_to(folder.resolve()) for folder in (GALLERY, store.folder, Path(get_upload_folder()))
    ):
        raise PermissionError("This page does not serve that file.")
    if not resolved.is_file():
        raise PermissionError("The trace is no longer on the server; draw it again.")
    if resolved.is_relative_to(Path(get_upload_folder()).resolve()):
        with suppress(OSError):
            os.utime(resolved)  # it is used, so `viz.page.sweeper` keeps it
    return resolved
