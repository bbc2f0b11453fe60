"""Follow a recipe: one recorded run of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from models.notes import word_notes
from models.opening.revision import versions
from models.pipeline import x0_estimate
from models.protocol import Pipeline
from viz.asking import Asked
from viz.labels import layer_label
from viz.layer import Branch
from viz.recipe import Recipe, spread
from viz.recording.recorder import Preview, record
from viz.trace import Trace
from viz.words import MAX_NOTE, Caption


def previewer(pipeline: Pipeline) -> Preview | None:
    """The `preview` argument of `viz.record` for a pipeline that denoises pixels; None if it denoises latents."""
    if getattr(pipeline, "vae", None) is not None:
        return None

    def preview(sample: torch.Tensor, timestep: torch.Tensor | float | None, output: torch.Tensor) -> torch.Tensor:
        assert timestep is not None, "every pipeline passes its network a timestep"
        return x0_estimate(pipeline.scheduler, sample, timestep, output)

    return preview


def perform(
    recipe: Recipe,
    pipeline: Pipeline,
    *,
    on_step: Callable[[int, np.ndarray | None], None] | None = None,
    record_steps: int | None = None,
    branch: Branch = "conditional",
    queries: Asked | Collection[Asked] | None = None,
) -> Trace:
    """Follow a recipe and record it.

    Args:
        pipeline: as returned by `models.load(recipe.model, revision=recipe.weights)`.
        on_step: called as `f(step, preview)` after each denoising step; `preview` is the (h, w, 3) uint8 picture
            predicted so far, or None for a step that is not recorded. An exception in it ends the run.
        record_steps: record at most this many steps, spread evenly from the first to the last; all by default.
        branch: which half of guidance, or "both"; as for `viz.record`.
        queries: keep only these, as for `viz.record`; all by default.
    """
    recorded_steps = range(recipe.steps) if record_steps is None else spread(recipe.steps, record_steps)
    options: dict[str, Any] = {"steps": recorded_steps, "branch": branch, "queries": queries}
    with record(pipeline.unet, preview=previewer(pipeline), **options) as trace:

        def report(_, step: int, timestep: torch.Tensor, state: dict) -> dict:
            if on_step is not None:
                on_step(step, trace.previews.get(step))
            return {}

        image = pipeline(
            recipe.caption,
            seed=recipe.seed,
            num_inference_steps=recipe.steps,
            guidance_scale=recipe.guidance,
            callback_on_step_end=report,
        ).images[0]
    trace.picture = np.asarray(image)
    trace.words = {branch: _with_notes(caption, recipe.weights) for branch, caption in trace.words.items()}
    trace.recipe = asdict(recipe) | {
        "sampler": type(pipeline.scheduler).__name__,
        "revision": recipe.weights,
        "versions": versions(),
    }
    return trace


def _with_notes(caption: Caption, revision: str) -> Caption:
    """A caption with what the evaluation of these weights found about its words."""
    words = [word.text for word in caption.words if word.kind == "word"]
    found = {word: note[:MAX_NOTE] for word, note in word_notes(words, revision, layer_label).items()}
    return replace(caption, notes={**caption.notes, **found})
