"""The bundled diffusers pipeline, from captions to pictures, and the x0 estimate of a denoising step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, ModelMixin
from PIL import Image

from models.words import CaptionEncoder


class CritterPipeline(DiffusionPipeline):
    """Draws critters from captions, with classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598).

    Every picture has its own seed, so it does not depend on the batch it is drawn in. Without an encoder the captions
    are not read, only counted, and there is no guidance.
    """

    model_cpu_offload_seq = "encoder->unet"
    _optional_components: ClassVar[list[str]] = ["encoder"]

    unet: ModelMixin
    encoder: CaptionEncoder  # None for a network that reads no captions
    scheduler: DDIMScheduler

    def __init__(self, unet: ModelMixin, encoder: CaptionEncoder | None, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, encoder=encoder, scheduler=scheduler)
        self._guided = False  # in the run in progress

    @torch.no_grad()
    def __call__(
        self,
        caption: str | Sequence[str] = "",
        *,
        seed: int | Sequence[int] = 0,
        num_inference_steps: int = 25,
        guidance_scale: float = 1.5,
        height: int | None = None,
        width: int | None = None,
        callback_on_step_end: Callable[[DiffusionPipeline, int, int, dict], object] | None = None,
    ) -> ImagePipelineOutput:
        """Draw one picture for each caption.

        Args:
            caption: what to draw. An empty caption leaves everything to the model.
            seed: of the starting noise; for several captions, one each or the first of consecutive seeds.
            num_inference_steps: calls of the U-Net.
            guidance_scale: how far to go from the unconditional output past the conditional one; 1 or less for none.
            height, width: in pixels, multiples of 8; 64 each if not given.
            callback_on_step_end: called as `f(pipeline, step, timestep, {"latents": x})`, as diffusers does.

        Returns:
            `.images`, a list of PIL pictures.

        Raises:
            ValueError: for a size that is not a multiple of 8, or when seeds and captions differ in number.

        Warns:
            UserWarning: for each word that the vocabulary lacks, naming similar words.
        """
        captions = [caption] if isinstance(caption, str) else list(caption)
        seeds = list(range(seed, seed + len(captions))) if isinstance(seed, int) else list(seed)
        size = (height or self.unet.config.sample_size, width or self.unet.config.sample_size)
        if len(seeds) != len(captions):
            raise ValueError(f"expected one seed per caption, got {len(seeds)} seeds for {len(captions)} captions")
        if any(side % 8 or side < 8 for side in size):
            raise ValueError(f"height and width must be multiples of 8; {size[0]}×{size[1]} isn't")
        texts = captions if self.encoder is not None else ()
        for message in dict.fromkeys(m for text in texts for m in self.encoder.read(text).warnings()):
            warnings.warn(message, stacklevel=3)  # past torch.no_grad's wrapper

        guided = self._guided = guidance_scale > 1 and self.encoder is not None
        words = self.encode_captions(captions, guided) if self.encoder is not None else None
        sample = torch.stack([torch.randn(3, *size, generator=torch.Generator().manual_seed(s)) for s in seeds])
        sample = sample.to(self.device, self.unet.dtype)
        self.scheduler.set_timesteps(num_inference_steps, device=self.device)
        for step, timestep in enumerate(self.progress_bar(self.scheduler.timesteps)):
            output = self.unet(torch.cat([sample, sample]) if guided else sample, timestep, words).sample
            output = output.to(sample.dtype)  # bf16 under autocast, which is too coarse for guidance
            if guided:
                unconditional, conditional = output.chunk(2)
                output = unconditional + guidance_scale * (conditional - unconditional)
            sample = self.scheduler.step(output, timestep, sample).prev_sample
            if callback_on_step_end is not None:
                callback_on_step_end(self, step, timestep, {"latents": sample})
        return ImagePipelineOutput(images=[to_picture(picture) for picture in sample])

    def branch_order(self, pictures: int) -> tuple[str, ...] | None:
        """The names of the equal parts of the batch that the U-Net is called with; None without captions."""
        if self.encoder is None:
            return None
        return ("unconditional", "conditional") if self._guided else ("conditional",)

    def encode_captions(self, captions: list[str], guided: bool = False) -> torch.Tensor:
        """(B, L, C) conditioning; when guided (2B, L, C) with the unconditional half first, diffusers' order."""
        texts = [""] * len(captions) + captions if guided else captions
        return self.encoder(self.encoder.ids(texts).to(self.device))


def x0_estimate(
    scheduler: Any, sample: torch.Tensor, timestep: torch.Tensor | float, output: torch.Tensor
) -> torch.Tensor:
    """The clean picture that a network's output for `sample` implies (DDPM, eq. 15, and its v-prediction form).

    `sample` is what the network receives. Schedulers that work with sigmas scale it to unit variance first, so one
    formula in alpha-bar serves them all.

    Args:
        scheduler: has `alphas_cumprod` and `config.prediction_type`.
        sample, output: (B, C, h, w).
        timestep: one number, or (B,).

    Raises:
        ValueError: for a prediction type other than epsilon, v_prediction or sample.
    """
    index = torch.as_tensor(timestep).round().long().cpu()
    alpha_bar = scheduler.alphas_cumprod.cpu()[index].to(sample.device, torch.float32).reshape(-1, 1, 1, 1)
    sample, output = sample.float(), output.float()
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        return alpha_bar.sqrt() * sample - (1 - alpha_bar).sqrt() * output
    if kind == "epsilon":
        return (sample - (1 - alpha_bar).sqrt() * output) / alpha_bar.sqrt()
    if kind == "sample":
        return output
    raise ValueError(f"expected prediction_type epsilon, v_prediction or sample, got {kind!r}")


def to_picture(pixels: torch.Tensor) -> Image.Image:
    """(3, h, w) in [-1, 1] as a PIL picture; values outside that range are clipped."""
    array = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(array.permute(1, 2, 0).cpu().numpy())
