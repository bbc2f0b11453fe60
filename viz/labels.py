"""Short names for layers, and their gaps in words, as in the browser (viz/web/core/trace.js, words.js)."""

from __future__ import annotations

import re
from collections.abc import Mapping


def layer_label(name: str) -> str:
    """The label of a layer: "up_blocks.2.attentions.1.transformer_blocks.0.attn1" becomes "up 2 · attention 1",
    and "transformer_blocks.7.attn" "block 7".

    A name of any other form is cut to its end if it is long.
    """
    if joint := re.match(r"transformer_blocks\.(\d+)\.attn(2?)", name):
        return f"block {joint[1]}" + (" · attn2" if joint[2] else "")
    block = re.search(r"(?:^|\.)(down|up)_blocks\.(\d+)", name)
    attention, depth = re.search(r"attentions\.(\d+)", name), re.search(r"transformer_blocks\.([1-9]\d*)", name)
    if re.search(r"(?:^|\.)mid_block(?:\.|$)", name):
        place = "middle"
    elif block:
        place = f"{block[1]} {block[2]}"
    else:
        return name if len(name) <= 26 else f"…{name[-25:]}"
    return place + (f" · attention {attention[1]}" if attention else "") + (f".{depth[1]}" if depth else "")


def describe_gaps(gaps: Mapping[int, str]) -> str:
    """{step: reason} in words: "no map at steps 3 to 5 and 9: it did not run"."""
    by_reason: dict[str, list[int]] = {}
    for step, reason in sorted(gaps.items()):
        by_reason.setdefault(reason, []).append(step)
    return "; ".join(f"no map at {describe_steps(steps)}: {reason}" for reason, steps in by_reason.items())


def describe_steps(steps: list[int]) -> str:
    runs: list[list[int]] = []
    for step in steps:
        if runs and runs[-1][-1] == step - 1:
            runs[-1].append(step)
        else:
            runs.append([step])
    texts = [text for run in runs for text in (map(str, run) if len(run) < 3 else [f"{run[0]} to {run[-1]}"])]
    joined = f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else texts[0]
    return f"{'steps' if len(steps) > 1 else 'step'} {joined}"
