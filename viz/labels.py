"""Short names for layers, as viz/web/core/trace.js gives them in the browser."""

from __future__ import annotations

import re


def layer_label(name: str) -> str:
    """ "up_blocks.2.attentions.1.transformer_blocks.0.attn1" is "up 2 · attention 1"; other names keep their end."""
    block = re.search(r"(?:^|\.)(down|up)_blocks\.(\d+)", name)
    attention, inner = re.search(r"attentions\.(\d+)", name), re.search(r"transformer_blocks\.([1-9]\d*)", name)
    if re.search(r"(?:^|\.)mid_block(?:\.|$)", name):
        place = "middle"
    elif block:
        place = f"{block[1]} {block[2]}"
    else:
        return name if len(name) <= 26 else f"…{name[-25:]}"
    return place + (f" · attention {attention[1]}" if attention else "") + (f".{inner[1]}" if inner else "")
