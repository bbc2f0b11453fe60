"""Tiny pipelines with real tokenizers and text encoders, made here: nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
)
from torch.nn.modules import module as torch_module
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from tests.support.joint import mmdit
from tests.support.pipelines import stable_diffusion, stable_diffusion_xl, text_encoder, tokenizer, vae
from tests.support.random_weights import randomize
from viz import Trace, record

SMALL = {"height": 16, "width": 24, "num_inference_steps": 2, "output_type": "np"}


def clip(folder: Path, pad: str | None = None) -> CLIPTokenizer:
    """CLIP's, whose padding is its end; OpenCLIP's has another, "!"."""
    words = tokenizer(folder)
    if pad is not None:
        words.pad_token = pad
    return words


def t5_tokenizer() -> T5Tokenizer:
    pieces = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -6.0}
    pieces |= {f"▁{word}": -2.0 for word in ("a", "red", "monster", "with", "eye", "two")}
    pieces |= dict.fromkeys("abcdefghijklmnopqrstuvwxyz,.!'\"-", -8.0) | {"s": -3.0, "mon": -4.0, "ster": -4.0}
    return T5Tokenizer(vocab=list(pieces.items()), extra_ids=0)


def t5(tokens: int) -> T5EncoderModel:
    torch.manual_seed(5)
    return T5EncoderModel(
        T5Config(vocab_size=tokens, d_model=40, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
    ).eval()


def sdxl(folder: Path) -> StableDiffusionXLPipeline:
    """With two encoders that differ, and tokenizers that pad differently."""
    pipeline = stable_diffusion_xl(folder)
    randomize(pipeline.text_encoder_2)
    pipeline.register_modules(tokenizer_2=clip(folder / "second", "!</w>"))
    return quiet(pipeline)


def sd3(folder: Path, with_t5: bool = True) -> StableDiffusion3Pipeline:
    words, second, third = clip(folder / "first"), clip(folder / "second", "!</w>"), t5_tokenizer()
    decoder = vae()
    decoder.register_to_config(shift_factor=0.0)
    encoders = [text_encoder(len(words), CLIPTextModelWithProjection) for _ in range(2)]
    randomize(encoders[1])
    return quiet(
        StableDiffusion3Pipeline(
            transformer=mmdit(joint_attention_dim=40, pooled_projection_dim=32, dual_attention_layers=(0,)),
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=decoder,
            text_encoder=encoders[0],
            tokenizer=words,
            text_encoder_2=encoders[1],
            tokenizer_2=second,
            text_encoder_3=t5(len(third)) if with_t5 else None,
            tokenizer_3=third if with_t5 else None,
        )
    )


def pixart() -> PixArtAlphaPipeline:
    words = t5_tokenizer()
    torch.manual_seed(6)
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=8,
        caption_channels=40,
        sample_size=8,
        patch_size=2,
        use_additional_conditions=False,
        norm_type="ada_norm_single",
    )
    return quiet(
        PixArtAlphaPipeline(
            tokenizer=words,
            text_encoder=t5(len(words)),
            vae=vae(),
            transformer=randomize(transformer),
            scheduler=DPMSolverMultistepScheduler(),
        )
    )


def sd(folder: Path):
    return quiet(stable_diffusion(folder))


def quiet(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def watched(pipeline, *args, branch: str = "both", picture: int = 0, words=None, **options) -> Trace:
    """The trace of a run of a pipeline, whose picture is the same to the bit without a recording."""
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    options = SMALL | options
    plain = pipeline(*args, **options, generator=torch.Generator().manual_seed(0)).images
    with record(network, branch=branch, picture=picture, words=words) as trace:
        recorded = pipeline(*args, **options, generator=torch.Generator().manual_seed(0)).images
    assert (plain == recorded).all()
    assert not torch_module._global_forward_hooks
    return trace
