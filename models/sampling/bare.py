"""A U-Net without a pipeline: from noise to a picture with what it was given, which is nothing."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput
from PIL import Image

from models.pipeline import to_picture
from models.sampling.geometry import sample_size_of

WORDS = 77  # what Stable Diffusion's text encoders give


class BarePipeline(DiffusionPipeline):
    """Denoises from noise. A U-Net that expects words gets zeros; latents are shown as their first three channels."""

    def __init__(self, unet, scheduler) -> None:
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
        """Draw one picture; `height` and `width` are the U-Net's own, in pixels or latents."""
        sides = sample_size_of(self.unet)
        sample = denoised(self, generator, num_inference_steps, (height or sides[0], width or sides[1]))
        return ImagePipelineOutput(images=[look(sample[0])])


def denoised(
    pipeline: DiffusionPipeline, generator: torch.Generator | None, steps: int, size: tuple[int, int]
) -> torch.Tensor:
    """A sample (1, C, h, w) from noise, told nothing but the time."""
    unet, scheduler = pipeline.unet, pipeline.scheduler
    channels = unet.config.in_channels
    sample = torch.randn(1, channels, *size, generator=generator).to(unet.device, unet.dtype)
    scheduler.set_timesteps(steps)
    sample = sample * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        given = scheduler.scale_model_input(sample, timestep)
        output = unet(given, timestep, **nothing(unet, size)).sample[:, :channels]
        sample = scheduler.step(output, timestep, sample).prev_sample
    return sample


def bare(unet) -> BarePipeline:
    """A pipeline around a U-Net of which nothing else is known: the noise schedule is Stable Diffusion's or DDPM's."""
    latent = unet.config.in_channels >= 4
    schedule = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012} if latent else {}
    return BarePipeline(unet, DDIMScheduler(clip_sample=not latent, **schedule))


def nothing(unet, size: tuple[int, int], batch: int = 1) -> dict:
    """The arguments that stand for "nothing" where a U-Net expects words, classes or sizes."""
    config, given = unet.config, {}
    like = {"device": unet.device, "dtype": unet.dtype}
    width = config.get("cross_attention_dim")
    if width:
        width = width[0] if isinstance(width, (list, tuple)) else width
        width = config.get("encoder_hid_dim") or width
        given["encoder_hidden_states"] = torch.zeros(batch, WORDS, width, **like)
    if config.get("class_embed_type") == "projection":
        given["class_labels"] = torch.zeros(batch, config.projection_class_embeddings_input_dim, **like)
    elif config.get("class_embed_type") or config.get("num_class_embeds"):
        given["class_labels"] = torch.zeros(batch, dtype=torch.long, device=unet.device)
    if config.get("addition_embed_type") == "text_time":
        ids = torch.tensor([[size[0] * 8, size[1] * 8, 0, 0, size[0] * 8, size[1] * 8]] * batch, **like)
        pooled = config.projection_class_embeddings_input_dim - config.addition_time_embed_dim * ids.shape[1]
        given["added_cond_kwargs"] = {"text_embeds": torch.zeros(batch, pooled, **like), "time_ids": ids}
    return given


def look(sample: torch.Tensor) -> Image.Image:
    """(C, h, w) as a picture: pixels as they are; of latents three channels, each over its own range."""
    if len(sample) == 3:
        return to_picture(sample)
    if len(sample) < 3:
        return to_picture(sample[:1].expand(3, -1, -1))
    channels = sample[:3].float()
    low, high = channels.amin((1, 2), keepdim=True), channels.amax((1, 2), keepdim=True)
    return to_picture((channels - low) / (high - low).clamp(min=1e-6) * 2 - 1)
