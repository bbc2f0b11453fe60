"""Pictures of maps, with Pillow: a map over its picture, the sheet of an atlas, an animation across the steps.

Functions take arrays and return pictures or bytes. Maps are (h, w) in times uniform: 1 is what chance would give.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from viz.colors import DIVERGING, SEQUENTIAL, palette
from viz.view import Range

# The scales of viz/web/core/scale.js, so that a colour means the same in both.
LOW, HIGH, LINEAR, DIFFERENCE, OWN, FOLD = -2, 5, 8, 4, 7, 31
INK, SOFT, PAPER = "#16181d", "#565d6b", "#ffffff"


def positions(maps: np.ndarray, *, range: Range = "common", log: bool = True, special: bool = False) -> np.ndarray:
    """The positions of maps (…, h, w) on their colour scale, 0 to 1, in the same shape.

    Args:
        range: "common", the same scale for all maps, or "own", up to each map's largest number.
        log: use a logarithmic scale.
        special: the maps are differences, with 0 in the middle of the scale.
    """
    maps = np.asarray(maps, float)
    own = range == "own"
    values = maps / np.maximum(np.abs(maps).max((-2, -1), keepdims=True), 1e-30) if own else maps
    return on_scale(values, own=own, log=log, special=special)


def on_scale(values: np.ndarray, *, own: bool, log: bool, special: bool) -> np.ndarray:
    """The positions of numbers on a colour scale, 0 to 1; with `own` the numbers are shares of the largest."""
    if special:
        if log:
            folded = np.log2(1 + np.abs(values * FOLD if own else values)) / np.log2(1 + FOLD)
            return np.clip(0.5 + 0.5 * np.sign(values) * folded, 0, 1)
        return np.clip(0.5 + 0.5 * values / (1 if own else DIFFERENCE), 0, 1)
    if log:
        logs = np.log2(np.maximum(values, 1e-30))
        return np.clip(1 + logs / OWN if own else (logs - LOW) / (HIGH - LOW), 0, 1)
    return np.clip(values / (1 if own else LINEAR), 0, 1)


def colored(maps: np.ndarray, **scale) -> np.ndarray:
    """(…, h, w, 3) uint8: the colours of maps; `scale` as for `positions`."""
    colors = palette(DIVERGING if scale.get("special") else SEQUENTIAL)
    return colors[np.round(positions(maps, **scale) * 255).astype(int)]


def overlay(
    picture: np.ndarray,
    values: np.ndarray | None,
    *,
    size: int = 512,
    smooth: bool = False,
    opacity: float = 1,
    **scale,
) -> Image.Image:
    """A map over its picture, drawn as in the viewer.

    Args:
        picture: (height, width, 3) uint8.
        values: (h, w), a map on any grid; None for the dimmed picture alone, where a layer has no map.
        size: the longer side of the result, in pixels.
        smooth: blend the cells; by default they keep sharp edges.
        opacity: of the map, and of what dims the picture, 0 to 1.
        scale: as for `positions`.
    """
    height, width = (round(side * size / max(picture.shape[:2])) for side in picture.shape[:2])
    base = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST), float)
    dim = 0.35 * opacity
    dimmed = Image.fromarray((base * (1 - dim) + np.array([8, 6, 14]) * dim).round().astype(np.uint8))
    if values is None:
        return dimmed
    place = positions(values, **scale)
    strength = np.abs(2 * place - 1) if scale.get("special") else place
    opaque = opacity * (0.3 + 0.62 * np.sqrt(strength))  # faint where there is little attention
    alpha = np.round(255 * opaque).astype(np.uint8)
    veil = Image.fromarray(np.dstack([colored(values, **scale), alpha]))
    veil = veil.resize((width, height), Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST)
    return Image.alpha_composite(dimmed.convert("RGBA"), veil).convert("RGB")


def sheet(
    maps: dict[str, np.ndarray], timesteps: Sequence[float | None], *, title: str = "", cell: int = 48, **scale
) -> Image.Image:
    """The atlas as one picture: layers down, steps across, with their names.

    Args:
        maps: {label: (S, h, w)}; a map of NaN is left empty.
        timesteps: of the S steps.
        cell: the longer side of one map, in pixels.
        scale: as for `positions`.
    """
    font, small = ImageFont.load_default(13), ImageFont.load_default(11)
    ratio = next(iter(maps.values())).shape[-2:]
    side = [max(1, round(cell * n / max(ratio))) for n in ratio]
    labels, top, gap = max(int(font.getlength(label)) for label in maps) + 24, 34 if title else 12, 3
    width = labels + len(timesteps) * (side[1] + gap) + 12
    picture = Image.new("RGB", (width, top + len(maps) * (side[0] + gap) + 26), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((12, 10), title, INK, font)
    for row, (label, steps) in enumerate(maps.items()):
        y = top + row * (side[0] + gap)
        pen.text((12, y + side[0] / 2), label, INK, font, anchor="lm")
        for column, values in enumerate(np.asarray(steps, float)):
            x = labels + column * (side[1] + gap)
            if np.isnan(values).any():
                pen.rectangle((x, y, x + side[1] - 1, y + side[0] - 1), outline=SOFT)
                continue
            tile = Image.fromarray(colored(values, **scale))
            picture.paste(tile.resize((side[1], side[0]), Image.Resampling.NEAREST), (x, y))
    for column, timestep in enumerate(timesteps):
        x = labels + column * (side[1] + gap) + side[1] / 2
        pen.text((x, picture.height - 12), "" if timestep is None else f"{timestep:g}", SOFT, small, anchor="mm")
    return picture


def animation(frames: Sequence[Image.Image], *, milliseconds: int = 350) -> bytes:
    """A GIF that repeats and holds its last frame for two seconds, or three times as long if that is longer."""
    file = io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [max(2000, 3 * milliseconds)]
    # Median cut would give rare colours up: those of the colour bar are hardly in the picture.
    coverage: dict = {"method": Image.Quantize.MAXCOVERAGE, "kmeans": 1, "dither": Image.Dither.NONE}
    first, *others = (frame.quantize(256, **coverage) for frame in frames)
    first.save(file, "GIF", save_all=True, append_images=others, duration=durations, loop=0, disposal=1)
    return file.getvalue()
