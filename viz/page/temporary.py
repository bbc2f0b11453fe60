"""Files of the page that are served for a while."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from gradio.utils import get_upload_folder

if TYPE_CHECKING:  # torch is imported when a trace is written
    from viz.trace import Trace


def save_temporary(trace: Trace, *, compact: bool = False) -> Path:
    """Save a trace in Gradio's cache: it is served from there without a copy, and `viz.page.sweeper` removes it.

    Args:
        compact: as for `Trace.save`.
    """
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return trace.save(folder / f"trace-{uuid.uuid4().hex}.safetensors", compact=compact)
