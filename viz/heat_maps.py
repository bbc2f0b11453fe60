"""DAAM's heat maps of words, so that what was found with them can be repeated on a trace.

Raphael Tang et al., "What the DAAM: Interpreting Stable Diffusion Using Cross Attention", arXiv 2210.04885 (2022).
"""

from __future__ import annotations

import re
from collections.abc import Collection

import torch
from torch.nn.functional import interpolate

from viz.layer import Branch, Grid
from viz.trace import Trace
from viz.words import Word, find_word


def daam(
    trace: Trace,
    word: str | Word,
    *,
    size: Grid | None = None,
    layers: Collection[str] | None = None,
    steps: Collection[int] | None = None,
    branch: Branch | None = None,
    clamp: bool = True,
) -> torch.Tensor:
    """A word's heat map as in Tang et al. 2022: the mean over steps, layers and heads of columns, upscaled bicubically.

    The paper adds the maps up; this is their mean, the same heat map on another scale. As in the authors' code, the
    steps are added first, undershoots of the bicubic interpolation are set to 0, and a word of several tokens is the
    mean of theirs.

    The other maps of a trace differ: `Trace.word_map` is one layer and step, nothing averaged, and a word's weight is
    the *sum* of its tokens'; `Trace.mean_word_map` resizes without overshoot, keeps the mean, takes all layers, the
    middle block too, and says what it averaged.

    Args:
        size: (h, w) to which every map is scaled; by default that of the network's sample, as in the authors' code.
            The paper's formula scales to the picture's size.
        layers: by default the cross-attention layers that look at the word and lie in blocks named down and up, as in
            the paper; all of them in networks without such blocks.
        steps: all by default.
        branch: the last one by default, the conditional one of a guided run.
        clamp: False for the formula to the letter, which says nothing of undershoots.

    Returns:
        (h, w) float32.

    Raises:
        KeyError: for layers, steps, branches or words that were not recorded; if no cross-attention layer looks at the
            word; or if a layer has a gap at one of the steps, because its mean would be another.
        ValueError: if there is nothing to average.
    """
    branch, wanted = branch or trace.branches[-1], list(trace.timesteps) if steps is None else list(steps)
    names = _layers(trace, word, branch) if layers is None else list(layers)
    if not names or not wanted:
        raise ValueError(f"expected at least one layer and one step to average, got {names} and {wanted}")
    total, count = torch.zeros(size or trace.size), 0
    for name in names:
        each = [trace.token_maps(name, word, step=step, branch=branch) for step in wanted]
        tokens = torch.stack(each).mean(0)  # (T, H, h, w)
        scaled = interpolate(tokens, size=size or trace.size, mode="bicubic", align_corners=False)
        scaled = scaled.clamp_min(0) if clamp else scaled
        total += scaled.mean(0).sum(0)
        count += tokens.shape[1]
    return total / count


def _layers(trace: Trace, word: str | Word, branch: Branch) -> list[str]:
    names = [name for name in trace.layers_with(word, branch) if trace.layers[name].kind == "cross"]
    if not names:
        cross = [layer.name for layer in trace if layer.kind == "cross"]
        find_word([each for name in cross for each in trace.words_of(name, branch)], word)  # names the closest
        raise KeyError(f"no cross-attention layer looks at {word!r}")
    return [name for name in names if re.search(r"(?:^|\.)(?:down|up)_blocks?\.", name)] or names
