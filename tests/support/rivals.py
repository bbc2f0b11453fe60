"""attention-map-diffusers 1.0, where `make` has put it: .venv/rivals, out of the way of our own packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FOLDER = Path(sys.prefix) / "rivals"
IMAGE = "image->image"  # what it calls self-attention
WORDS = "image->text"  # what pixels spend on words
LOOKS = "text->image"  # what words look at, in joint attention
BETWEEN = "text->text"


def installed() -> bool:
    return (FOLDER / "attention_map_diffusers").is_dir()


@contextmanager
def captured(
    network, *relations: str, heads: str = "all", dtype: str | None = None, query: object = None
) -> Iterator[object]:
    """Its capture of a U-Net or of a transformer, at every timestep: like ours as far as it has the choice.

    Args:
        relations: which; self-attention by default.
        heads: "all" or "mean"; the maps it computes afterwards have no other.
        query: index or name of the one query it keeps, of all layers; None keeps all.
    """
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # the last: our own packages are the ones it uses
    from attention_map_diffusers import AttentionCapture

    options: dict[str, Any] = {
        "relations": relations or IMAGE,
        "timesteps": "all",
        "heads": heads,
        "dtype": dtype,
        "relation_query_indices": None,
    }
    if query is not None:
        options["relation_query_indices"] = {IMAGE: query}
    name = "unet" if hasattr(network, "down_blocks") else "transformer"
    pipeline = SimpleNamespace(**{name: network})  # it looks for a pipeline's network and asks for nothing else
    with AttentionCapture(pipeline, max_capture_bytes=None, allow_large_maps=True, **options) as capture:
        yield capture


def kept_bytes(capture) -> int:
    """Bytes of what it holds, counted once where records share it."""
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for r in capture.records for t in (r.q, r.k)}
    return sum(held.values())


def layer_of(record) -> str:
    return record.layer_id.removeprefix("unet.").removeprefix("transformer.")
