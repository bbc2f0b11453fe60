"""Writes a tiny Stable Diffusion pipeline the way CompVis' code saves one: a single file, under the original names.

The names are those of the public checkpoints; `models.opening.single_file` never sees this module.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _moved(weights: dict, prefix: str, to: str, names: dict[str, str] | None = None) -> dict:
    """Every tensor under `prefix`, under `to`, with the beginnings in `names` replaced."""
    found = {}
    for name, tensor in weights.items():
        if not name.startswith(prefix):
            continue
        rest = name[len(prefix) :]
        for old, new in (names or {}).items():
            if rest.startswith(old + "."):
                rest = new + rest[len(old) :]
                break
        found[to + rest] = tensor
    return found


def unet_names(unet) -> dict[str, torch.Tensor]:
    weights, layers = unet.state_dict(), unet.config.layers_per_block
    out = _moved(weights, "time_embedding.linear_1", "time_embed.0") | _moved(
        weights, "time_embedding.linear_2", "time_embed.2"
    )
    out |= _moved(weights, "conv_in", "input_blocks.0.0")
    out |= _moved(weights, "conv_norm_out", "out.0") | _moved(weights, "conv_out", "out.2")
    for i in range(len(unet.down_blocks)):
        for j in range(layers):
            block = f"input_blocks.{1 + i * (layers + 1) + j}"
            out |= _moved(weights, f"down_blocks.{i}.resnets.{j}.", f"{block}.0.", RESNET)
            out |= _moved(weights, f"down_blocks.{i}.attentions.{j}.", f"{block}.1.")
        out |= _moved(weights, f"down_blocks.{i}.downsamplers.0.conv.", f"input_blocks.{(i + 1) * (layers + 1)}.0.op.")
    out |= _moved(weights, "mid_block.resnets.0.", "middle_block.0.", RESNET)
    out |= _moved(weights, "mid_block.attentions.0.", "middle_block.1.")
    out |= _moved(weights, "mid_block.resnets.1.", "middle_block.2.", RESNET)
    for i, up in enumerate(unet.up_blocks):
        for j in range(layers + 1):
            block = f"output_blocks.{i * (layers + 1) + j}"
            out |= _moved(weights, f"up_blocks.{i}.resnets.{j}.", f"{block}.0.", RESNET)
            out |= _moved(weights, f"up_blocks.{i}.attentions.{j}.", f"{block}.1.")
        last = f"output_blocks.{i * (layers + 1) + layers}.{2 if hasattr(up, 'attentions') else 1}"
        out |= _moved(weights, f"up_blocks.{i}.upsamplers.0.", f"{last}.")
    return {f"model.diffusion_model.{name}": tensor for name, tensor in out.items()}


def vae_names(vae) -> dict[str, torch.Tensor]:
    weights = vae.state_dict()
    out: dict[str, torch.Tensor] = {}
    shortcut = {"conv_shortcut": "nin_shortcut"}
    for half, blocks in (("encoder", vae.encoder.down_blocks), ("decoder", vae.decoder.up_blocks)):
        out |= _moved(weights, f"{half}.conv_in", f"{half}.conv_in") | _moved(
            weights, f"{half}.conv_out", f"{half}.conv_out"
        )
        out |= _moved(weights, f"{half}.conv_norm_out", f"{half}.norm_out")
        for j in (0, 1):
            out |= _moved(weights, f"{half}.mid_block.resnets.{j}.", f"{half}.mid.block_{j + 1}.", shortcut)
        attention = _moved(weights, f"{half}.mid_block.attentions.0.", f"{half}.mid.attn_1.", VAE_ATTENTION)
        out |= {n: t[:, :, None, None] if n.endswith("weight") and "norm" not in n else t for n, t in attention.items()}
        for i, block in enumerate(blocks):
            level = i if half == "encoder" else len(blocks) - 1 - i
            way, sampler = ("down", "downsample") if half == "encoder" else ("up", "upsample")
            for j in range(len(block.resnets)):
                old = f"{half}.{way}_blocks.{i}.resnets.{j}."
                out |= _moved(weights, old, f"{half}.{way}.{level}.block.{j}.", shortcut)
            out |= _moved(weights, f"{half}.{way}_blocks.{i}.{sampler}rs.0.", f"{half}.{way}.{level}.{sampler}.")
    out |= _moved(weights, "quant_conv", "quant_conv") | _moved(weights, "post_quant_conv", "post_quant_conv")
    return {f"first_stage_model.{name}": tensor for name, tensor in out.items()}


def write(pipeline, path: Path) -> Path:
    text = {
        f"cond_stage_model.transformer.{name if name.startswith('text_model.') else 'text_model.' + name}": tensor
        for name, tensor in pipeline.text_encoder.state_dict().items()
    }
    tensors = unet_names(pipeline.unet) | vae_names(pipeline.vae) | text
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path
