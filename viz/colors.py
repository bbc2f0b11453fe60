"""The two colour scales, the same in the viewer, in pictures and in plots. Both are perceptually uniform."""

from __future__ import annotations

from functools import cache

import numpy as np
from plotly.colors import sample_colorscale, unlabel_rgb

# Plotly's names: dark to light; and, for differences, blue over white to red.
SEQUENTIAL, DIVERGING = "Inferno", "balance"


@cache
def palette(name: str = SEQUENTIAL) -> np.ndarray:
    """(256, 3) uint8: the colours of one of Plotly's scales, from its low to its high end."""
    colors = [unlabel_rgb(color) for color in sample_colorscale(name, [i / 255 for i in range(256)])]
    return np.round(colors).astype(np.uint8)


def in_hex(colors: np.ndarray) -> str:
    """A palette as six hexadecimal digits per colour; viz/web/core/scale.js reads it.

    Gradio copies everything a component holds at every event, and copying one string is quick.
    """
    return colors.astype(np.uint8).tobytes().hex()
