"""A query is asked in the same layer in Python and in JavaScript, whichever is chosen."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.node import evaluate
from viz import Trace
from viz.layer import Layer, Segment
from viz.partners import layer_for, rows_for
from viz.view import Pixel, Query, Reading, WordQuery
from viz.web import WEB

GRIDS = ((4, 4), (8, 8), (4, 2))
ASKED: list[tuple[Query, Reading]] = [
    (Pixel((0.5, 0.5)), "spent"),
    (WordQuery("red"), "spent"),
    (WordQuery("red"), "looks"),
]


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Up to six layers of blocks with partners, in any order: self-attention, cross-attention and joint attention."""
    names = draw(st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True))
    layers = {}
    for number in names:
        name = f"block.{number // 2}.attn{1 + number % 2}"
        grid = draw(st.sampled_from(GRIDS))
        pixels, words = Segment("pixels", grid[0] * grid[1], grid), Segment("words", 3)
        queries, keys = draw(st.sampled_from([([pixels], [pixels]), ([pixels], [words]), ([words, pixels],) * 2]))
        layers[name] = Layer(name, tuple(queries), tuple(keys), 1, 2, 1.0)
    return Trace(layers, {0: 1.0}, ("b",), size=(8, 8))


def in_javascript(trace: Trace) -> list:
    """[[the name of the layer for each way to ask, while each layer is chosen], [the rows' names of each way]]."""
    layers = [
        {
            "name": layer.name,
            "keys": [vars(part) for part in layer.keys],
            "queries": [vars(part) for part in layer.queries],
        }
        | {"heads": 1, "head_dim": 2, "scale": 1.0}
        for layer in trace
    ]
    asked = [[query.to_json(), {"reading": reading}] for query, reading in ASKED]
    return evaluate(f"""
        import {{ readLayer }} from {json.dumps(str(WEB / "core/layer.js"))};
        import {{ layerFor, layersFor }} from {json.dumps(str(WEB / "core/query.js"))};
        const all = {json.dumps(layers)}.map((entry, index) => ({{ ...readLayer(entry, "2"), index }}));
        const trace = {{
            all,
            layers: all.filter(({{ keyGrid }}) => keyGrid),
            wordLayers: all.filter(({{ wordKeys }}) => wordKeys.length),
            askingLayers: all.filter(({{ wordQueries }}) => wordQueries),
        }};
        const asked = {json.dumps(asked)};
        answer([
            all.map((layer) => asked.map(([query, view]) => layerFor(trace, layer, query, view).name)),
            asked.map(([query, view]) => layersFor(trace, query, view).map(({{ name }}) => name)),
        ]);
    """)


@settings(max_examples=8)
@given(traces().filter(lambda trace: any(layer.key_grid for layer in trace)))
def test_layer_for_is_the_same_in_python_and_javascript(trace):
    chosen, rows = in_javascript(trace)
    for name, found in zip(trace.layers, chosen, strict=True):
        here = [layer_for(trace, name, query, reading) for query, reading in ASKED]
        assert found == [layer.name for layer in here]
    assert rows == [[layer.name for layer in rows_for(trace, query, reading)] for query, reading in ASKED]


def test_layer_for_prefers_the_partner_to_the_nearest_on_the_same_grid():
    pixels, words = Segment("pixels", 16, (4, 4)), Segment("words", 3)
    cross = [Layer(name, (pixels,), (words,), 1, 2, 1.0) for name in ("a.attn2", "b.attn2")]
    chosen = Layer("a.attn1", (pixels,), (pixels,), 1, 2, 1.0)
    trace = Trace({layer.name: layer for layer in (*cross, chosen)}, {0: 1.0}, ("b",), size=(8, 8))
    assert layer_for(trace, "a.attn1", WordQuery("red")) is cross[0]
    assert layer_for(trace, "b.attn2", WordQuery("red")) is cross[1]
    assert layer_for(trace, "b.attn2", Pixel((0, 0))) is chosen
