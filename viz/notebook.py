"""A trace as the output of a notebook's cell: the viewer, or a summary where the viewer cannot be shown.

`Trace._repr_html_` calls it, so a cell that ends with a trace shows it. Everything is in the output: it makes no
request, and a saved notebook shows the same without a kernel, once it is trusted.
"""

from __future__ import annotations

import html
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from viz.export import write_html

if TYPE_CHECKING:
    from viz.trace import Trace

# Q and K in half precision. The output goes into the notebook's file, at about the same size; the bundled model's whole
# run of 25 steps fits.
LARGEST = 40_000_000
HEIGHT = 820  # pixels: the atlas of ten layers beside the picture, and the sentence below them


def as_html(trace: Trace, *, largest: int = LARGEST) -> str:
    """The HTML of a cell's output: an iframe that holds the viewer, or a sentence that says why not, and a summary.

    Args:
        largest: bytes of Q and K in half precision from which on there is a summary only.
    """
    if (reason := _reason(trace, largest)) is not None:
        return _summary(trace, reason)
    try:
        return _frame(trace)
    except ValueError as error:  # only some queries are kept, or a number is too large for half precision
        return _summary(trace, str(error))


def _reason(trace: Trace, largest: int) -> str | None:
    """Why the viewer cannot show a trace in a notebook, as far as that is known without packing it."""
    if not trace.layers or not trace.queries:
        return "Nothing has been recorded in this trace."
    size = 2 * sum(tensor.numel() for store in (trace.queries, trace.keys) for tensor in store.values())
    if size <= largest:
        return None
    return (
        f"This trace is too large for the output of a cell: {size / 1e6:,.0f} MB of Q and K in half precision, where "
        f"at most {largest / 1e6:,.0f} MB are put into a notebook. Show a part of it with "
        f"trace.select(steps=trace.steps[::4]), or write a file with viz.export.write_html(trace, 'run.html')."
    )


def _frame(trace: Trace) -> str:
    """The one HTML file in a frame of its own origin, which can neither read the notebook nor send anything."""
    with tempfile.TemporaryDirectory() as folder:
        document = write_html(trace, Path(folder) / "trace.html").read_text(encoding="utf-8")
    return (
        f'<iframe title="PixelGaze: {html.escape(_title(trace))}" sandbox="allow-scripts allow-downloads" '
        f'allow="fullscreen" style="width: 100%; height: {HEIGHT}px; border: 0" '
        f'srcdoc="{html.escape(document)}"></iframe>'
    )


def _title(trace: Trace) -> str:
    caption = trace.recipe.get("caption")
    return caption[:200] if isinstance(caption, str) and caption else "a recorded trace"


def _summary(trace: Trace, reason: str) -> str:
    """The reason and a table with what the trace holds."""
    kinds = [layer.kind for layer in trace.layers.values()]
    counts = ", ".join(f"{kinds.count(kind)} {kind}-attention" for kind in dict.fromkeys(kinds))
    rows = {
        "caption": _title(trace),
        "layers": f"{len(kinds)} ({counts})" if kinds else "none",
        "steps": f"{len(trace.timesteps)}",
        "pictures of the batch": ", ".join(trace.branches),
        "Q and K": f"{trace.kept_bytes / 1e6:,.0f} MB",
        "left out": f"{len(trace.skipped)} modules, see trace.skipped" if trace.skipped else "",
    }
    cells = "".join(
        f"<tr><th style='text-align: left'>{name}</th><td style='text-align: left'>{html.escape(text)}</td></tr>"
        for name, text in rows.items()
        if text
    )
    return f"<div><p>{html.escape(reason)}</p><table>{cells}</table></div>"
