"""Record attention to a photo: the network is called once per timestep, on the photo with that timestep's noise.

Nothing is drawn. At timestep t the network sees the photo after t steps of the forward process (DDPM, eq. 4), and its
attention is recorded as in any other run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps

from models.protocol import Pipeline
from models.sampling.conditioning import conditioning, to_sample
from models.sampling.geometry import geometry_of
from models.sampling.order import Order, timesteps
from viz.asking import Asked
from viz.recording.captions import caption_of
from viz.recording.plan import plan
from viz.recording.recorder import LayerFilter, record
from viz.recording.run import previewer
from viz.trace import Trace
from viz.words import Caption

if TYPE_CHECKING:
    from diffusers.models.modeling_utils import ModelMixin


@torch.no_grad()
def look_at(
    pipeline: Pipeline,
    picture: Image.Image,
    *,
    prompt: str = "",
    steps: int = 10,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    layers: LayerFilter = None,
    dtype: torch.dtype | None = None,
    queries: Asked | Collection[Asked] | None = None,
    budget: int | None = None,
    on_step: Callable[[int, np.ndarray | None], None] | None = None,
) -> Trace:
    """Give a photo to a pipeline's network, once for each timestep that its sampler would visit in `steps` steps.

    Args:
        picture: of any size; resized and cropped to the model's own size, or to `size`, (height, width) in pixels.
        prompt: description of the photo, for networks that read text.
        seed: of the noise, which is the same at all timesteps.
        layers, dtype, queries: as for `viz.record`.
        budget: the most bytes that the trace may take.
        on_step: called as `f(step, preview)` after each call; an exception in it ends the run.

    Raises:
        ValueError: for a size that the model does not support.
        viz.recording.plan.OverBudget: when the trace would take more than `budget`.
    """
    geometry = geometry_of(pipeline)
    size = size or geometry.own_size
    sample_size = geometry.sample_size(size)
    schedule = list(dict.fromkeys(timesteps(pipeline, Order(steps=steps, strength=1.0))))
    options: dict[str, Any] = {"layers": layers, "dtype": dtype, "queries": queries}
    if budget is not None:
        plan(pipeline, steps=len(schedule), size=size, **options).check(budget)
    photo = crop_to_size(picture.convert("RGB"), size)
    clean, words = to_sample(pipeline, photo), conditioning(pipeline, prompt, sample_size)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(clean)
    caption = _caption_of(pipeline, prompt)
    with record(pipeline.unet, preview=previewer(pipeline), words=caption, **options) as trace:
        for step, timestep in enumerate(schedule):
            pipeline.unet(_with_mask(add_noise(pipeline, clean, noise, timestep), pipeline.unet), timestep, **words)
            if on_step is not None:
                on_step(step, trace.previews.get(step))
    trace.picture = np.asarray(photo)
    trace.recipe = {
        "photo": hashlib.sha256(photo.tobytes()).hexdigest(),
        "caption": prompt,
        "seed": seed,
        "steps": steps,
        "size": list(size),
        "sampler": type(pipeline.scheduler).__name__,
    }
    return trace


def _caption_of(pipeline: Pipeline, prompt: str) -> Caption | None:
    """The words of the prompt, as `conditioning` encodes it; None where they cannot be known."""
    with suppress(ValueError, TypeError):  # of pipelines that read no text, or encode it in another way
        return caption_of(pipeline, prompt)
    return None


def crop_to_size(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a picture to (height, width), cropping it around its centre so that nothing is distorted."""
    return ImageOps.fit(picture, size[::-1], Image.Resampling.LANCZOS)


def add_noise(pipeline: Pipeline, clean: torch.Tensor, noise: torch.Tensor, timestep: float) -> torch.Tensor:
    """√ᾱ·clean + √(1-ᾱ)·noise: the input of the network at `timestep`, with any sampler."""
    from diffusers import DDPMScheduler

    alphas = DDPMScheduler.from_config(pipeline.scheduler.config).alphas_cumprod
    alpha = alphas[min(len(alphas) - 1, max(0, round(timestep)))].to(clean.device, torch.float32)
    return (alpha.sqrt() * clean.float() + (1 - alpha).sqrt() * noise.float()).to(clean.dtype)


def _with_mask(sample: torch.Tensor, unet: ModelMixin) -> torch.Tensor:
    """The input of an inpainting network, which also takes a mask (all of it) and the unmasked rest (nothing)."""
    missing = unet.config.in_channels - sample.shape[1]
    if missing <= 0:
        return sample
    mask = torch.ones_like(sample[:, :1])
    rest = torch.zeros_like(sample[:, :1]).expand(-1, missing - 1, -1, -1)
    return torch.cat([sample, mask, rest], dim=1)
