"""The plots under the viewer, as a Gradio component.

Figures are made here from the trace's file and drawn by Plotly's own JavaScript, which comes with the Python package
and is fetched when there is something to plot.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
import plotly
from gradio.data_classes import FileData

from viz.colors import DIVERGING, SEQUENTIAL
from viz.labels import layer_label
from viz.page import effort
from viz.page.callers import watched
from viz.page.events import number_in, path_in, value_in
from viz.page.line import Stopped
from viz.page.open_traces import open_trace
from viz.page.script import js_on_load
from viz.page.served import served_path
from viz.view import DIFFERENCE, Area, Lines, Mode, Pixel, View, ViewError, WordQuery

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from viz.curves import Curves
    from viz.layer import Layer
    from viz.query import Maps

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"

_SKELETON = """
<section class="pixelgaze pg-plots" aria-label="Plots">
  <div class="pg-plot-tools">
    <h2>Plots</h2>
    <span class="pg-unpinned">
      Pin a pixel, rectangle, region or word to plot how its attention changes over the steps.
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
        Also pin a rectangle or region to plot how much attention falls inside it, or comes from it.
      </span>
    </div>
    <p class="pg-note pg-note-line" role="status"></p>
    <div class="pg-grid"></div>
  </div>
</section>
"""


class Plots(gr.HTML):
    """Entropy, distance and weight of the pinned query's rows over the steps, and the chosen map with its values.

    For columns, the attention received takes the place of entropy.
    """

    def __init__(self, **arguments) -> None:
        super().__init__(
            None,
            html_template=_SKELETON,
            js_on_load=js_on_load("startPlots", "pinned"),
            apply_default_css=False,
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "figures, and a note about them"}

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


def _figures(event: gr.EventData, value: dict) -> Any:
    """The value for a view; its errors are for the reader. It ends when its visitor leaves."""
    number, stopped = 0, threading.Event()  # of the request; set when nobody waits for the answer
    try:
        number = number_in(event, "number", 2**53)
        view = View.from_json(value_in(event, "view"))
        maps = open_trace(served_path(path_in(value))).maps
        lines: Lines = "heads" if value_in(event, "lines") == "heads" else "layers"
        asked = {"region": value_in(event, "region"), "outside": value_in(event, "outside") is True}
        with watched(stopped):
            return plot(maps, view, lines=lines, is_gone=stopped.is_set, **asked) | {"number": number}
    except Stopped:
        return gr.skip()
    except (OSError, ValueError, KeyError) as error:  # OddEvent, ViewError and the errors of files are ValueErrors
        reason = str(error.args[0] if isinstance(error, KeyError) else error)
        return {"note": reason, "figures": [], "number": number}


def plot(
    maps: Maps,
    view: View,
    *,
    lines: Lines = "layers",
    region: int = -1,
    outside: bool = False,
    is_gone: Callable[[], bool] = lambda: False,
) -> dict:
    """A value for `Plots`. If the curves take too much (`viz.page.effort`), it has the map alone, and a note says so.

    Args:
        lines: "layers", one line for each layer, or "heads", one for each head of the view's layer.
        region: index of the pin whose weight is plotted, unless it is a pixel; with `outside`, the weight of the rest.
        is_gone: whether nobody waits for it any more.

    Raises:
        ViewError: if the trace has no such layer or step, or even the map takes too much.
        viz.page.line.Stopped: when `is_gone()` before the end.
    """
    if view.layer not in maps.trace.layers or view.step not in maps.trace.timesteps:
        raise ViewError("This view names a layer or a step that this trace does not hold.")
    by_head = lines == "heads"
    pins = view.pins or ()
    area = pins[region] if isinstance(region, int) and 0 <= region < len(pins) else None
    if isinstance(area, (Pixel, WordQuery)):
        area = None
    chosen = _map_figure(maps, view, is_gone)
    try:
        curves = _measure(maps, view, area, by_head, outside, is_gone)
    except (effort.TooMuch, effort.Crowded) as error:
        note, figures = str(error), {}
    else:
        where = "" if area is None else f"{'outside' if outside else 'inside'} pin {region + 1}"
        about = _about(maps, view, by_head)
        note = _note(view if len(maps.trace.branches) > 1 else replace(view, branch=None), by_head)
        figures = _over_steps(curves, where, isinstance(view.query, WordQuery), about)
    figures["map"] = chosen
    return {
        "note": note,
        "figures": [{"key": key, "figure": json.loads(figure.to_json())} for key, figure in figures.items()],
        "plotly": FileData(path=str(PLOTLY)).model_dump(),
        "sequential": _scale(SEQUENTIAL),
        "diverging": _scale(DIVERGING),
    }


def _measure(
    maps: Maps, view: View, area: Area | None, by_head: bool, outside: bool, is_gone: Callable[[], bool]
) -> Curves:
    """The curves of a view's query; of a difference of branches, those of the last branch."""
    from viz.curves import measure_over_steps  # these load torch, after the page has started
    from viz.partners import layer_for
    from viz.word_curves import measure_word_over_steps

    layer = layer_for(maps.trace, view.layer, view.query, view.reading) if by_head else None
    branch = None if view.branch == DIFFERENCE else view.branch
    mode = view.mode or "row"
    shared: dict[str, Any] = {
        "layer": layer.name if layer else None,
        "head": view.head,
        "region": area,
        "outside": outside,
        "branch": branch,
    }
    is_word = isinstance(view.query, WordQuery)
    asked = [layer] if layer else maps.layers_for(view.query, branch=branch) if is_word else maps.pixel_layers
    cost = effort.cost_of_curves(maps, asked, view.query, mode, branch or maps.trace.branches[-1])
    advice = _advice(by_head, is_word, mode)
    effort.check(cost, "Plotting this at every step", advice)
    with effort.limited(cost, is_gone, advice):
        if isinstance(view.query, WordQuery):
            return measure_word_over_steps(maps, view.query, **shared)
        return measure_over_steps(maps, view.query, mode=mode, **shared)


