"""Which files of the server a browser may speak of."""

from __future__ import annotations

from pathlib import Path

from gradio.utils import get_upload_folder

from viz.page.gallery import GALLERY


def ours(path: object) -> Path:
    """The path of a trace that the page has shown or taken in.

    Raises:
        PermissionError: for any other; what a browser says about paths is not believed.
    """
    found = Path(str(path)).resolve()
    if not any(found.is_relative_to(folder) for folder in (GALLERY.resolve(), Path(get_upload_folder()).resolve())):
        raise PermissionError("That is no file of this page.")
    if not found.is_file():
        raise PermissionError("The trace is no longer on the server; draw it again.")
    return found
