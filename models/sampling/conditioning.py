"""A network's inputs for one call outside its pipeline, except the timestep: a sample and its conditioning."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from models.pipeline import CritterPipeline
from models.sampling.bare import empty_conditioning
from models.sampling.geometry import geometry_of


@torch.no_grad()
def conditioning(pipeline: Any, prompt: str, size: tuple[int, int]) -> dict[str, Any]:
    """The named arguments of a call of the U-Net on one sample of `size`, (height, width); no guidance.

    A pipeline that reads text encodes the prompt; every other input is `models.sampling.bare.empty_conditioning`.
    """
    arguments = empty_conditioning(pipeline.unet, size)
    if isinstance(pipeline, CritterPipeline):
        return arguments | {"encoder_hidden_states": pipeline.encode_captions([prompt])}
    if not hasattr(pipeline, "encode_prompt"):
        return arguments
    options = {"device": pipeline.unet.device, "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    encoded = pipeline.encode_prompt(prompt, **options)
    arguments["encoder_hidden_states"] = encoded[0]
    if "added_cond_kwargs" in arguments and len(encoded) == 4:  # Stable Diffusion XL
        arguments["added_cond_kwargs"]["text_embeds"] = encoded[2]
    return arguments


@torch.no_grad()
def to_sample(pipeline: Any, picture: Image.Image) -> torch.Tensor:
    """A picture of the right size as the clean sample (1, C, h, w) that a pipeline's network works on.

    Raises:
        ValueError: when the network works on latents and the pipeline has no autoencoder.
    """
    unet = pipeline.unet
    pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].float() / 127.5 - 1
    pixels = pixels.to(unet.device, unet.dtype)
    if geometry_of(pipeline).factor == 1:
        channels = unet.config.out_channels
        if channels not in (1, 3):
            raise ValueError(f"this U-Net works on {channels} channels of latents and came without its autoencoder")
        return pixels[:, :channels] if channels == 3 else pixels.mean(1, keepdim=True)
    if getattr(pipeline, "vae", None) is not None:
        vae = pipeline.vae
        latents = vae.encode(pixels.to(vae.dtype)).latent_dist.mode()
        return ((latents - (vae.config.get("shift_factor") or 0)) * vae.config.scaling_factor).to(unet.dtype)
    return pipeline.vqvae.encode(pixels).latents * pipeline.vqvae.config.scaling_factor
