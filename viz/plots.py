"""Plotly figures of arrays. They are returned, never shown, and their texts are escaped."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

# Okabe and Ito's colours for colour-blind eyes, without the two that vanish on black or on white.
COLORS = ("#0072B2", "#56B4E9", "#7F8790", "#009E73", "#D55E00", "#CC79A7", "#E69F00")
DASHES = ("solid", "dash", "dot", "dashdot")
MAX_TEXT = 60
LABEL = 0.055  # of the axis: from one line's name to the next
MOST = 16  # names that fit beside the axis; where there are more lines, there is a legend


def over_steps(
    lines: Mapping[str, ArrayLike],
    steps: Sequence[int],
    timesteps: Sequence[float | None],
    *,
    title: str,
    unit: str,
    subtitle: str = "",
    about: Mapping[str, str] | None = None,
) -> go.Figure:
    """A measure over the steps, a line for each label, from noise on the left to the picture on the right.

    Args:
        lines: {label: (S,)}; a line breaks off where it is NaN. Labels with the same text before " · " share a colour
            and differ in dashes.
        steps, timesteps: of the S recorded steps; the horizontal axis is the step, labelled with its timestep.
        unit: of the vertical axis, which starts at 0.
        subtitle: what the lines are of.
        about: {name: text} of what the lines are of, which the page writes into the CSV.
    """
    figure = go.Figure()
    places = list(dict.fromkeys(label.split(" · ")[0] for label in lines))
    among = dict.fromkeys(places, 0)
    for label, values in lines.items():
        place = label.split(" · ")[0]
        style = {
            "color": COLORS[places.index(place) % len(COLORS)],
            "dash": DASHES[among[place] % len(DASHES)],
            "width": 2,
        }
        among[place] += 1
        figure.add_scatter(
            x=list(steps),
            y=np.asarray(values, float).tolist(),
            name=_text(label),
            meta=label,
            mode="lines+markers",
            line=style,
            marker={"size": 5},
            hovertemplate="%{y:.3g}",
        )
    named = [f"{step}" if t is None else f"{t:g}" for step, t in zip(steps, timesteps, strict=True)]
    figure.update_xaxes(
        title={"text": "timestep t, noise to picture", "standoff": 6}, tickvals=list(steps), ticktext=named, tickangle=0
    )
    figure.update_yaxes(title_text=_text(unit), rangemode="tozero")
    _label_ends(figure, list(steps))
    figure.update_layout(hovermode="x unified", meta={"timesteps": list(timesteps), "about": dict(about or {})})
    return _styled(figure, title, subtitle)


def _label_ends(figure: go.Figure, steps: list[int]) -> None:
    """Write every line's name beside its last point, moved up or down where names would touch, joined by a stroke."""
    last = {line.meta: _last(steps, line.y) for line in figure.data}
    ends = sorted(((*end, line) for line in figure.data if (end := last[line.meta])), key=lambda end: end[1])
    if not 0 < len(ends) <= MOST:
        return
    top = max(max(value for value in line.y if value is not None and value == value) for *_, line in ends) or 1
    high, apart = 1.06 * top, 1.06 * top * LABEL
    places: list[float] = []
    for _, value, _ in ends:
        places.append(max(value, places[-1] + apart) if places else value)
    beyond = max(0.0, places[-1] - high)
    for i in reversed(range(len(places))):  # back down, if they go over the top
        places[i] = min(places[i], places[i + 1] - apart) if i + 1 < len(places) else places[i] - beyond
    span = max(1, steps[-1] - steps[0])
    for (step, value, line), place in zip(ends, places, strict=True):
        figure.add_annotation(
            {"x": step, "y": value, "ax": steps[-1] + 0.06 * span, "ay": place, "axref": "x", "ayref": "y"},
            text=line.name,
            xanchor="left",
            font={"size": 11},
            arrowhead=0,
            arrowwidth=1.5,
            arrowcolor=line.line.color,
            standoff=3,
        )
    widest = max(len(line.meta) for *_, line in ends)
    figure.update_layout(showlegend=False, margin_r=min(200, round(30 + 6.5 * widest)))
    figure.update_xaxes(range=[steps[0] - 0.03 * span, steps[-1] + 0.03 * span])
    figure.update_yaxes(range=[0, max(high, places[-1] + apart / 2)])


def _last(steps: list[int], values: Sequence[float]) -> tuple[int, float] | None:
    """The last step at which a line has a number, and the number."""
    found = [(step, value) for step, value in zip(steps, values, strict=True) if value == value]
    return found[-1] if found else None


def heatmap(
    values: ArrayLike, *, title: str, diverging: bool = False, unit: str = "× uniform", subtitle: str = ""
) -> go.Figure:
    """One map with its values, cell by cell; row 0 is at the top.

    Args:
        values: (h, w) in times uniform.
        diverging: the values are differences, with 0 in the middle of the scale.
        unit: of the values.
        subtitle: what the map is of.
    """
    values = np.asarray(values, float)
    figure = go.Figure(
        go.Heatmap(
            z=values.round(5).tolist(),
            colorscale="balance" if diverging else "Inferno",
            zmid=0 if diverging else None,
            zmin=None if diverging else 0,
            colorbar={"title": {"text": _text(unit)}, "thickness": 12, "outlinewidth": 0},
            hovertemplate=f"row %{{y}}, column %{{x}}<br>%{{z:.4g}}{_text(unit)}<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="column", constrain="domain", showgrid=False, zeroline=False)
    figure.update_yaxes(title_text="row", autorange="reversed", scaleanchor="x", showgrid=False, zeroline=False)
    figure.update_yaxes(constrain="domain")
    return _styled(figure, title, subtitle)


def _styled(figure: go.Figure, title: str, subtitle: str) -> go.Figure:
    return figure.update_layout(
        template="none",
        title={
            "text": _text(title),
            "font": {"size": 15},
            "x": 0.02,
            "xanchor": "left",
            "subtitle": {"text": _text(subtitle, 2 * MAX_TEXT), "font": {"size": 12}},
        },
        font={"family": "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif", "size": 12},
        margin={"l": 56, "r": figure.layout.margin.r or 12, "t": 60, "b": 48},
        legend={"font": {"size": 11}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )


def _text(text: str, most: int = MAX_TEXT) -> str:
    """Escaped and shortened: Plotly reads a few HTML tags in its texts."""
    short = text if len(text) <= most else f"{text[: most - 1]}…"
    return html.escape(short, quote=False)
