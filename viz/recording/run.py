"""Following a recipe: one run of a pipeline, recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch

from models.opening.revision import versions
from models.pipeline import x0_estimate
from viz.recipe import Recipe, spread
from viz.recording.recorder import Preview, record
from viz.trace import Trace


def previewer(pipeline) -> Preview | None:
    """The `preview` that `viz.record` takes, for a pipeline that denoises pixels; None where it denoises latents."""
    if getattr(pipeline, "vae", None) is not None:
        return None

    def preview(sample: torch.Tensor, timestep: torch.Tensor | float, output: torch.Tensor) -> torch.Tensor:
        return x0_estimate(pipeline.scheduler, sample, timestep, output)

    return preview


def perform(
    recipe: Recipe,
    pipeline,
    *,
    on_step: Callable[[int, np.ndarray | None], None] | None = None,
    record_steps: int | None = None,
) -> Trace:
    """Follow a recipe and record it.

    Args:
        pipeline: what `models.load(recipe.model, revision=recipe.weights)` gave.
        on_step: called as `f(step, preview)` after each denoising step; `preview` is the (h, w, 3) uint8 picture
            expected so far, or None where the step is not recorded. Raising in it ends the run.
        record_steps: keep Q and K of at most that many steps, spread evenly from the first to the last.
    """
    keep = range(recipe.steps) if record_steps is None else spread(recipe.steps, record_steps)
    with record(pipeline.unet, steps=keep, preview=previewer(pipeline)) as trace:

        def after(_, step: int, timestep: torch.Tensor, state: dict) -> dict:
            if on_step is not None:
                on_step(step, trace.previews.get(step))
            return {}

        image = pipeline(
            recipe.caption,
            seed=recipe.seed,
            num_inference_steps=recipe.steps,
            guidance_scale=recipe.guidance,
            callback_on_step_end=after,
        ).images[0]
    trace.picture = np.asarray(image)
    trace.recipe = asdict(recipe) | {
        "sampler": type(pipeline.scheduler).__name__,
        "revision": recipe.weights,
        "versions": versions(),
    }
    return trace
