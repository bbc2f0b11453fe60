"""The maps of words over drawn critters, against the recorder and against formulas written plainly."""

import numpy as np
import pytest
import torch

from models.critters import draw_critter
from models.training.pointing import Measured, Subject
from models.training.twins import TIMESTEPS
from models.training.word_maps import THRESHOLDS, cross_attention_heads, enlarge, overlap, word_maps
from models.training.word_parts import NOUNS, ROLES
from viz import record
from viz.attention import compute_row


@pytest.fixture(scope="module")
def subject(shared_pipeline) -> Subject:
    return Subject.of(shared_pipeline, [draw_critter(seed) for seed in range(6)])


def columns(trace, layer: str, step: int) -> torch.Tensor:
    """(M, H, h, w): every key's column of a recorded cross-attention layer, row after row."""
    height, width = trace.layers[layer].grid
    rows = [[trace.rows(layer, step=step, query=(y, x)) for x in range(width)] for y in range(height)]
    return torch.stack([torch.stack(line) for line in rows]).permute(3, 2, 0, 1)


@torch.no_grad()
def test_word_maps_are_the_recorders_columns(tiny_pipeline, subject):
    for name, weight in tiny_pipeline.unet.named_parameters():
        if name.endswith("attn2.to_q.weight"):
            weight *= 20  # so that words differ by more than rounding
    words = tiny_pipeline.encoder(subject.ids[:1])
    arguments = subject.pixels[:1], torch.tensor([100]), words
    places = torch.from_numpy(subject.places[:1])
    found = dict(word_maps(tiny_pipeline.unet, *arguments, places))
    with record(tiny_pipeline.unet) as trace:
        tiny_pipeline.unet(*arguments)
    layers = [layer.name for layer in trace if layer.kind == "cross"]
    assert sorted(found) == sorted(layers) and len(layers) > 2
    for name in layers:
        expected = columns(trace, name, 0)
        assert expected.std(0).mean() > 0.01  # words differ
        for index, place in enumerate(places[0].tolist()):
            if place >= 0:
                torch.testing.assert_close(found[name][0, :, index], expected[place], atol=1e-6, rtol=1e-4)
