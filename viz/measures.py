"""Maps in numbers: how spread they are, how far they reach, where their peak lies, how much a region receives.

A map is a row of attention on its layer's grid: (…, h, w), not negative, with the sum 1 over h and w. Leading axes
(steps, heads) are kept. Arrays may be NumPy's or PyTorch's; results are NumPy's, float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def entropy(maps: ArrayLike) -> np.ndarray:
    """Shannon's entropy, -Σ p·log2(p), of maps (…, h, w): (…) in bits.

    0 if one cell has all the weight, log2(h·w) if all cells have the same.
    """
    weights = _maps(maps)
    logarithms = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)  # 0·log 0 is 0
    return np.maximum(0, -(weights * logarithms).sum((-2, -1)))


def effective_keys(maps: ArrayLike) -> np.ndarray:
    """2^entropy of maps (…, h, w): (…), the number of equal cells with the same entropy; 1 to h·w."""
    return 2 ** entropy(maps)


def mean_distance(maps: ArrayLike, query: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    """Mean attention distance ("An Image is Worth 16x16 Words", Dosovitskiy et al. 2020, fig. 7).

    Args:
        maps: (…, h, w).
        query: (row, column) of the query's cell on the grid; fractions are allowed, for the centre of a region.
        size: (height, width) of the picture in pixels.

    Returns:
        (…), in picture pixels: the distance from the query to every cell, averaged by the weights of the map.
    """
    weights = _maps(maps)
    down, right = _offsets(weights.shape[-2:], query, size)
    return (weights * np.hypot(down[:, None], right)).sum((-2, -1))


def peak_offset(maps: ArrayLike, query: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    """The offset from the query to the cell with the largest weight, or the first such cell: (…, 2), (down, right).

    Arguments as for `mean_distance`; in picture pixels.
    """
    weights = _maps(maps)
    down, right = _offsets(weights.shape[-2:], query, size)
    peak = weights.reshape(*weights.shape[:-2], -1).argmax(-1)
    return np.stack([down[peak // len(right)], right[peak % len(right)]], -1)


def region_weight(maps: ArrayLike, region: ArrayLike) -> np.ndarray:
    """The weight of a region in maps (…, h, w): (…), from 0 to 1.

    Args:
        region: (h, w), how much of each cell, 0 to 1, belongs to the region.

    Raises:
        ValueError: if the region is not on the grid of the maps.
    """
    weights, share = _maps(maps), np.asarray(region, np.float64)
    if share.shape != weights.shape[-2:]:
        raise ValueError(f"expected a region on the grid of the maps, {weights.shape[-2:]}, got {share.shape}")
    return (weights * share).sum((-2, -1))


def _maps(maps: ArrayLike) -> np.ndarray:
    weights = np.asarray(maps, np.float64)
    if weights.ndim < 2:
        raise ValueError(f"expected maps of shape (…, h, w), got {weights.shape}")
    return weights


def _offsets(grid: tuple[int, int], query: tuple[float, float], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Picture pixels from the query down to each row of cells, (h,), and right to each column, (w,)."""
    down, right = ((np.arange(n) - place) * side / n for n, place, side in zip(grid, query, size, strict=True))
    return down, right
