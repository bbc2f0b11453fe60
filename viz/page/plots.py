"""The plots under the viewer, as a Gradio component: figures are made here from the trace's file, and drawn by Plotly's
own JavaScript, which comes with the Python package and is asked for when there is something to plot."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import plotly
from gradio.data_classes import FileData

from viz.labels import layer_label
from viz.page.served import served_path
from viz.page.viewer import DIVERGING, SEQUENTIAL
from viz.view import Pixel, View, ViewError
from viz.web import WEB

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from viz.curves import Curves
    from viz.trace import Trace

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"

_SKELETON = """
<section class="pixelgaze pg-plots" aria-label="Plots">
  <div class="pg-plot-tools">
    <h2>Plots</h2>
    <span class="pg-unpinned">
      Pin a pixel, a rectangle or a region to see how what it looks at, or who looks at it, changes over the steps.
    </span>
  </div>
  <div class="pg-pinned" hidden>
    <div class="pg-plot-tools">
      <div class="pg-segment" role="group" aria-label="One line for each layer, or for each head">
        <button type="button" data-lines="layers" aria-pressed="true">by layer</button>
        <button type="button" data-lines="heads" aria-pressed="false">by head</button>
      </div>
      <select class="pg-regions" aria-label="Region whose weight is plotted"></select>
      <span class="pg-regionless pg-note-line">
        Pin a rectangle or a region, too, to plot how much of the attention falls into it, or comes from it.
      </span>
    </div>
    <p class="pg-note pg-note-line" role="status"></p>
    <div class="pg-grid"></div>
  </div>
</section>
"""


class Plots(gr.HTML):
    """Entropy, distance and weight of what the pinned query looks at, over the steps; the chosen map with values.

    Of columns, who looks at it, what is received stands in entropy's place.
    """

    def __init__(self, **arguments) -> None:
        super().__init__(
            None,
            html_template=_SKELETON,
            js_on_load=(WEB / "hosts" / "plots.js").read_text(),
            apply_default_css=False,
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "figures, and what they are of"}

    def wire(self, viewer: gr.HTML) -> None:
        """Follow the pins of a viewer."""
        self.pinned(
            _figures,
            viewer,
            self,
            show_progress="hidden",
            trigger_mode="multiple",  # the page asks one at a time
            api_visibility="private",
        )


def _figures(event: gr.EventData, value: dict) -> dict:
    """What is plotted for a view; its errors are for the reader."""
    try:
        view = View.from_json(event.view)
        trace = _opened(str(served_path(value["trace"]["path"])))
        answer = plotted(trace, view, lines=event.lines, region=event.region, outside=event.outside is True)
    except (PermissionError, ViewError, KeyError) as error:
        answer = {"note": str(error), "figures": []}
    return answer | {"number": event.number}  # which question this answers


@lru_cache(maxsize=3)
def _opened(path: str) -> Trace:
    from viz.trace import Trace

    return Trace.load(path)


def plotted(trace: Trace, view: View, *, lines: str = "layers", region: int = -1, outside: bool = False) -> dict:
    """A value for `Plots`.

    Args:
        lines: "layers", one line for each layer, or "heads", for each head of the view's layer.
        region: which pin's weight is plotted, if that is no pixel; with `outside` that of all but it.
    """
    from viz.curves import follow
    from viz.plots import heatmap
    from viz.query import shown_map

    if view.layer not in trace.layers or view.step not in trace.timesteps:
        raise ViewError("This view asks for a layer or a step that this trace does not hold.")
    heads = lines == "heads"
    pins = view.pins or ()
    place = pins[region] if isinstance(region, int) and 0 <= region < len(pins) else None
    if isinstance(place, Pixel):
        place = None
    curves = follow(
        trace,
        view.query,
        mode=view.mode or "row",
        layer=view.layer if heads else None,
        head=view.head,
        region=place,
        outside=outside,
    )
    figures = _over_steps(curves, "" if place is None else f"{'outside' if outside else 'inside'} pin {region + 1}")
    special = bool(view.special) and view.mode != "column"
    figures["map"] = heatmap(shown_map(trace, view), title="The chosen map", diverging=special)
    return {
        "note": _note(view, heads),
        "figures": [{"key": key, "figure": json.loads(figure.to_json())} for key, figure in figures.items()],
        "plotly": FileData(path=str(PLOTLY)).model_dump(),
        "sequential": _scale(SEQUENTIAL),
        "diverging": _scale(DIVERGING),
    }


def _over_steps(curves: Curves, where: str) -> dict[str, go.Figure]:
    """{key: figure}; `where` says which region the weight is of."""
    from viz.plots import over_steps

    drawn = {
        "entropy": (curves.entropy, "Entropy", "bits"),
        "received": (curves.received, "Attention received", "× an average pixel"),
        "distance": (curves.distance, "Mean attention distance", "picture pixels"),
        "weight": (curves.weight, f"Weight {where}", "share of the attention"),
    }
    return {
        key: over_steps(values, curves.steps, curves.timesteps, title=title, unit=unit)
        for key, (values, title, unit) in drawn.items()
        if values is not None
    }


def _note(view: View, heads: bool) -> str:
    """What the curves are of, in words: where the chosen map is another thing, that is said, too."""
    pin = f"pin {(view.active or 0) + 1}"
    head = "mean" if view.head < 0 else f"head {view.head}"
    subject = f"heads of {layer_label(view.layer)}" if heads else f"{head} of every layer"
    if view.mode == "column":
        return (
            f"Who looks at {pin} (its columns; of a region, their mean): {subject}. A column is no distribution and "
            "has no entropy; plotted is how much is received, and of that the mean distance and the region's share."
        )
    rest = " The curves are of whole rows, only the map is less the mean row." if view.special else ""
    return f"What {pin} looks at (its rows; of a region, their mean): {subject}.{rest}"


def _scale(name: str) -> list[list]:
    """A colour scale as Plotly's JavaScript takes it."""
    from plotly.colors import get_colorscale

    return get_colorscale(name)
