"""A pipeline around a U-Net that came alone: from noise to a picture, with empty inputs for all the U-Net expects."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, ModelMixin
from PIL import Image

from models.pipeline import to_picture
from models.protocol import Pipeline
from models.sampling.geometry import sample_size_of

WORDS = 77  # the length of a prompt as Stable Diffusion's text encoders pad it


class BarePipeline(DiffusionPipeline):
    """Denoises from noise. A U-Net that expects words gets zeros; of latents the first three channels are shown."""

    def __init__(self, unet: ModelMixin, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        *,
        generator: torch.Generator | None = None,
        num_inference_steps: int = 25,
        height: int | None = None,
        width: int | None = None,
    ) -> ImagePipelineOutput:
        """Draw one picture; `height` and `width` are those of the U-Net's sample, in pixels or latents."""
        own_height, own_width = sample_size_of(self.unet)
        sample = denoise(self, generator, num_inference_steps, (height or own_height, width or own_width))
        return ImagePipelineOutput(images=[picture_of_sample(sample[0])])


def denoise(pipeline: Pipeline, generator: torch.Generator | None, steps: int, size: tuple[int, int]) -> torch.Tensor:
    """A sample (1, C, h, w) from noise; the U-Net is given no conditioning but the timestep."""
    unet, scheduler = pipeline.unet, pipeline.scheduler
    channels = unet.config.in_channels
    sample = torch.randn(1, channels, *size, generator=generator).to(unet.device, unet.dtype)
    scheduler.set_timesteps(steps)
    sample = sample * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(sample, timestep)
        output = unet(scaled, timestep, **empty_conditioning(unet, size)).sample[:, :channels]
        sample = scheduler.step(output, timestep, sample).prev_sample
    return sample


def wrap_unet(unet: ModelMixin) -> BarePipeline:
    """A pipeline around a U-Net. Its noise schedule is a guess: Stable Diffusion's for latents, DDPM's for pixels."""
    latent = unet.config.in_channels >= 4
    schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012} if latent else {}
    return BarePipeline(unet, DDIMScheduler(clip_sample=not latent, **schedule))


def empty_conditioning(unet: ModelMixin, size: tuple[int, int], batch: int = 1) -> dict[str, Any]:
    """The named arguments that stand for "nothing" if a U-Net expects words, classes or sizes.

    Args:
        size: (height, width) of the sample.
    """
    config = unet.config
    like = {"device": unet.device, "dtype": unet.dtype}
    arguments: dict[str, Any] = {}
    width = config.get("cross_attention_dim")
    if width:
        width = width[0] if isinstance(width, (list, tuple)) else width
        width = config.get("encoder_hid_dim") or width
        arguments["encoder_hidden_states"] = torch.zeros(batch, WORDS, width, **like)
    if config.get("class_embed_type") == "projection":
        arguments["class_labels"] = torch.zeros(batch, config.projection_class_embeddings_input_dim, **like)
    elif config.get("class_embed_type") or config.get("num_class_embeds"):
        arguments["class_labels"] = torch.zeros(batch, dtype=torch.long, device=unet.device)
    if config.get("addition_embed_type") == "text_time":
        height, width = size[0] * 8, size[1] * 8
        ids = torch.tensor([[height, width, 0, 0, height, width]] * batch, **like)
        pooled = config.projection_class_embeddings_input_dim - config.addition_time_embed_dim * ids.shape[1]
        arguments["added_cond_kwargs"] = {"text_embeds": torch.zeros(batch, pooled, **like), "time_ids": ids}
    return arguments


def picture_of_sample(sample: torch.Tensor) -> Image.Image:
    """(C, h, w) as a picture: pixels as they are; of latents three channels, each scaled to its own range."""
    if len(sample) == 3:
        return to_picture(sample)
    if len(sample) < 3:
        return to_picture(sample[:1].expand(3, -1, -1))
    channels = sample[:3].float()
    low, high = channels.amin((1, 2), keepdim=True), channels.amax((1, 2), keepdim=True)
    return to_picture((channels - low) / (high - low).clamp(min=1e-6) * 2 - 1)
