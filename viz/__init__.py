"""Record a network's attention as a trace; read the trace and draw its maps."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from viz.figures import figure
    from viz.heat_maps import daam
    from viz.layer import Layer
    from viz.recording.captions import caption_of
    from viz.recording.photo import look_at
    from viz.recording.plan import plan
    from viz.recording.recorder import record
    from viz.trace import Trace
    from viz.words import Caption, Word

__all__ = ["Caption", "Layer", "Trace", "Word", "caption_of", "daam", "figure", "look_at", "plan", "record"]

# Loaded on first use: a page that shows a recorded trace needs no torch.
_MODULES = {
    "Caption": "viz.words",
    "Layer": "viz.layer",
    "Trace": "viz.trace",
    "Word": "viz.words",
    "caption_of": "viz.recording.captions",
    "daam": "viz.heat_maps",
    "figure": "viz.figures",
    "look_at": "viz.recording.photo",
    "plan": "viz.recording.plan",
    "record": "viz.recording.recorder",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'viz' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
