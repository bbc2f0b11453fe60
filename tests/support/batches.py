"""Tiny pipelines of diffusers, run with words that can be told apart: which row of a batch was given which."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    UNet2DConditionModel,
)
from torch import nn

from viz.recording.branches import PictureChoice

WIDTH, WORDS = 16, 5  # of the conditioning


@dataclass(frozen=True)
class Watched:
    """One call of a network: what each row of its batch was given, and the names that were made out for it."""

    batch: int
    kinds: list[str]
    pictures: dict[str, int]
    reason: str | None


@dataclass(frozen=True)
class Sample:
    """How to build and call one pipeline.

    Attributes:
        options: keyword arguments of the call, by whether it is guided.
        network: the attribute that is recorded. conditioning: the argument of its call that tells rows apart.
    """

    components: Callable[[], dict[str, Any]]
    options: Callable[[bool], dict[str, Any]]
    network: str = "unet"
    conditioning: str = "encoder_hidden_states"
    kind: type | None = None
    unguided: bool = True
    more: dict[str, Any] = field(default_factory=dict)


def words(value: float, *, count: int = 1, width: int = WIDTH, length: int = WORDS) -> torch.Tensor:
    return torch.full((count, length, width), value)


@cache
def unet(in_channels: int = 4, **options: Any) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "in_channels": in_channels,
            "out_channels": 4,
            "block_out_channels": (4, 8),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "norm_num_groups": 2,
            "cross_attention_dim": WIDTH,
            "attention_head_dim": 2,
        }
        | options
    ).eval()


def unet_xl(in_channels: int = 4) -> UNet2DConditionModel:
    return unet(
        in_channels,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + WIDTH,
    )


@cache
def vae(channels: int = 4) -> AutoencoderKL:
    torch.manual_seed(1)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return AutoencoderKL(
        block_out_channels=(4, 4), norm_num_groups=2, sample_size=16, latent_channels=channels, **blocks
    ).eval()


def build(kind: type, components: dict[str, Any]) -> Any:
    """A pipeline of these components; those that are missing are None."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    required = {p.name: None for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    known = {p.name for p in parameters}
    pipeline = kind(**required | {name: part for name, part in components.items() if name in known})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(name: str, guided: bool) -> list[Watched] | None:
    """The calls of the network in one run of two steps; None where a pipeline has no unguided run."""
    sample = PIPELINES[name]
    if not guided and not sample.unguided:
        return None
    pipeline = build(sample.kind or getattr(diffusers, name), sample.components())
    network: nn.Module = getattr(pipeline, sample.network)
    calls: list[Watched] = []

    def watch(_: nn.Module, args: tuple, kwargs: dict) -> None:
        named = inspect.signature(network.forward).bind(*args, **kwargs).arguments
        rows = named[sample.conditioning]
        kinds = ["unconditional" if row.float().mean() < 0 else "conditional" for row in rows]
        batch = len(next(iter(named.values())))
        calls.append(Watched(batch, kinds, *PictureChoice("both").indices(network, args, kwargs, batch)))

    torch.manual_seed(0)
    with network.register_forward_pre_hook(watch, with_kwargs=True), torch.no_grad():
        pipeline(**sample.options(guided))
    return calls


def prompts(guided: bool, **more: Any) -> dict[str, Any]:
    """Arguments that nearly all pipelines take."""
    return {
        "prompt_embeds": words(1.0),
        "negative_prompt_embeds": words(-1.0),
        "guidance_scale": 3.0 if guided else 1.0,
        "num_inference_steps": 2,
        "output_type": "latent",
    } | more


def pooled(guided: bool, **more: Any) -> dict[str, Any]:
    both = {"pooled_prompt_embeds": torch.ones(1, WIDTH), "negative_pooled_prompt_embeds": -torch.ones(1, WIDTH)}
    return prompts(guided, **both | more)


PIXELS = torch.zeros(1, 3, 16, 16)
MASK = torch.ones(1, 1, 16, 16)


def stable(network: Callable[[], nn.Module] = unet, **components: Any) -> Callable[[], dict[str, Any]]:
    return lambda: (
        {
            "unet": network(),
            "vae": vae(),
            "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False),
            "requires_safety_checker": False,
        }
        | {name: part() for name, part in components.items()}
    )


def sized(**more: Any) -> Callable[[bool], dict[str, Any]]:
    return lambda guided: prompts(guided, height=16, width=16, **more)


def drawn(**more: Any) -> Callable[[bool], dict[str, Any]]:
    return lambda guided: prompts(guided, **more)


def sized_xl(**more: Any) -> Callable[[bool], dict[str, Any]]:
    return lambda guided: pooled(guided, height=16, width=16, **more)


def control() -> ControlNetModel:
    return ControlNetModel.from_unet(unet(), conditioning_embedding_out_channels=(4, 4, 4, 4)).eval()


STABLE = {
    "StableDiffusionPipeline": Sample(stable(), sized(num_images_per_prompt=2)),
    "StableDiffusionImg2ImgPipeline": Sample(stable(), drawn(image=PIXELS, strength=1.0)),
    "StableDiffusionInpaintPipeline": Sample(stable(), sized(image=PIXELS, mask_image=MASK)),
    "StableDiffusionPAGPipeline": Sample(stable(), sized(pag_scale=2.0)),
    "StableDiffusionXLPipeline": Sample(stable(unet_xl), sized_xl()),
    "StableDiffusionXLPAGPipeline": Sample(stable(unet_xl), sized_xl(pag_scale=2.0)),
}

PIPELINES = STABLE
