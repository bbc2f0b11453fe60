"""Opening a Stable Diffusion checkpoint that is a single .safetensors file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from models.opening.errors import CannotOpen
from models.opening.folders import PICKLES, WHY_NOT_PICKLE, tensor_shapes
from models.opening.networks import check_finite
from models.protocol import Pipeline

UNET = "model.diffusion_model."
# The networks of a checkpoint, by the beginnings of their tensors' names.
PARTS = {
    "unet": (UNET,),
    "vae": ("first_stage_model.",),
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0."),
    "text_encoder_2": ("conditioner.embedders.1.",),
}
# Contents of other single files, by the prefixes of their tensors' names.
OTHER_MODELS = {
    ("lora_unet_", "lora_te", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora"): "a LoRA",
    ("control_model.", "controlnet_"): "a ControlNet",
    ("first_stage_model.", "encoder.", "decoder."): "an autoencoder",
    ("text_model.", "cond_stage_model."): "a text encoder",
    ("double_blocks.", "model.diffusion_model.double_blocks.", "transformer_blocks."): "a transformer, not a U-Net,",
    ("emb_params",): "a textual inversion",
    ("down_blocks.", "conv_in."): "a U-Net on its own (put it into a folder with its config.json)",
}


def pipeline_class(path: Path) -> Any:
    """The diffusers pipeline that a checkpoint's tensors belong to.

    Raises:
        CannotOpen: when it is a pickle, is not whole, or is a checkpoint of something else.
    """
    import diffusers

    if path.suffix in PICKLES:
        raise CannotOpen(f"{path.name} was refused: {WHY_NOT_PICKLE}")
    if path.suffix != ".safetensors":
        raise CannotOpen(f"expected a .safetensors checkpoint or a folder, got {path.name}")
    shapes = tensor_shapes(path)
    if any(name.startswith("model.diffusion_model.double_blocks.") for name in shapes) or not any(
        name.startswith(UNET + "input_blocks.") for name in shapes
    ):
        contents = (kind for starts, kind in OTHER_MODELS.items() if any(name.startswith(starts) for name in shapes))
        raise CannotOpen(
            f"{path.name} holds {next(contents, 'something else')}; expected a Stable Diffusion checkpoint"
        )
    if any(name.startswith("conditioner.embedders.") for name in shapes):
        return diffusers.StableDiffusionXLPipeline
    first_convolution = shapes.get(UNET + "input_blocks.0.0.weight", [])
    if first_convolution[1:2] == [9]:  # 4 channels of latents, 4 of the masked picture's, and the mask
        return diffusers.StableDiffusionInpaintPipeline
    return diffusers.StableDiffusionPipeline


def open_single_file(path: Path, dtype: torch.dtype, config: str | Path | None) -> Pipeline:
    """A pipeline from one file.

    Args:
        config: a folder (or Hugging Face model ID) of the same kind of model, for the configuration and tokenizer,
            which a single file does not hold; without it they are fetched from the Hub.

    Raises:
        CannotOpen: as `pipeline_class`, or when no configuration or tokenizer is found.
    """
    opener = pipeline_class(path)
    try:
        options = {} if config is None else {"config": str(config), "local_files_only": Path(config).is_dir()}
        if not opener.__name__.startswith("StableDiffusionXL"):
            options |= {"safety_checker": None}
        pipeline = opener.from_single_file(str(path), dtype=dtype, **options)
        _check_networks(pipeline, path)
        return pipeline
    except CannotOpen:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else type(error).__name__
        raise CannotOpen(
            f"{path.name} is a checkpoint for {opener.__name__}, but it could not be opened ({reason}); its "
            "configuration and tokenizer are not in the file and come from the Hub, or from a folder given as config="
        ) from error


def _check_networks(pipeline: Pipeline, path: Path) -> None:
    """Check that a checkpoint held all of its networks' weights, which are renamed while it is opened, and finite ones.

    Diffusers fills what is missing with random numbers.
    """
    shapes = tensor_shapes(path)
    for name, prefixes in PARTS.items():
        network = getattr(pipeline, name, None)
        if network is None:
            continue
        held = sum(math.prod(shape) for tensor, shape in shapes.items() if tensor.startswith(prefixes))
        needed = sum(parameter.numel() for parameter in network.parameters())
        if held < needed:
            raise CannotOpen(
                f"{path.name} lacks weights of its {name}: it has {held:,} of {needed:,}; download it again"
            )
        check_finite(network, name)
