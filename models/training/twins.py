"""Whether some head looks from an eye at its twin: attention maps compared with known masks.

Both eyes of a critter have the same colour, and once noise has hidden one of them, only the other one's pixels tell
which. So a head that has learned to coordinate them looks from an eye at its twin. The measure is A·N, the attention on
a cell times the number of cells, which is 1 for uniform attention. The control is the same number for cells of the same
shape, equally far away, without an eye.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice

import numpy as np
import torch
from diffusers.models.attention_processor import Attention
from torch import nn

from models.critters import SIZE, Critter, draw_critter
from models.pipeline import CritterPipeline
from models.training.batches import to_pixels

TIMESTEPS = (50, 250, 500, 750)


def twin_measure(pipeline: CritterPipeline, choosing: Sequence[Critter], reporting: Sequence[Critter]) -> dict:
    """How much the best head looks from an eye at its twin, and at the control cells, relative to uniform attention.

    The head is chosen on one set of two-eyed critters and measured on another, so that choosing the best of many does
    not flatter it. Medians are over critters, both directions (left to right, right to left) and timesteps.
    """
    candidates = twin_attention(pipeline, choosing)
    medians = {
        (layer, head): float(np.median(array[0, ..., head]))
        for layer, array in candidates.items()
        for head in range(array.shape[-1])
    }
    layer, head = max(medians, key=lambda name: medians[name])
    twin, control = twin_attention(pipeline, reporting)[layer][..., head]  # (critters·2, T) each
    return {
        "twin_over_uniform": _rounded(np.median(twin)),
        "twin_control": _rounded(np.nanmedian(control)),
        "twin_layer": layer,
        "twin_head": head,
        "twin_by_timestep": dict(zip(TIMESTEPS, map(_rounded, np.median(twin, axis=0)), strict=True)),
        "twin_control_by_timestep": dict(zip(TIMESTEPS, map(_rounded, np.nanmedian(control, axis=0)), strict=True)),
    }


def _rounded(number: float) -> float | None:
    """A number for JSON, which has no NaN: None where no control cells were found."""
    return None if math.isnan(number) else round(float(number), 3)


def two_eyed_critters(number: int, first: int) -> list[Critter]:
    """The first `number` critters with two eyes, from the seed `first` on."""
    return list(islice((c for c in map(draw_critter, count(first)) if c.attributes.eye_count == "two"), number))


@torch.no_grad()
def twin_attention(pipeline: CritterPipeline, critters: Sequence[Critter]) -> dict[str, np.ndarray]:
    """{layer: (2, critters·2, T, H)}: A·N of every self-attention head, on the twin's cells and on the control cells.

    The second axis is every critter's left eye looking right, then every critter's right eye looking left. Where no
    control cells are found, the control is NaN.
    """
    pixels = to_pixels([critter.image for critter in critters])  # (B, 3, 64, 64)
    words = pipeline.encoder(pipeline.encoder.ids([critter.caption() for critter in critters]))
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    by_layer: dict[str, list[np.ndarray]] = {}
    for timestep in TIMESTEPS:
        at = torch.full((len(critters),), timestep)
        with queries_and_keys(pipeline.unet) as layers:
            pipeline.unet(pipeline.scheduler.add_noise(pixels, noise, at), at, words)
        for name, (module, projected) in layers.items():
            measured = _layer_twin_attention(module.heads, projected["to_q"], projected["to_k"], critters)
            by_layer.setdefault(name, []).append(measured)
    return {name: np.stack(arrays, axis=2) for name, arrays in by_layer.items()}


def _layer_twin_attention(heads: int, q: torch.Tensor, k: torch.Tensor, critters: Sequence[Critter]) -> np.ndarray:
    """(2, B·2, H) of one layer at one timestep, from its q and k (B, N, H·d)."""
    grid = math.isqrt(k.shape[1])
    directions = []
    for here, there in (("left eye", "right eye"), ("right eye", "left eye")):
        places = [eye_cells(critter, here, there, grid) for critter in critters]
        queries = torch.tensor([row * grid + column for (row, column), _, _ in places])
        maps = attention_rows(q, k, heads, queries).unflatten(-1, (grid, grid)).numpy()  # (B, H, h, w)
        pairs = zip(maps, places, strict=True)
        directions.append([[relative_to_uniform(rows, cells) for cells in place[1:]] for rows, place in pairs])
    return np.array(directions).transpose(2, 0, 1, 3).reshape(2, -1, heads)


@contextmanager
def queries_and_keys(
    unet: nn.Module, *, cross: bool = False
) -> Iterator[dict[str, tuple[Attention, dict[str, torch.Tensor]]]]:
    """{layer: (module, {"to_q": (B, N, H·d), "to_k": (B, M, H·d)})} of the last forward through each self-attention,
    or through each cross-attention, whose keys are words.

    Hooks on the projections, removed on exit; nothing in the network is replaced. (`viz.record` does this for every
    family of networks, but models/ must not import viz.)
    """
    layers: dict[str, tuple[Attention, dict[str, torch.Tensor]]] = {}
    hooks: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for name, module in unet.named_modules():
            if isinstance(module, Attention) and module.is_cross_attention == cross:
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
    """softmax(q_i·K/√d), (B, H, N), of one query token i per picture: q and k are (B, N, H·d), queries (B,)."""
    q = q[torch.arange(len(q)), queries].unflatten(-1, (heads, -1))  # (B, H, d)
    k = k.unflatten(-1, (heads, -1))  # (B, N, H, d)
    return (torch.einsum("bhd,bnhd->bhn", q, k) / math.sqrt(q.shape[-1])).softmax(-1)


def relative_to_uniform(rows: np.ndarray, cells: np.ndarray | None) -> np.ndarray:
    """(H,) A·N, averaged over `cells` (h, w) bool, of maps (H, h, w) that each sum to 1; NaN where `cells` is None."""
    if cells is None:
        return np.full(len(rows), np.nan)
    return rows[:, cells].mean(axis=1) * cells.size


def eye_cells(
    critter: Critter, here: str, there: str, grid: int
) -> tuple[tuple[int, int], np.ndarray, np.ndarray | None]:
    """For the eye `here`: the (row, column) of its centre's cell, its twin's cells, and the control cells."""
    masks = critter.masks
    touched = cell_coverage(masks[here] | masks[there], grid) > 0
    query, twin = centre_cell(masks[here], grid), centre_cell(masks[there], grid)
    cells = mask_cells(masks[there], grid)
    return query, cells, control_cells(cells, query, twin, touched)


def cell_coverage(mask: np.ndarray, grid: int) -> np.ndarray:
    """(grid, grid): the fraction of each cell that the (64, 64) mask covers."""
    side = SIZE // grid
    return mask.reshape(grid, side, grid, side).mean(axis=(1, 3))


def mask_cells(mask: np.ndarray, grid: int) -> np.ndarray:
    """(grid, grid) bool: the cells that the mask covers at least by half; if none, those that it covers most."""
    coverage = cell_coverage(mask, grid)
    return coverage >= min(0.5, coverage.max())


def centre_cell(mask: np.ndarray, grid: int) -> tuple[int, int]:
    """The (row, column) of the cell that contains the mask's centre of mass."""
    row, column = (np.argwhere(mask).mean(axis=0) + 0.5) * grid // SIZE
    return int(row), int(column)


def control_cells(
    cells: np.ndarray, query: tuple[int, int], twin: tuple[int, int], eyes: np.ndarray
) -> np.ndarray | None:
    """The twin's cells moved to the other side of the query, equally far; if there is no room, above or below it.

    Args:
        cells: (h, w) bool, the twin's.
        query, twin: (row, column) of the two eyes' centres.
        eyes: (h, w) bool, the cells that contain a part of an eye, which the control must not touch.
    """
    (row, column), (twin_row, twin_column) = query, twin
    distance = round(math.dist(query, twin))
    for target in ((2 * row - twin_row, 2 * column - twin_column), (row - distance, column), (row + distance, column)):
        moved = np.argwhere(cells) + np.array(target) - np.array(twin)
        if (moved >= 0).all() and (moved < cells.shape).all() and not eyes[tuple(moved.T)].any():
            control = np.zeros_like(cells)
            control[tuple(moved.T)] = True
            return control
    return None
