"""Tiny pipelines of diffusers, run with words that can be told apart: which row of a batch was given which."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
)
from torch import nn
from transformers import BatchEncoding, PretrainedConfig

from tests.support.pipelines import conditional
from viz.recording.branches import PictureChoice

WIDTH, WORDS = 16, 5  # of the conditioning
BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
UNCONDITIONAL, CONDITIONAL = "unconditional", "conditional"


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
        runs: guided, unguided or both.
    """

    components: Callable[[], dict[str, Any]]
    options: Callable[[bool], dict[str, Any]]
    network: str = "unet"
    conditioning: str = "encoder_hidden_states"
    runs: tuple[bool, ...] = (True, False)


def words(value: float, *, count: int = 1, width: int = WIDTH, length: int = WORDS) -> torch.Tensor:
    return torch.full((count, length, width), value)


def unet(in_channels: int = 4, **options: Any) -> UNet2DConditionModel:
    return conditional(in_channels, WIDTH, **{"block_out_channels": (4, 8), "norm_num_groups": 2} | options)


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
    return AutoencoderKL(
        block_out_channels=(4, 4),
        norm_num_groups=2,
        sample_size=16,
        latent_channels=channels,
        shift_factor=0.0,
        **BLOCKS,
    ).eval()


def build(kind: type, components: dict[str, Any]) -> Any:
    """A pipeline of these components; those that are missing are None."""
    parameters = inspect.signature(kind).parameters.values()
    required = {p.name: None for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    known = {p.name for p in parameters}
    pipeline = kind(**required | {name: part for name, part in components.items() if name in known})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(name: str, sample: Sample, guided: bool) -> list[Watched]:
    """The calls of the network in one run of diffusers' pipeline of this name."""
    pipeline = build(getattr(diffusers, name), sample.components())
    network: nn.Module = getattr(pipeline, sample.network)
    torch.manual_seed(0)
    with watching(network, sample.conditioning) as calls, torch.no_grad():
        pipeline(**sample.options(guided))
    return calls


@contextmanager
def watching(network: nn.Module, conditioning: str = "encoder_hidden_states") -> Iterator[list[Watched]]:
    """The calls of a network within the block."""
    calls: list[Watched] = []

    def watch(_: nn.Module, args: tuple, kwargs: dict) -> None:
        named = inspect.signature(network.forward).bind(*args, **kwargs).arguments
        batch = len(next(iter(named.values())))
        kinds = [kind_of(row) for row in find(named, conditioning)]
        calls.append(Watched(batch, kinds, *PictureChoice("both").indices(network, args, kwargs, batch)))

    with network.register_forward_pre_hook(watch, with_kwargs=True):
        yield calls


def find(arguments: dict[str, Any], name: str) -> torch.Tensor:
    """An argument, or a part of one that is a dictionary."""
    for key in name.split("."):
        arguments = arguments[key]
    return arguments  # type: ignore[return-value]


def kind_of(row: torch.Tensor) -> str:
    """What a row was given: negative numbers, or a class label past the thousand classes, are the negative prompt."""
    value = row.float().mean()
    return UNCONDITIONAL if value < 0 or value >= 1000 else CONDITIONAL


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


def masked(guided: bool, **more: Any) -> dict[str, Any]:
    """For the pipelines that pass a mask of the words, too."""
    mask = torch.ones(1, WORDS, dtype=torch.long)
    return prompts(guided, prompt_attention_mask=mask, negative_prompt_attention_mask=mask, **more)


class Tokenizer:
    """Tells an empty prompt from all others: its ids are 0, theirs 1."""

    model_max_length = WORDS

    def __call__(self, text: str | list[str], **_: Any) -> Any:
        texts = [text] if isinstance(text, str) else text
        ids = torch.tensor([[int(bool(each))] * WORDS for each in texts])
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})

    def batch_decode(self, *_: Any) -> list[str]:
        return []


class Encoder(nn.Module):
    """Words of 1 for a prompt, of -1 for none."""

    dtype, device, config = torch.float32, torch.device("cpu"), PretrainedConfig()

    def forward(self, ids: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
        return ((2.0 * ids - 1)[..., None].expand(-1, -1, WIDTH),)


PIXELS, MASK = torch.zeros(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
SIZE: dict[str, Any] = {"height": 16, "width": 16}


def stable(network: Callable[[], nn.Module] = lambda: unet(), **components: Any) -> Callable[[], dict[str, Any]]:
    """The components of a pipeline in Stable Diffusion's family; those that are functions are called."""
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    parts = {"unet": network, "vae": vae, "scheduler": scheduler, "requires_safety_checker": False} | components
    return lambda: {name: part() if inspect.isroutine(part) else part for name, part in parts.items()}


def called(arguments: Callable[..., dict[str, Any]] = prompts, **more: Any) -> Callable[[bool], dict[str, Any]]:
    return lambda guided: arguments(guided, **more)


def control(network: UNet2DConditionModel) -> ControlNetModel:
    return ControlNetModel.from_unet(network, conditioning_embedding_out_channels=(4, 4)).eval()


def transformer(kind: type, flow: bool = True, **options: Any) -> Callable[[], dict[str, Any]]:
    """The components of a pipeline with a transformer."""

    def components() -> dict[str, Any]:
        torch.manual_seed(0)
        scheduler = FlowMatchEulerDiscreteScheduler() if flow else DDIMScheduler(steps_offset=1, clip_sample=False)
        return {"transformer": kind(**options).eval(), "scheduler": scheduler}

    return components


def with_vae(components: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    return lambda: components() | {"vae": vae()}


def of_prompt(guided: bool, **more: Any) -> dict[str, Any]:
    """Arguments for the pipelines that take no embeddings."""
    return {"prompt": "a monster", "guidance_scale": 3.0 if guided else 1.0, "num_inference_steps": 2} | more
