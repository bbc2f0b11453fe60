"""The maps of a caption's words over drawn critters: where each has its maximum, and how well it covers its part.

A word's map in a head of a cross-attention layer is the word's column: what each pixel spends on the word. As in the
heat maps of Tang et al. 2022 (arXiv 2210.04885) it is brought to the picture's size with bicubic interpolation, and the
maps of several heads are added at that size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from models.critters import SIZE
from models.pipeline import CritterPipeline
from models.training.twins import TIMESTEPS, queries_and_keys
from models.training.word_parts import NOUNS, ROLES

Head = tuple[str, int]  # the name of a layer, and a head of it
# {name: {role: heads}}: the heads whose mean is the map of this name
Groups = dict[str, dict[str, list[Head]]]
LEVELS = 20  # thresholds are multiples of 1/20 of a map's maximum
THRESHOLDS = np.arange(1, LEVELS) / LEVELS


@dataclass(frozen=True)
class Landings:
    """P pictures, T timesteps, L maps of a word (one for each head, then one for each group), R roles.

    Attributes:
        heads: of the first maps.
        groups: names of the last maps.
        peaks: (P, T, L, R) int16, the pixel that has the map's maximum, counted row by row. Where a caption has no word
            in a role, they mean nothing.
        overlaps: (P, T, L, nouns, thresholds) float16: intersection over union of the noun's part and the pixels where
            its map is at least a share of its maximum, for each of `THRESHOLDS`.
    """

    heads: tuple[Head, ...]
    groups: tuple[str, ...]
    peaks: np.ndarray
    overlaps: np.ndarray


@torch.no_grad()
def landings(
    pipeline: CritterPipeline,
    pixels: torch.Tensor,
    ids: torch.Tensor,
    places: np.ndarray,
    masks_of: Callable[[str], np.ndarray],
    groups: Groups | None = None,
    *,
    batch: int = 25,
    label: str = "",
) -> Landings:
    """Where the words' maps land, for pictures noised to each of `TIMESTEPS`.

    Args:
        pixels: (P, 3, 64, 64) in [-1, 1].
        ids: (P, length) the captions that the network is given, as word indices.
        places: (P, R) where the word of each role stands in them; -1 where it is missing.
        masks_of: gives the masks (P, 64, 64) of a noun's parts, which the maps are compared with.
        groups: heads whose mean is measured, too.
        label: what the progress bar says.
    """
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    masks = torch.from_numpy(np.stack([masks_of(noun) for noun in NOUNS], axis=1))  # (P, nouns, 64, 64)
    groups = groups or {}
    heads = cross_attention_heads(pipeline)
    peaks, overlaps = [], []
    for start in tqdm(range(0, len(pixels), batch), desc=label):
        part = slice(start, start + batch)
        words = pipeline.encoder(ids[part])
        at_steps = []
        for timestep in TIMESTEPS:
            at = torch.full((len(words),), timestep)
            sample = pipeline.scheduler.add_noise(pixels[part], noise[part], at)
            maps = word_maps(pipeline.unet, sample, at, words, torch.from_numpy(places[part]))
            at_steps.append(_measure(maps, heads, groups, masks[part]))
        peaks.append(np.stack([peak for peak, _ in at_steps], axis=1))
        overlaps.append(np.stack([overlap for _, overlap in at_steps], axis=1))
    return Landings(heads, tuple(groups), np.concatenate(peaks), np.concatenate(overlaps))


def cross_attention_heads(pipeline: CritterPipeline) -> tuple[Head, ...]:
    """Every head of every cross-attention layer, in the order of the network's modules."""
    with queries_and_keys(pipeline.unet, cross=True) as layers:
        return tuple((name, head) for name, (module, _) in layers.items() for head in range(module.heads))


