"""Drawing one picture with any pipeline: an order, and its translation into the arguments of that pipeline's call."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from models.protocol import Pipeline
from models.sampling.bare import BarePipeline, denoise, picture_of_sample
from models.sampling.geometry import geometry_of

OnStep = Callable[[int], None]


@dataclass(frozen=True)
class Order:
    """What to draw. A pipeline's call gets only the fields it has parameters for.

    Attributes:
        size: (height, width) of the picture in pixels; None for the model's own.
        image, mask: for image-to-image and inpainting; white pixels of the mask are redrawn.
        strength: how much of the image is replaced by noise at the start, 0 to 1.
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


def call_parameters(pipeline: Pipeline) -> set[str]:
    """The names of the parameters of a pipeline's call: "prompt", "image", "guidance_scale", …"""
    return set(inspect.signature(type(pipeline).__call__).parameters) - {"self", "args", "kwargs"}


def timesteps(pipeline: Pipeline, order: Order) -> list[float]:
    """The timestep of every call of the network, in order; some samplers call it more than once per step."""
    scheduler = copy.deepcopy(pipeline.scheduler)
    scheduler.set_timesteps(order.steps)
    schedule = [float(timestep) for timestep in scheduler.timesteps]
    if "strength" not in call_parameters(pipeline):
        return schedule
    skipped = order.steps - min(int(order.steps * order.strength), order.steps)
    return schedule[skipped * getattr(scheduler, "order", 1) :]


def call_arguments(pipeline: Pipeline, order: Order) -> dict[str, Any]:
    """The named arguments that carry out an order with this pipeline.

    Raises:
        ValueError: when the pipeline needs a picture that the order lacks, or cannot draw the order's size.
    """
    names = call_parameters(pipeline)
    geometry = geometry_of(pipeline)
    height, width = order.size or geometry.own_size
    sample_size = geometry.sample_size(order.size)
    if isinstance(pipeline, BarePipeline):
        height, width = sample_size
    arguments: dict[str, Any] = {
        "prompt": order.prompt,
        "caption": order.prompt,
        "seed": order.seed,
        "generator": torch.Generator().manual_seed(order.seed),
        "num_inference_steps": order.steps,
        "height": height,
        "width": width,
    }
    if order.guidance is not None:
        arguments["guidance_scale"] = order.guidance
    if order.negative:
        arguments["negative_prompt"] = order.negative
    if "image" in names:
        arguments |= _image_arguments(names, order, (height, width))
    return {name: value for name, value in arguments.items() if name in names}


def _image_arguments(names: set[str], order: Order, size: tuple[int, int]) -> dict[str, Any]:
    if order.image is None:
        raise ValueError("this pipeline starts from a picture: upload one")
    arguments: dict[str, Any] = {
        "image": order.image.convert("RGB").resize(size[::-1], Image.Resampling.LANCZOS),
        "strength": order.strength,
    }
    if "mask_image" in names:
        mask = order.mask or Image.new("L", order.image.size, 255)
        arguments["mask_image"] = mask.convert("L").resize(size[::-1], Image.Resampling.NEAREST)
    return arguments


@contextmanager
def _with_size(pipeline: Pipeline, order: Order) -> Iterator[None]:
    """Set the order's size for one call of a pipeline that has no parameter for it and reads the U-Net's config."""
    if order.size is None or "height" in call_parameters(pipeline):
        yield
        return
    unet, before = pipeline.unet, pipeline.unet.config.sample_size
    unet.register_to_config(sample_size=geometry_of(pipeline).sample_size(order.size))
    try:
        yield
    finally:
        unet.register_to_config(sample_size=before)


@torch.no_grad()
def draw_picture(pipeline: Pipeline, order: Order, on_step: OnStep | None = None) -> Image.Image:
    """Draw one picture.

    Args:
        on_step: called as `f(step)` after each call of the network; raising in it ends the run.

    Raises:
        ValueError: for a size, picture or mask that the pipeline cannot take.
    """
    arguments, step = call_arguments(pipeline, order), 0

    def count_call(*_: object) -> None:
        nonlocal step
        if on_step is not None:
            on_step(step)
        step += 1

    hook = pipeline.unet.register_forward_hook(count_call)
    try:
        if type(pipeline).__name__ == "LDMPipeline":
            image = _draw_with_ldm(pipeline, order)
        else:
            with _with_size(pipeline, order):
                image = pipeline(**arguments).images[0]
    finally:
        hook.remove()
    return image if isinstance(image, Image.Image) else picture_of_sample(torch.as_tensor(image))


def _draw_with_ldm(pipeline: Any, order: Order) -> Image.Image:
    """diffusers' LDMPipeline, for any size: its own call draws only squares."""
    size = geometry_of(pipeline).sample_size(order.size)
    generator = torch.Generator().manual_seed(order.seed)
    latents = denoise(pipeline, generator, order.steps, size)
    decoded = pipeline.vqvae.decode(latents / pipeline.vqvae.config.scaling_factor).sample
    return picture_of_sample(decoded[0])
