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


def over_steps(
    lines: Mapping[str, ArrayLike], steps: Sequence[int], timesteps: Sequence[float | None], *, title: str, unit: str
) -> go.Figure:
    """A measure over the steps, a line for each label, from noise on the left to the picture on the right.

    Args:
        lines: {label: (S,)}; a line breaks off where it is NaN. Labels with the same text before " · " share a colour
            and differ in dashes.
        steps, timesteps: of the S recorded steps; the horizontal axis is the step, labelled with its timestep.
        unit: of the vertical axis, which starts at 0.
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
    return _styled(figure, title).update_layout(hovermode="x unified")


def heatmap(values: ArrayLike, *, title: str, diverging: bool = False, unit: str = "× uniform") -> go.Figure:
    """One map with its values, cell by cell; row 0 is at the top.

    Args:
        values: (h, w) in times uniform.
        diverging: the values are differences, with 0 in the middle of the scale.
        unit: of the values.
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
    return _styled(figure, title)


def _styled(figure: go.Figure, title: str) -> go.Figure:
    return figure.update_layout(
        template="none",
        title={"text": _text(title), "font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        font={"family": "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif", "size": 12},
        margin={"l": 56, "r": 12, "t": 44, "b": 48},
        legend={"font": {"size": 11}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )


def _text(text: str) -> str:
    """Escaped and shortened: Plotly reads a few HTML tags in its texts."""
    short = text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
    return html.escape(short, quote=False)