def _advice(by_head: bool, is_word: bool, mode: Mode) -> str:
    """What to do where curves take too much."""
    ways = ["choose “by head”, which plots one layer"] * (not by_head)
    ways += ["choose “Looks at”"] if mode == "column" and not is_word else ["pin a pixel"] * is_word
    name = "word_curves.measure_word_over_steps" if is_word else "curves.measure_over_steps"
    ways += [f"save the recording and compute it in Python, with viz.{name}"]
    text = ", or ".join(ways)
    return f"{text[0].upper()}{text[1:]}."


def _map_figure(maps: Maps, view: View, is_gone: Callable[[], bool]) -> go.Figure:
    from viz.partners import is_difference, layer_for
    from viz.plots import heatmap

    unit = "× its mean" if isinstance(view.query, WordQuery) and view.reading == "used" else "× uniform"
    layer = layer_for(maps.trace, view.layer, view.query, view.reading)
    name = f"{_pin_of(maps, view, layer)}; {layer_label(layer.name)}"
    name = name[0].upper() + name[1:]
    mode = view.mode or "row"
    cost = effort.cost_of_map(layer, view.query, mode, bool(view.special), _is_summed(maps, view, layer))
    advice = effort.advice_on_map(view.query, mode, bool(view.special))
    effort.check(cost, "The map of this pin", advice)
    with effort.limited(cost, is_gone, advice):
        values = _chosen_map(maps, view)
    return heatmap(values, title="The chosen map", diverging=is_difference(view), unit=unit, subtitle=name)


def _is_summed(maps: Maps, view: View, layer: Layer) -> bool:
    return maps.has_sums(layer.name, view.step, view.branch or maps.trace.branches[-1])


