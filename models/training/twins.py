"""Whether some head looks from an eye at its twin: the attention a map claims, against masks that are known.

Both eyes of a critter have one colour, and no pixel but the other eye's says which when the noise has eaten this one.
So a head that has learned to coordinate them looks from an eye at its twin. How much it does is A·N, the attention
on a cell times the number of cells: 1 is what looking everywhere alike would give. As a control, the same number is
taken on cells of the same shape, equally far away, where there is no eye.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import nn

from models.critters import SIZE, Critter, draw
from models.pipeline import CritterPipeline
from models.training.train import to_pixels

TIMESTEPS = (50, 250, 500, 750)


def twin_measure(pipeline: CritterPipeline, choosing: Sequence[Critter], reporting: Sequence[Critter]) -> dict:
    """How many times more than uniform the best head looks from an eye at its twin, and at the control place.

    The head is chosen on one set of two-eyed critters and reported on another, so that picking the best of many
    does not flatter it. Medians are over critters, both directions (left to right, right to left) and timesteps.
    """
    chosen = glances(pipeline, choosing)
    medians = {
        (layer, head): float(np.median(array[0, ..., head]))
        for layer, array in chosen.items()
        for head in range(array.shape[-1])
    }
    layer, head = max(medians, key=medians.get)
    twin, control = glances(pipeline, reporting)[layer][..., head]  # (critters·2, T) each
    return {
        "twin_over_uniform": _rounded(np.median(twin)),
        "twin_control": _rounded(np.nanmedian(control)),
        "twin_layer": layer,
        "twin_head": head,
        "twin_by_timestep": dict(zip(TIMESTEPS, map(_rounded, np.median(twin, axis=0)), strict=True)),
        "twin_control_by_timestep": dict(zip(TIMESTEPS, map(_rounded, np.nanmedian(control, axis=0)), strict=True)),
    }


def _rounded(number: float) -> float | None:
    """For JSON, which has no NaN: None where no control place was found."""
    return None if math.isnan(number) else round(float(number), 3)


def two_eyed(number: int, first: int) -> list[Critter]:
    """The first critters with two eyes, from the seed `first` on."""
    return list(islice((c for c in map(draw, count(first)) if c.attributes.eye_count == "two"), number))


@torch.no_grad()
def glances(pipeline: CritterPipeline, critters: Sequence[Critter]) -> dict[str, np.ndarray]:
    """{layer: (2, critters·2, T, H)}: A·N on the twin's cells, then on the control place, of every self-attention head.

    The second axis is every critter's left eye looking right, then every critter's right eye looking left. Where no
    control place can be found, the control is NaN.
    """
    pixels = to_pixels([critter.image for critter in critters])  # (B, 3, 64, 64)
    words = pipeline.encoder(pipeline.encoder.ids([critter.caption() for critter in critters]))
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    found: dict[str, list[np.ndarray]] = {}
    for timestep in TIMESTEPS:
        at = torch.full((len(critters),), timestep)
        with queries_and_keys(pipeline.unet) as layers:
            pipeline.unet(pipeline.scheduler.add_noise(pixels, noise, at), at, words)
        for name, (module, kept) in layers.items():
            found.setdefault(name, []).append(_glances_of_layer(module.heads, kept["to_q"], kept["to_k"], critters))
    return {name: np.stack(arrays, axis=2) for name, arrays in found.items()}


def _glances_of_layer(heads: int, q: torch.Tensor, k: torch.Tensor, critters: Sequence[Critter]) -> np.ndarray:
    """(2, B·2, H) of one layer at one timestep, from its q and k (B, N, H·d)."""
    grid = math.isqrt(k.shape[1])
    directions = []
    for here, there in (("left eye", "right eye"), ("right eye", "left eye")):
        places = [look(critter, here, there, grid) for critter in critters]
        queries = torch.tensor([row * grid + column for (row, column), _, _ in places])
        maps = attention_rows(q, k, heads, queries).unflatten(-1, (grid, grid)).numpy()  # (B, H, h, w)
        pairs = zip(maps, places, strict=True)
        directions.append([[over_uniform(rows, cells) for cells in place[1:]] for rows, place in pairs])
    return np.array(directions).transpose(2, 0, 1, 3).reshape(2, -1, heads)


@contextmanager
def queries_and_keys(unet: UNet2DConditionModel) -> Iterator[dict[str, tuple[Attention, dict[str, torch.Tensor]]]]:
    """{layer: (module, {"to_q": (B, N, H·d), "to_k": (B, N, H·d)})} of the last forward through each self-attention.

    Hooks on the projections, put in on enter and taken out on exit: the group norm before an attention layer and
    its kernel stay what they are. (`viz.record` does this for every family of networks; models/ must not import it.)
    """
    layers, hooks = {}, []
    try:
        for name, module in unet.named_modules():
            if isinstance(module, Attention) and not module.is_cross_attention:
                layers[name] = module, {}
                hooks += [_keep(module, projection, layers[name][1]) for projection in ("to_q", "to_k")]
        yield layers
    finally:
        for hook in hooks:
            hook.remove()


def _keep(module: nn.Module, projection: str, into: dict[str, torch.Tensor]) -> torch.utils.hooks.RemovableHandle:
    def hook(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        into[projection] = output.detach()

    return getattr(module, projection).register_forward_hook(hook)


def attention_rows(q: torch.Tensor, k: torch.Tensor, heads: int, queries: torch.Tensor) -> torch.Tensor:
    """softmax(q_i·K/√d), (B, H, N), of one query token i a picture: q and k are (B, N, H·d), queries (B,)."""
    q = q[torch.arange(len(q)), queries].unflatten(-1, (heads, -1))  # (B, H, d)
    k = k.unflatten(-1, (heads, -1))  # (B, N, H, d)
    return (torch.einsum("bhd,bnhd->bhn", q, k) / math.sqrt(q.shape[-1])).softmax(-1)


def over_uniform(rows: np.ndarray, cells: np.ndarray | None) -> np.ndarray:
    """(H,) A·N averaged over `cells` (h, w) bool, of the maps `rows` (H, h, w) that each sum to 1; NaN if no cells."""
    if cells is None:
        return np.full(len(rows), np.nan)
    return rows[:, cells].mean(axis=1) * cells.size


def look(critter: Critter, here: str, there: str, grid: int) -> tuple[tuple[int, int], np.ndarray, np.ndarray | None]:
    """For the eye `here`: the (row, column) of its centre's cell, the cells of its twin, and those of the control."""
    masks = critter.masks
    touched = covered(masks[here] | masks[there], grid) > 0
    query, twin = centre(masks[here], grid), centre(masks[there], grid)
    cells = reduced(masks[there], grid)
    return query, cells, control_place(cells, query, twin, touched)


