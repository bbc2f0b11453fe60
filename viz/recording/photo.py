"""A photo as the input: noised to each recorded timestep, and shown to the network once for each.

Nothing is drawn. At timestep t the network sees what a photo looks like after t steps of the forward process (DDPM,
eq. 4), and its attention is recorded as in any other run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageOps

from models.sampling.conditioning import conditioning, to_sample
from models.sampling.geometry import geometry_of
from models.sampling.order import Order, timesteps
from viz.recording.plan import plan
from viz.recording.recorder import record
from viz.recording.run import previewer
from viz.trace import Trace


@torch.no_grad()
def look_at(
    pipeline,
    picture: Image.Image,
    *,
    prompt: str = "",
    steps: int = 10,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    layers=None,
    dtype: torch.dtype | None = None,
    budget: int | None = None,
    on_step: Callable[[int, np.ndarray | None], None] | None = None,
) -> Trace:
    """Show a photo to a pipeline's network, once for each timestep that its sampler would visit in `steps` steps.

    Args:
        picture: any size; its middle is brought to the model's size, or to `size`, (height, width) in pixels.
        prompt: what the network is told is in it, where it reads text.
        seed: of the noise, which is the same at every timestep.
        layers, dtype: as `viz.record` takes them.
        budget: bytes that the trace may take.
        on_step: called as `f(step, preview)` after each call; raising in it ends the run.

    Raises:
        ValueError: for a size that the model cannot take.
        viz.recording.plan.OverBudget: when the trace would not fit.
    """
    geometry = geometry_of(pipeline)
    size = size or geometry.own_size
    sample_size = geometry.sample_size(size)
    visited = list(dict.fromkeys(timesteps(pipeline, Order(steps=steps, strength=1.0))))
    if budget is not None:
        plan(pipeline, steps=len(visited), size=size, layers=layers, dtype=dtype).check(budget)
    shown = crop_to_size(picture.convert("RGB"), size)
    clean, told = to_sample(pipeline, shown), conditioning(pipeline, prompt, sample_size)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(clean)
    with record(pipeline.unet, layers=layers, dtype=dtype, preview=previewer(pipeline)) as trace:
        for step, timestep in enumerate(visited):
            pipeline.unet(_widened(noised(pipeline, clean, noise, timestep), pipeline.unet), timestep, **told)
            if on_step is not None:
                on_step(step, trace.previews.get(step))
    trace.picture = np.asarray(shown)
    trace.recipe = {
        "photo": hashlib.sha256(shown.tobytes()).hexdigest(),
        "caption": prompt,
        "seed": seed,
        "steps": steps,
        "size": list(size),
        "sampler": type(pipeline.scheduler).__name__,
    }
    return trace


def crop_to_size(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a picture to (height, width), cropping it around its centre so that nothing is distorted."""
    return ImageOps.fit(picture, size[::-1], Image.Resampling.LANCZOS)


def noised(pipeline, clean: torch.Tensor, noise: torch.Tensor, timestep: float) -> torch.Tensor:
    """√ᾱ·clean + √(1-ᾱ)·noise: what the network sees at `timestep`, whichever sampler scales it to that."""
    from diffusers import DDPMScheduler

    alphas = DDPMScheduler.from_config(pipeline.scheduler.config).alphas_cumprod
    alpha = alphas[min(len(alphas) - 1, max(0, round(timestep)))].to(clean.device, torch.float32)
    return (alpha.sqrt() * clean.float() + (1 - alpha).sqrt() * noise.float()).to(clean.dtype)


def _widened(sample: torch.Tensor, unet) -> torch.Tensor:
    """Inpainting networks also take a mask and the rest of the picture: everything is masked, nothing is the rest."""
    missing = unet.config.in_channels - sample.shape[1]
    if missing <= 0:
        return sample
    mask = torch.ones_like(sample[:, :1])
    rest = torch.zeros_like(sample[:, :1]).expand(-1, missing - 1, -1, -1)
    return torch.cat([sample, mask, rest], dim=1)
