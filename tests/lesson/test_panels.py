"""The panels' numbers, each computed a second way."""

import pytest
import torch

from tests.support.random_weights import numbers
from viz.lesson.panels import compute_panels, feature_colors, flatten, unflatten


def test_compute_panels_gives_scores_and_row_of_a_query(layer_call):
    cell, head = (6, 9), 1
    panels = compute_panels(layer_call, cell, head)
    layer = layer_call.layer
    assert panels.index == 6 * layer.grid[1] + 9 and torch.equal(panels.query, layer_call.query[head, panels.index])
    assert torch.equal(panels.pixel, layer_call.given[:, 6, 9])  # row i of the list is the cell's channels
    assert panels.scores.shape == panels.row.shape == layer.grid
    for key in [(0, 0), (6, 9), (15, 30)]:
        k = panels.keys[flatten(layer.grid, key)]
        assert panels.scores[key].item() == pytest.approx((panels.query @ k).item() * layer.head_dim**-0.5, abs=1e-5)
        expected = panels.scores[key].exp() / panels.scores.exp().sum()
        assert panels.row[key].item() == pytest.approx(expected.item(), abs=1e-6)
    assert panels.total == pytest.approx(1, abs=1e-6)


def test_compute_panels_lists_largest_entries_and_their_contributions(layer_call):
    panels = compute_panels(layer_call, (6, 9), 1)
    assert [key.weight for key in panels.top] == panels.row.flatten().sort(descending=True).values[:5].tolist()
    for key, part in zip(panels.top, panels.contributions, strict=True):
        assert panels.row[key.cell].item() == key.weight
        assert torch.allclose(part, key.weight * layer_call.value[1, key.index])
    everything = compute_panels(layer_call, (6, 9), 1, top=10_000)
    assert len(everything.top) == layer_call.layer.tokens
    assert (everything.contributions.sum(0) - panels.attended).abs().max() < 1e-5
    d = layer_call.value.shape[2]
    assert torch.equal(panels.joined[d : 2 * d], panels.attended)


def test_compute_panels_sharpens_and_flattens_with_temperature(layer_call):
    cold, own, hot = (compute_panels(layer_call, (6, 9), 0, temperature=t) for t in (0.01, 1, 1000))
    assert cold.row.max() > own.row.max() > hot.row.max()
    assert torch.allclose(hot.row, torch.full_like(hot.row, 1 / layer_call.layer.tokens), rtol=1e-2)
    assert cold.row.argmax() == own.scores.argmax()
    assert all(panels.total == pytest.approx(1, abs=1e-6) for panels in (cold, own, hot))
    assert own.difference < 1e-5 < min(cold.difference, hot.difference)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((16, 99), 0), IndexError, r"\(16, 99\) is outside the 32x32 grid"),
        (((0, 0), 2), IndexError, "head 2 is outside the 2 heads of"),
    ],
)
def test_compute_panels_refuses_what_does_not_exist(layer_call, arguments, error, message):
    with pytest.raises(error, match=message):
        compute_panels(layer_call, *arguments)
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        compute_panels(layer_call, (0, 0), 0, temperature=0)


def test_flatten_is_undone_by_unflatten():
    grid = (3, 5)
    cells = numbers(4, *grid)
    rows = cells.flatten(1).T  # (N, C)
    for index in range(15):
        place = unflatten(grid, index)
        assert flatten(grid, place) == index and torch.equal(rows[index], cells[:, place[0], place[1]])
    for wrong in (-1, 15):
        with pytest.raises(IndexError, match="outside a list of 15"):
            unflatten(grid, wrong)


def test_feature_colors_are_principal_components():
    ramp = torch.arange(12.0).reshape(3, 4) - 5.5
    features = torch.stack([10 * ramp, torch.zeros(3, 4), 0.1 * (ramp.square() - ramp.square().mean())])
    colors = feature_colors(features)
    assert colors.shape == (3, 4, 3)
    assert torch.allclose(colors[..., 0], (ramp - ramp.min()) / (ramp.max() - ramp.min()), atol=1e-5)
    assert colors[..., 1].min() == 0 and colors[..., 1].max() == 1
    assert (colors[..., 2] == 0.5).all()  # there is no third component
    assert (feature_colors(torch.ones(2, 3, 4)) == 0.5).all()