def word_maps(
    unet: nn.Module, sample: torch.Tensor, timestep: torch.Tensor, words: torch.Tensor, places: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor]]:
    """(layer, (B, H, R, h, w)) for each cross-attention layer: the columns of the words at `places` (B, R).

    A place of -1 gives the column of the first word.
    """
    with queries_and_keys(unet, cross=True) as layers:
        unet(sample, timestep, words)
    for name, (module, projected) in layers.items():
        q, k = (projected[each].unflatten(-1, (module.heads, -1)) for each in ("to_q", "to_k"))  # (B, n, H, d)
        shares = (torch.einsum("bnhd,bmhd->bhmn", q, k) / math.sqrt(q.shape[-1])).softmax(2)  # (B, H, M, N)
        chosen = places.clamp(min=0)[:, None, :, None].expand(-1, module.heads, -1, shares.shape[-1])
        side = math.isqrt(shares.shape[-1])
        yield name, shares.gather(2, chosen).unflatten(-1, (side, side))


def _measure(
    maps: Iterator[tuple[str, torch.Tensor]], heads: Sequence[Head], groups: Groups, masks: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Peaks (B, L, R) and overlaps (B, L, nouns, thresholds) of one batch at one timestep."""
    peaks, overlaps = [], []
    sums = {group: torch.zeros(len(masks), len(ROLES), SIZE, SIZE) for group in groups}
    for name, of_layer in maps:
        enlarged = enlarge(of_layer)  # (B, H, R, 64, 64)
        for group, by_role in groups.items():
            taken = [[float((name, head) in by_role[role]) for role in ROLES] for head in range(enlarged.shape[1])]
            sums[group] += torch.einsum("bhryx,hr->bryx", enlarged, torch.tensor(taken))
        peaks.append(enlarged.flatten(3).argmax(-1))
        overlaps.append(overlap(enlarged[:, :, : len(NOUNS)], masks[:, None]))
    for total in sums.values():
        peaks.append(total.flatten(2).argmax(-1)[:, None])
        overlaps.append(overlap(total[:, : len(NOUNS)], masks)[:, None])
    found = torch.cat(peaks, 1).numpy().astype(np.int16), torch.cat(overlaps, 1).numpy().astype(np.float16)
    assert found[0].shape[1] == len(heads) + len(groups)
    return found


def enlarge(maps: torch.Tensor) -> torch.Tensor:
    """Maps (…, s, s) at the picture's size (…, 64, 64), bicubic; what overshoots below 0 is 0."""
    by = _bicubic(maps.shape[-1]).to(maps.dtype)
    return (by @ maps @ by.T).clamp(min=0)


@cache
def _bicubic(side: int) -> torch.Tensor:
    """(64, side): what every pixel of a line takes from its cells. Both directions are the same linear map."""
    cells = torch.eye(side)[:, None, :, None].expand(-1, -1, -1, side)  # pictures that are constant along their rows
    return nn.functional.interpolate(cells, size=(SIZE, side), mode="bicubic")[:, 0, :, 0].T.contiguous()


def overlap(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """(…, thresholds): intersection over union of `masks` (…, h, w) and the pixels where maps (…, h, w) reach each
    share of `THRESHOLDS` of their maximum; NaN where a mask is empty. The two are broadcast."""
    most = maps.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
    levels = (maps / most * LEVELS).long().flatten(-2)  # (…, pixels), 0 to LEVELS
    inside = masks.expand(maps.shape).flatten(-2)
    number = levels.shape[:-1].numel()
    offset = torch.arange(number).reshape(*levels.shape[:-1], 1) * 2 * (LEVELS + 1)
    counts = torch.bincount((offset + inside * (LEVELS + 1) + levels).flatten(), minlength=number * 2 * (LEVELS + 1))
    counts = counts.reshape(*levels.shape[:-1], 2, LEVELS + 1).flip(-1).cumsum(-1).flip(-1)  # at least this level
    intersection = counts[..., 1, 1:LEVELS]
    size = inside.sum(-1)[..., None]
    union = counts[..., 0, 1:LEVELS] + size
    return torch.where(size > 0, intersection / union, torch.nan)
