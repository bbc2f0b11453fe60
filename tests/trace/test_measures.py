"""The measures, against cases worked by hand."""

import numpy as np
import pytest
import torch

from viz.measures import effective_keys, entropy, mean_distance, peak_offset, region_weight

UNIFORM = np.full((4, 8), 1 / 32)


def one_cell(row: int, column: int, grid=(4, 8)) -> np.ndarray:
    weights = np.zeros(grid)
    weights[row, column] = 1
    return weights


def test_measures_of_uniform_attention():
    assert entropy(UNIFORM) == pytest.approx(5)  # log2(32)
    assert effective_keys(UNIFORM) == pytest.approx(32)
    assert region_weight(UNIFORM, np.ones((4, 8))) == pytest.approx(1)
    corner = np.zeros((4, 8))
    corner[:2, :2] = 1
    assert region_weight(UNIFORM, corner) == pytest.approx(4 / 32)
    assert region_weight(UNIFORM, corner / 2) == pytest.approx(2 / 32)
    two = np.full((1, 2), 0.5)  # from the left cell, half the weight lies one cell of 32 pixels away
    assert mean_distance(two, (0, 0), (64, 64)) == pytest.approx(16)
    square = np.full((2, 2), 0.25)  # 0, 10, 20 and √500 pixels away
    assert mean_distance(square, (0, 0), (20, 40)) == pytest.approx((0 + 10 + 20 + 500**0.5) / 4)


def test_measures_of_pixels_that_look_at_themselves():
    for row, column in ((0, 0), (3, 7), (1, 4)):
        weights = one_cell(row, column)
        assert entropy(weights) == 0 and effective_keys(weights) == 1
        assert mean_distance(weights, (row, column), (64, 64)) == 0
        assert peak_offset(weights, (row, column), (64, 64)).tolist() == [0, 0]
        assert region_weight(weights, weights) == 1 and region_weight(weights, 1 - weights) == 0


def test_measures_of_a_fixed_shift():
    """Every pixel looks one cell down and two to the left: 16 and 16 pixels of a 64 × 64 picture on a 4 × 8 grid."""
    shifted = np.stack([one_cell(row + 1, column - 2) for row in range(3) for column in range(2, 8)])
    queries = [(row, column) for row in range(3) for column in range(2, 8)]
    for weights, query in zip(shifted, queries, strict=True):
        assert peak_offset(weights, query, (64, 64)).tolist() == [16, -16]
        assert mean_distance(weights, query, (64, 64)) == pytest.approx(512**0.5)
        assert entropy(weights) == 0


def test_measures_of_a_mixture_worked_by_hand():
    weights = np.array([[0.5, 0.25], [0.125, 0.125]])
    assert entropy(weights) == pytest.approx(0.5 * 1 + 0.25 * 2 + 2 * 0.125 * 3)
    assert mean_distance(weights, (0.5, 0.5), (2, 2)) == pytest.approx(0.5**0.5)  # a region's centre
    assert peak_offset(weights, (1, 1), (64, 32)).tolist() == [-32, -16]


def test_measures_keep_leading_axes_and_take_torch():
    maps = np.stack([np.stack([UNIFORM, one_cell(0, 1)])] * 3)  # (3, 2, 4, 8)
    for given in (maps, torch.from_numpy(maps), torch.from_numpy(maps).float()):
        assert entropy(given).shape == (3, 2) and np.allclose(entropy(given), [[5, 0]] * 3)
        assert np.allclose(mean_distance(given, (0, 0), (4, 8))[:, 1], 1)
        assert peak_offset(given, (0, 0), (4, 8)).shape == (3, 2, 2)
        assert np.allclose(region_weight(given, one_cell(0, 1)), [[1 / 32, 1]] * 3)


def test_measures_refuse_what_is_not_a_map():
    with pytest.raises(ValueError, match=r"shape \(…, h, w\), got \(3,\)"):
        entropy([0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match=r"grid of the maps, \(4, 8\), got \(2, 2\)"):
        region_weight(UNIFORM, np.ones((2, 2)))