def _pin_of(maps: Maps, view: View, layer: Layer) -> str:
    """ "pin 1, row 9, column 22" on the grid of a layer."""
    from viz.figure_content import name_of  # these load torch
    from viz.query import query_grid

    return f"pin {(view.active or 0) + 1}, {name_of(view.query, query_grid(layer, view.mode or 'row'))}"


def _about(maps: Maps, view: View, by_head: bool) -> dict[str, str]:
    """What all lines are of: the pin, and the head or, where each line is a head, the layer.

    Of several layers, the finest grid says where the pin is.
    """
    from viz.partners import layer_for  # loads torch

    if by_head:
        layer = layer_for(maps.trace, view.layer, view.query, view.reading)
        return {"pin": _pin_of(maps, view, layer), "layer": layer.name}
    finest = max(maps.layers, key=lambda layer: layer.grid[0] * layer.grid[1])
    return {"pin": _pin_of(maps, view, finest), "head": "mean of all heads" if view.head < 0 else f"head {view.head}"}


def _chosen_map(maps: Maps, view: View) -> np.ndarray:
    """The map of a view; NaN where there is none, which Plotly leaves empty."""
    from viz.partners import layer_for, mode_of  # load torch
    from viz.query import map_grid

    layer = layer_for(maps.trace, view.layer, view.query, view.reading)
    has_map = layer in maps.layers_for(view.query, reading=view.reading or "spent", branch=view.branch)
    if not has_map or view.step in maps.trace.gaps.get(layer.name, {}):
        return np.full(map_grid(layer, mode_of(view.query, view)), np.nan)
    return maps.of_view(replace(view, layer=layer.name))


def _over_steps(curves: Curves, where: str, of_word: bool, about: dict[str, str]) -> dict[str, go.Figure]:
    """{key: figure}; `where` names the region of the weight, and `about` says what all lines are of."""
    from viz.plots import over_steps

    received = (
        ("Attention on the word", "share of attention") if of_word else ("Attention received", "× an average cell")
    )
    spent = "Of the attention on the word," if of_word else "Attention"
    pin, other = about.values()
    subtitle = f"{pin}; {layer_label(other) if 'layer' in about else other}"
    subtitle = subtitle[0].upper() + subtitle[1:]
    entropy, unit = curves.comparable_entropy
    measures = {
        "entropy": (entropy, "Entropy", unit),
        "received": (curves.received, *received),
        "distance": (curves.distance, "Mean attention distance", "picture pixels"),
        "weight": (curves.weight, f"{spent} {where}", "share of attention"),
    }
    return {
        key: over_steps(values, curves.steps, curves.timesteps, title=title, unit=unit, subtitle=subtitle, about=about)
        for key, (values, title, unit) in measures.items()
        if values
    }


def _note(view: View, by_head: bool) -> str:
    """What the curves show, in words, and how the chosen map differs from it."""
    pin = f"Pin {(view.active or 0) + 1}"
    head = "mean" if view.head < 0 else f"head {view.head}"
    subject = f"heads of {layer_label(view.layer)}" if by_head else f"{head} of every layer"
    branch = f" The curves are those of the branch “{view.branch}”." if view.branch else ""
    if view.branch == DIFFERENCE:
        branch = " Only the map is the difference; the curves are those of the last branch."
    if isinstance(view.query, WordQuery):
        return f"{pin}: what an average pixel spends on “{view.query.text}”, {subject} that looks at it.{branch}"
    if view.mode == "column":
        return (
            f"{pin}: who looks at it, {subject} (regions: averaged over their cells). Columns don't sum to one, so "
            "they have no entropy; plotted are the attention received, its mean distance, and the region's share of it."
            f"{branch}"
        )
    rest = " The curves show whole rows; only the map has the mean row subtracted." if view.special else ""
    return f"{pin}: what it looks at, {subject} (regions: averaged over their cells).{rest}{branch}"


def _scale(name: str) -> list[list]:
    """A colour scale in the form of Plotly's JavaScript."""
    from plotly.colors import get_colorscale

    return get_colorscale(name)
