"""Sentences about a run of a visitor's own model: the memory it needs, and the layers it does not record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from viz.labels import describe_gaps
from viz.page.limits import browser_limit, memory_limit
from viz.recording.budget import amount

if TYPE_CHECKING:
    from viz.layer import Branch
    from viz.recording.plan import Plan
    from viz.words import Caption

PHOTO_STEPS = 10  # noise levels at which a photo is recorded, at most


def describe_memory(plan: Plan) -> str:
    """The memory that a planned run needs, and what fits if that is too much."""
    limit = memory_limit()
    counts = f"{len(plan.layers)} layers × {len(plan.steps)} calls of the network"
    text = f"{amount(plan.total)} ({counts}); the limit is {amount(limit)}."
    if plan.total > limit:
        return f"{text} That is too much. {plan.advice(limit)}"
    if plan.total > browser_limit():
        text += " This is too large to send to a browser, so the server computes the maps."
    return text


def describe_cuts(words: Mapping[Branch, Caption]) -> list[str]:
    """A sentence for each caption that is longer than its encoder reads: the recorder's note on the end."""
    return list(dict.fromkeys(caption.notes["end"] for caption in words.values() if "end" in caption.notes))


def describe_skipped(skipped: dict[str, str], gaps: dict[str, dict[int, str]]) -> str:
    """The attention not recorded at all, {name: reason}, or not at some steps, {name: {step: reason}}; one per line."""
    lines = skipped | {name: describe_gaps(reasons) for name, reasons in gaps.items()}
    return "\n".join(f"{name or 'the network'}: {reason}" for name, reason in lines.items())
