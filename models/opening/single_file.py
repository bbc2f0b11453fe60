"""Opening a Stable Diffusion checkpoint that is one .safetensors file."""

from __future__ import annotations

from pathlib import Path

import torch

from models.opening.errors import CannotOpen
from models.opening.folders import PICKLES, WHY_NOT_PICKLE, header

UNET = "model.diffusion_model."
# What other single files hold, by what their tensors' names begin with.
OTHERS = {
    ("lora_unet_", "lora_te", "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora"): "a LoRA",
    ("control_model.", "controlnet_"): "a ControlNet",
    ("first_stage_model.", "encoder.", "decoder."): "an autoencoder",
    ("text_model.", "cond_stage_model."): "a text encoder",
    ("double_blocks.", "model.diffusion_model.double_blocks.", "transformer_blocks."): "a transformer, not a U-Net,",
    ("emb_params",): "a textual inversion",
    ("down_blocks.", "conv_in."): "a U-Net on its own (put it into a folder with its config.json)",
}


def pipeline_class(path: Path) -> type:
    """The diffusers pipeline that a checkpoint's tensors belong to.

    Raises:
        CannotOpen: when it is a pickle, is not whole, or is a checkpoint of something else.
    """
    import diffusers

    if path.suffix in PICKLES:
        raise CannotOpen(f"{path.name} was refused: {WHY_NOT_PICKLE}")
    if path.suffix != ".safetensors":
        raise CannotOpen(f"expected a .safetensors checkpoint or a folder, got {path.name}")
    tensors = header(path)
    names = [name for name in tensors if name != "__metadata__"]
    if any(name.startswith("model.diffusion_model.double_blocks.") for name in names) or not any(
        name.startswith(UNET + "input_blocks.") for name in names
    ):
        held = next((what for starts, what in OTHERS.items() if any(n.startswith(starts) for n in names)), None)
        raise CannotOpen(f"{path.name} holds {held or 'something else'}; expected a Stable Diffusion checkpoint")
    if any(name.startswith("conditioner.embedders.") for name in names):
        return diffusers.StableDiffusionXLPipeline
    channels = tensors.get(UNET + "input_blocks.0.0.weight", {}).get("shape", [0, 4])[1]
    return diffusers.StableDiffusionInpaintPipeline if channels == 9 else diffusers.StableDiffusionPipeline


def open_single_file(path: Path, dtype: torch.dtype, config: str | Path | None):
    """A pipeline from one file.

    Args:
        config: a folder (or Hub id) of the same kind of model, for its configuration and tokenizer, which one file
            does not hold; without it they are fetched from the Hub.

    Raises:
        CannotOpen: as `pipeline_class`, or when configuration and tokenizer cannot be had.
    """
    kind = pipeline_class(path)
    try:
        options = {} if config is None else {"config": str(config), "local_files_only": Path(config).is_dir()}
        if not kind.__name__.startswith("StableDiffusionXL"):
            options |= {"safety_checker": None}
        return kind.from_single_file(str(path), dtype=dtype, **options)
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else type(error).__name__
        raise CannotOpen(
            f"{path.name} is a checkpoint for {kind.__name__}, but it could not be opened ({reason}); its "
            "configuration and tokenizer are not in the file and come from the Hub, or from a folder given as config="
        ) from error
