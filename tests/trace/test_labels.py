"""Layers and gaps in words; the same in Python and in the browser."""

import json

import pytest

from tests.support.node import evaluate
from viz.labels import describe_gaps, layer_label
from viz.web import WEB

ATTENTION = "transformer_blocks.0.attn1"
NAMES = [
    f"up_blocks.2.attentions.1.{ATTENTION}",
    f"mid_block.attentions.0.{ATTENTION}",
    "down_blocks.1.attentions.0.transformer_blocks.2.attn1",
    "transformer_blocks.7.attn",
    "transformer_blocks.12.attn2",
    "layers.3.attention",
    "a" * 40,
]
GAPS = {
    "no map at step 5: a": {5: "a"},
    "no map at steps 0 to 2, 7 and 8: a": {0: "a", 1: "a", 2: "a", 7: "a", 8: "a"},
    "no map at steps 0 and 5: a; no map at step 1: b": {0: "a", 1: "b", 5: "a"},
}


def test_layer_label_is_the_browsers():
    module = f"import {{ layerLabel }} from {json.dumps(str(WEB / 'core/trace.js'))};\n"
    assert evaluate(f"{module}answer({json.dumps(NAMES)}.map((name) => layerLabel(name)));") == list(
        map(layer_label, NAMES)
    )


@pytest.mark.parametrize("text", GAPS)
def test_describe_gaps_is_the_browsers(text):
    assert describe_gaps(GAPS[text]) == text
    module = f"import {{ formatGaps }} from {json.dumps(str(WEB / 'core/words.js'))};\n"
    gaps, steps = json.dumps(list(enumerate(GAPS[text].values()))), json.dumps(list(GAPS[text]))
    assert (
        evaluate(f"{module}answer(formatGaps({{ steps: {steps} }}, {{ gaps: new Map({gaps}) }}).join('; '));") == text
    )
