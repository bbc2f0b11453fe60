"""The lesson's experiments: what is claimed about cells, places and heads."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.classic import AttnBlock, MultiheadBlock, QuadraticAttention, RelativeAttention, SelfAttention2d
from tests.support.random_weights import numbers, randomize
from tests.support.traces import pixel_layer
from viz.lesson.experiments import (
    centre_and_spread,
    convolution_gap,
    mean_distances,
    on_cells,
    row_moments,
    shuffle,
    where_heads_look,
)
from viz.lesson.panels import compute_panels, flatten
from viz.lesson.watch import Call, replay, watch_recipe


@pytest.mark.parametrize("step", [0, 2])
def test_shuffle_moves_the_output_of_the_bundled_attention_along(shared_pipeline, recipe, self_attention, step):
    layer_call = watch_recipe(shared_pipeline, recipe, self_attention, step=step)
    order = torch.randperm(layer_call.layer.tokens, generator=torch.Generator().manual_seed(0))
    module = shared_pipeline.unet.get_submodule(self_attention)
    result = shuffle(on_cells(module, layer_call.layer.grid), layer_call.given, order)
    assert (
        result.gap
        < 1e-5
        < 1e-2
        < (result.shuffled_after.flatten(1) - result.shuffled_after.flatten(1)[:, order]).abs().max()
    )
    convolution = nn.Conv2d(len(layer_call.given), 4, 3, padding=1)
    assert shuffle(convolution, layer_call.given, order).gap > 0.1


@pytest.mark.parametrize(
    ("function", "blind"),
    [
        (randomize(SelfAttention2d(16)), True),
        (randomize(AttnBlock(16, groups=4)), True),
        (randomize(MultiheadBlock(16, groups=4)), True),
        (randomize(nn.Conv2d(16, 16, 3, padding=1)), False),
        (randomize(QuadraticAttention(16, 16, heads=4)), False),
        (on_cells(randomize(RelativeAttention(16, (6, 5), heads=2, head_dim=8)), (6, 5)), False),
    ],
    ids=["sagan", "ddpm", "multihead", "convolution", "quadratic", "relative"],
)
def test_shuffle_tells_who_knows_where_cells_are(function, blind):
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    result = shuffle(function, numbers(16, 6, 5), order)
    assert result.gap < 1e-5 if blind else result.gap > 0.05
    assert result.shuffled_first.shape == result.shuffled_after.shape == (16, 6, 5)


def test_convolution_gap_closes_as_heads_sharpen(layer_call):
    torch.manual_seed(0)
    convolution = nn.Conv2d(len(layer_call.given), 4, 3, padding=1)
    gaps = [convolution_gap(convolution, layer_call.given, sharpness) for sharpness in (1, 5, 25)]
    assert gaps[0] > gaps[1] > 1e-4 > gaps[2]


def test_centre_and_spread_are_those_of_the_heads_gaussian():
    with torch.no_grad():
        block = QuadraticAttention(4, 4, heads=1)
        block.to_q.centres.copy_(torch.tensor([[2.0, -3.0]]))
        block.to_q.sharpness.fill_(0.5)
        query = (12, 14)
        row = block.scores(25, 27).softmax(-1)[0, flatten((25, 27), query)].unflatten(0, (25, 27))
    shift, covariance = centre_and_spread(row, query)
    assert torch.allclose(shift, torch.tensor([2.0, -3.0]), atol=1e-3)
    assert torch.allclose(covariance, torch.eye(2), atol=1e-2)  # 1/(2α)
    shift, covariance = centre_and_spread(F.one_hot(torch.tensor(7), 12).reshape(3, 4).float(), (1, 1))
    assert shift.tolist() == [0, 2] and covariance.abs().max() == 0


def test_where_heads_look_gives_each_rows_centre_and_spread(shared_pipeline, layer_call, recipe, self_attention):
    call = replay(shared_pipeline, recipe).calls[1]
    layers = where_heads_look(shared_pipeline.unet, call)
    assert len(layers) > 3 and all(layer.kind == "self" for layer, _ in layers)
    moments = dict((layer.name, moments) for layer, moments in layers)[self_attention]
    assert moments.shape == (layer_call.layer.heads, layer_call.layer.tokens, 5)
    height, width = layer_call.layer.grid
    for query, head in (((0, 0), 0), ((5, 3), 1)):
        shift, spread = centre_and_spread(compute_panels(layer_call, query, head).row, query)
        down, right, dd, dr, rr = moments[head, flatten(layer_call.layer.grid, query)].tolist()
        assert (down * height, right * width) == pytest.approx(shift.tolist(), abs=1e-4)
        expected = spread[0, 0].item(), spread[0, 1].item(), spread[1, 1].item()
        assert (dd * height**2, dr * height * width, rr * width**2) == pytest.approx(expected, abs=1e-3)


def test_mean_distances_of_blurred_and_sharp_head():
    class GaussianHead(nn.Module):
        """One head that looks at the query's own cell, more or less sharply; at sharpness 0, everywhere alike."""

        def __init__(self, sharpness: float) -> None:
            super().__init__()
            self.attention = QuadraticAttention(4, 4, heads=1)
            with torch.no_grad():
                self.attention.to_q.centres.zero_()
                self.attention.to_q.sharpness.fill_(sharpness)

        def forward(self, sample):
            return self.attention(sample)

    call = Call((numbers(1, 4, 16, 16),))
    (far,), (near,) = (mean_distances(GaussianHead(sharpness), [call, call])["attention"] for sharpness in (0, 100))
    assert far == pytest.approx(3**-0.5, abs=0.02) and near < 1e-3


def test_row_moments_leave_out_keys_that_are_not_cells():
    layer = pixel_layer("layer", (2, 2), heads=1, head_dim=2, registers=1)
    query, key = numbers(1, 4, 2), numbers(1, 5, 2, seed=1)
    pixels = pixel_layer("layer", (2, 2), heads=1, head_dim=2)
    assert torch.equal(row_moments(layer, query, key), row_moments(pixels, query, key[:, 1:]))
