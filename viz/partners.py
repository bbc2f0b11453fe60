"""Which layers of a trace can answer a query, and in which one it is asked while another is chosen.

Cross-attention has no pixels among its keys, and self-attention no words. While a layer of one kind is chosen, a query
for the other is asked in that layer's partner. `viz/web/core/query.js` does the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from viz.layer import Layer
from viz.view import DIFFERENCE, Mode, Query, Reading, View, WordQuery
from viz.words import queries_of_keys, words_of_layer

if TYPE_CHECKING:
    from viz.trace import Trace


def rows_for(trace: Trace, query: Query, reading: Reading | None = None) -> list[Layer]:
    """The layers that can answer a query, the rows of its atlas.

    They are those with pixels among their keys; for a word, with words among them, or to show what the word looks at,
    those in which words are queries. If no layer can, they are those with pixels, which then have no map.
    """
    pixels = [layer for layer in trace if layer.key_grid]
    if not isinstance(query, WordQuery):
        return pixels
    if reading == "looks":
        return [layer for layer in pixels if queries_of_keys(layer)] or pixels
    return word_layers(trace) or pixels


def word_layers(trace: Trace) -> list[Layer]:
    """The layers with words among their keys."""
    return [layer for layer in trace if words_of_layer(layer, None)]


def layer_for(trace: Trace, chosen: str, query: Query, reading: Reading | None = None) -> Layer:
    """The layer in which a query is asked while another is chosen, of a trace with layers that pixels can ask.

    It is the chosen one if that is one of `rows_for`; otherwise its partner in the same block, the nearest on the same
    grid, or the last.

    Raises:
        KeyError: if the chosen layer was not recorded.
    """
    candidates, layer, order = rows_for(trace, query, reading), trace.layers[chosen], list(trace.layers)
    if layer in candidates:
        return layer
    partners = [other for other in candidates if _block(other) == _block(layer)]
    alike = [other for other in candidates if other.grid == layer.grid]
    alike.sort(key=lambda other: abs(order.index(other.name) - order.index(chosen)))
    return (partners or alike or candidates[-1:])[0]


def _block(layer: Layer) -> str:
    """A layer's name without the number of its attention: "attn1" and "attn2" of a block are partners."""
    return re.sub(r"\battn\d+\b", "attn", layer.name, count=1)


def mode_of(query: Query, view: View) -> Mode:
    """Whether the map of a query is a row or a column.

    What pixels spend on a word, and where it is used, is its column; what it looks at is its row.
    """
    if isinstance(query, WordQuery):
        return "row" if view.reading == "looks" else "column"
    return view.mode or "row"


def is_difference(view: View) -> bool:
    """Whether the view's map has numbers below zero: of two branches, or minus the mean row, as only rows of places."""
    minus_mean = bool(view.special) and view.mode != "column" and not isinstance(view.query, WordQuery)
    return minus_mean or view.branch == DIFFERENCE
