"""Conversion between floating-point types, refused if it would turn a number into an infinity."""

from __future__ import annotations

import torch


def require_fit(converted: torch.Tensor, original: torch.Tensor) -> None:
    """Check that `converted`, which holds the numbers of `original` in another type, is finite.

    Raises:
        ValueError: when a number of `original` does not fit into the other type.
    """
    if converted.dtype != original.dtype and not converted.isfinite().all():
        largest = original.abs().max().item()
        raise ValueError(f"a number as large as {largest:.3g} does not fit into {converted.dtype}")
