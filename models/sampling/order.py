"""Drawing one picture with whatever pipeline was opened: what is asked for, put into the words of its own call."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from PIL import Image

from models.sampling.bare import BarePipeline, denoised, look
from models.sampling.geometry import geometry_of

OnStep = Callable[[int], None]


@dataclass(frozen=True)
class Order:
    """What to draw. What a pipeline has no use for is left out of its call.

    Attributes:
        size: (height, width) of the picture in pixels; None for the model's own.
        image, mask: for image-to-image and inpainting; a white mask pixel is drawn anew.
        strength: how much of the image is noise to begin with, 0 to 1.
    """

    prompt: str = ""
    negative: str = ""
    seed: int = 0
    steps: int = 25
    guidance: float | None = None
    size: tuple[int, int] | None = None
    image: Image.Image | None = None
    mask: Image.Image | None = None
    strength: float = 0.8


def takes(pipeline) -> set[str]:
    """The names of what a pipeline's call takes: "prompt", "image", "guidance_scale", …"""
    return set(inspect.signature(type(pipeline).__call__).parameters) - {"self", "args", "kwargs"}


def timesteps(pipeline, order: Order) -> list[float]:
    """The timestep of every call of the network, in order; samplers may call it more than once a step."""
    scheduler = copy.deepcopy(pipeline.scheduler)
    scheduler.set_timesteps(order.steps)
    found = [float(timestep) for timestep in scheduler.timesteps]
    if "strength" not in takes(pipeline):
        return found
    skipped = order.steps - min(int(order.steps * order.strength), order.steps)
    return found[skipped * getattr(scheduler, "order", 1) :]


def arguments(pipeline, order: Order) -> dict:
    """What to call a pipeline with.

    Raises:
        ValueError: when it needs a picture, a mask or a size that the order does not have.
    """
    names = takes(pipeline)
    geometry = geometry_of(pipeline)
    height, width = order.size or geometry.own_size
    sample = geometry.sample_size(order.size)
    if isinstance(pipeline, BarePipeline):
        height, width = sample
    given = {
        "prompt": order.prompt,
        "caption": order.prompt,
        "seed": order.seed,
        "generator": torch.Generator().manual_seed(order.seed),
        "num_inference_steps": order.steps,
        "height": height,
        "width": width,
    }
    if order.guidance is not None:
        given["guidance_scale"] = order.guidance
    if order.negative:
        given["negative_prompt"] = order.negative
    if "image" in names:
        given |= _pictures(names, order, (height, width))
    return {name: value for name, value in given.items() if name in names}


def _pictures(names: set[str], order: Order, size: tuple[int, int]) -> dict:
    if order.image is None:
        raise ValueError("this pipeline starts from a picture: upload one")
    given = {
        "image": order.image.convert("RGB").resize(size[::-1], Image.Resampling.LANCZOS),
        "strength": order.strength,
    }
    if "mask_image" in names:
        mask = order.mask or Image.new("L", order.image.size, 255)
        given["mask_image"] = mask.convert("L").resize(size[::-1], Image.Resampling.NEAREST)
    return given


@contextmanager
def _sized(pipeline, order: Order) -> Iterator[None]:
    """Pipelines without a size of their own go by the network's configuration: set it for one call."""
    if order.size is None or "height" in takes(pipeline):
        yield
        return
    unet, before = pipeline.unet, pipeline.unet.config.sample_size
    unet.register_to_config(sample_size=geometry_of(pipeline).sample_size(order.size))
    try:
        yield
    finally:
        unet.register_to_config(sample_size=before)


@torch.no_grad()
def draw(pipeline, order: Order, on_step: OnStep | None = None) -> Image.Image:
    """Draw one picture.

    Args:
        on_step: called as `f(step)` after each call of the network; raising in it ends the run.

    Raises:
        ValueError: for a size, picture or mask that the pipeline cannot take.
    """
    given, step = arguments(pipeline, order), 0

    def called(*_: object) -> None:
        nonlocal step
        if on_step is not None:
            on_step(step)
        step += 1

    handle = pipeline.unet.register_forward_hook(called)
    try:
        if type(pipeline).__name__ == "LDMPipeline":
            image = _latent(pipeline, order)
        else:
            with _sized(pipeline, order):
                image = pipeline(**given).images[0]
    finally:
        handle.remove()
    return image if isinstance(image, Image.Image) else look(torch.as_tensor(image))


def _latent(pipeline, order: Order) -> Image.Image:
    """What diffusers' LDMPipeline does, for any size: its own call can only draw squares."""
    size = geometry_of(pipeline).sample_size(order.size)
    generator = torch.Generator().manual_seed(order.seed)
    latents = denoised(pipeline, generator, order.steps, size)
    decoded = pipeline.vqvae.decode(latents / pipeline.vqvae.config.scaling_factor).sample
    return look(decoded[0])
