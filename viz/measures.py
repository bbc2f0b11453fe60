"""What a map says in numbers: how spread it is, how far it reaches, where its peak lies, what a region gets.

A map is a row of attention on its layer's grid: non-negative, (…, h, w), summing to 1 over h and w. Whatever stands in
front of h and w (steps, heads) is kept. Arrays may be numpy's or torch's; answers are numpy's, float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def entropy(maps: ArrayLike) -> np.ndarray:
    """Shannon's entropy, -Σ p·log2(p), of maps (…, h, w): (…) in bits.

    0 where one cell has all the weight, log2(h·w) where all have the same.
    """
    weights = _maps(maps)
    logarithms = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)  # 0·log 0 is 0
    return np.maximum(0, -(weights * logarithms).sum((-2, -1)))


def effective_keys(maps: ArrayLike) -> np.ndarray:
    """2^entropy of maps (…, h, w): (…), the number of equally weighted cells that would be as spread; 1 to h·w."""
    return 2 ** entropy(maps)


def mean_distance(maps: ArrayLike, query: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    """Mean attention distance ("An Image is Worth 16x16 Words", Dosovitskiy et al. 2020, fig. 7).

    Args:
        maps: (…, h, w).
        query: (row, column) of the cell that looks, on the grid; fractions are allowed, as for a region's centre.
        size: (height, width) of the picture in pixels.

    Returns:
        (…), in picture pixels: the distance from the query to every cell, weighted by the map.
    """
    weights = _maps(maps)
    down, right = _offsets(weights.shape[-2:], query, size)
    return (weights * np.hypot(down[:, None], right)).sum((-2, -1))


def peak_offset(maps: ArrayLike, query: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    """From the query to the cell with the largest weight (the first of equals): (…, 2) as (down, right).

    Arguments as for `mean_distance`; in picture pixels.
    """
    weights = _maps(maps)
    down, right = _offsets(weights.shape[-2:], query, size)
    peak = weights.reshape(*weights.shape[:-2], -1).argmax(-1)
    return np.stack([down[peak // len(right)], right[peak % len(right)]], -1)


def region_weight(maps: ArrayLike, region: ArrayLike) -> np.ndarray:
    """What a region gets of maps (…, h, w): (…), from 0 to 1.

    Args:
        region: (h, w), for each cell the part of it, 0 to 1, that belongs to the region.

    Raises:
        ValueError: when the region is not on the maps' grid.
    """
    weights, share = _maps(maps), np.asarray(region, np.float64)
    if share.shape != weights.shape[-2:]:
        raise ValueError(f"expected a region on the maps' grid {weights.shape[-2:]}, got {share.shape}")
    return (weights * share).sum((-2, -1))


def _maps(maps: ArrayLike) -> np.ndarray:
    weights = np.asarray(maps, np.float64)
    if weights.ndim < 2:
        raise ValueError(f"expected maps of shape (…, h, w), got {weights.shape}")
    return weights


def _offsets(grid: tuple[int, int], query: tuple[float, float], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """How far each row of cells is below the query, and each column to its right, in picture pixels: (h,) and (w,)."""
    down, right = ((np.arange(n) - place) * side / n for n, place, side in zip(grid, query, size, strict=True))
    return down, right
