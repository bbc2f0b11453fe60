"""diffusers' own pipelines at tiny sizes, for tests of opening, drawing and recording them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    EulerDiscreteScheduler,
    LDMPipeline,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

WORDS = ["monster", "red", "green", "eye", "a", "with", "two"]
# Some schedulers try every training step when they are built; a hundred are enough here.
STEPS = {"num_train_timesteps": 100}
SD_SCHEDULE = STEPS | {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def unconditional(channels: int = 3, size: int = 16) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
    ).eval()


def conditional(channels: int = 4, width: int = 16, **options) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "in_channels": channels,
            "out_channels": 4,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "norm_num_groups": 4,
            "cross_attention_dim": width,
            "attention_head_dim": 2,
        }
        | options
    ).eval()


def tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer of a few words, made here: nothing is fetched."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [chr(c) for c in range(33, 127)]
    vocabulary = [*pieces, *(f"{piece}</w>" for piece in pieces), *(f"{word}</w>" for word in WORDS if len(word) > 1)]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(dict.fromkeys(vocabulary))}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def text_encoder(tokens: int, kind: type = CLIPTextModel):
    torch.manual_seed(1)
    config = CLIPTextConfig(
        vocab_size=tokens,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=16,
        bos_token_id=tokens - 2,
        eos_token_id=tokens - 1,
        pad_token_id=tokens - 1,
    )
    return kind(config).eval()


def vae() -> AutoencoderKL:
    torch.manual_seed(2)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, sample_size=16, **blocks).eval()


def stable_diffusion(folder: Path, kind: type = StableDiffusionPipeline, channels: int = 4):
    words = tokenizer(folder / "words")
    extra = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    scheduler = PNDMScheduler(skip_prk_steps=True, **SD_SCHEDULE)
    return kind(
        vae=vae(),
        text_encoder=text_encoder(len(words)),
        tokenizer=words,
        unet=conditional(channels),
        scheduler=scheduler,
        **extra,
    )


def stable_diffusion_2(folder: Path) -> StableDiffusionPipeline:
    """2.x differs in its text encoder's width, linear projections, heads per block, upcast scores and v prediction."""
    pipeline = stable_diffusion(folder)
    unet = conditional(attention_head_dim=(2, 4), use_linear_projection=True, upcast_attention=True)
    scheduler = DDIMScheduler(prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, **SD_SCHEDULE)
    return StableDiffusionPipeline(**{**pipeline.components, "unet": unet, "scheduler": scheduler})


def stable_diffusion_xl(folder: Path) -> StableDiffusionXLPipeline:
    words = tokenizer(folder / "words")
    unet = conditional(
        width=32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
    )
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=text_encoder(len(words)),
        text_encoder_2=text_encoder(len(words), CLIPTextModelWithProjection),
        tokenizer=words,
        tokenizer_2=words,
        unet=unet,
        scheduler=EulerDiscreteScheduler(**SD_SCHEDULE),
        add_watermarker=False,
    )


def latent(_: Path) -> LDMPipeline:
    torch.manual_seed(3)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vqvae = VQModel(block_out_channels=(8, 8), norm_num_groups=4, latent_channels=3, num_vq_embeddings=16, **blocks)
    return LDMPipeline(vqvae.eval(), unconditional(3, 8), DDIMScheduler(clip_sample=False, **STEPS))


PIPELINES = {
    "DDPM": lambda folder: DDPMPipeline(unconditional(), DDPMScheduler(**STEPS)),
    "DDIM": lambda folder: DDIMPipeline(unconditional(), DDIMScheduler(**STEPS)),
    "latent, unconditional": latent,
    "Stable Diffusion": stable_diffusion,
    "Stable Diffusion 2": stable_diffusion_2,
    "Stable Diffusion XL": stable_diffusion_xl,
    "image to image": lambda folder: stable_diffusion(folder, StableDiffusionImg2ImgPipeline),
    "inpainting": lambda folder: stable_diffusion(folder, StableDiffusionInpaintPipeline, 9),
}