def covered(mask: np.ndarray, grid: int) -> np.ndarray:
    """(grid, grid): how much of each cell the (64, 64) mask covers, 0 to 1."""
    side = SIZE // grid
    return mask.reshape(grid, side, grid, side).mean(axis=(1, 3))


def reduced(mask: np.ndarray, grid: int) -> np.ndarray:
    """(grid, grid) bool: the cells at least half covered by the mask; the most covered ones where none is."""
    cover = covered(mask, grid)
    return cover >= min(0.5, cover.max())


def centre(mask: np.ndarray, grid: int) -> tuple[int, int]:
    """The (row, column) of the cell that the mask's centre of mass lies in."""
    row, column = (np.argwhere(mask).mean(axis=0) + 0.5) * grid // SIZE
    return int(row), int(column)


def control_place(
    cells: np.ndarray, query: tuple[int, int], twin: tuple[int, int], eyes: np.ndarray
) -> np.ndarray | None:
    """The twin's cells moved to the other side of the query, equally far; or above or below it where that is no place.

    Args:
        cells: (h, w) bool, the twin's.
        query, twin: (row, column) of the two eyes' centres.
        eyes: (h, w) bool, the cells with a bit of an eye in them, which the control must not touch.
    """
    (row, column), (twin_row, twin_column) = query, twin
    far = round(math.dist(query, twin))
    for target in ((2 * row - twin_row, 2 * column - twin_column), (row - far, column), (row + far, column)):
        moved = np.argwhere(cells) + target - np.array(twin)
        if (moved >= 0).all() and (moved < cells.shape).all() and not eyes[tuple(moved.T)].any():
            control = np.zeros_like(cells)
            control[tuple(moved.T)] = True
            return control
    return None
