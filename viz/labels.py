"""Short names for layers, the same as in the browser (viz/web/core/trace.js)."""

from __future__ import annotations

import re


def layer_label(name: str) -> str:
    """The label of a layer: "up_blocks.2.attentions.1.transformer_blocks.0.attn1" becomes "up 2 · attention 1".

    A name of any other form is cut to its end if it is long.
    """
    block = re.search(r"(?:^|\.)(down|up)_blocks\.(\d+)", name)
    attention, depth = re.search(r"attentions\.(\d+)", name), re.search(r"transformer_blocks\.([1-9]\d*)", name)
    if re.search(r"(?:^|\.)mid_block(?:\.|$)", name):
        place = "middle"
    elif block:
        place = f"{block[1]} {block[2]}"
    else:
        return name if len(name) <= 26 else f"…{name[-25:]}"
    return place + (f" · attention {attention[1]}" if attention else "") + (f".{depth[1]}" if depth else "")
