"""What a tap sees in one call of a module."""

from __future__ import annotations

import torch

from viz.probes import Tap


def read_tap(tap: Tap, args: tuple, kwargs: dict, output: object, batch: int) -> torch.Tensor:
    """The tensor that a tap sees.

    Raises:
        ValueError: when it is not a tensor, or does not hold `batch` pictures.
    """
    tensor = tap.read(args, kwargs, output)
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"expected a part of it to return a tensor, got {type(tensor).__name__}")
    pieces = tensor.shape[tap.batch]
    if pieces != batch:
        raise ValueError(_why_other_pieces(pieces, batch))
    return tensor


def _why_other_pieces(pieces: int, batch: int) -> str:
    if pieces < batch:
        return f"it is called with {pieces} of the {batch} pictures of the batch at a time, each part in its own way"
    return (
        f"it works on {pieces} pieces where the network has {batch} pictures: it looks within parts of a picture, or "
        "at one place in several frames, which is not recorded"
    )
