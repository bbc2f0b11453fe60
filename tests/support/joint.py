"""Small networks whose attention joins words to pixels, and runs of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from torch import Tensor, nn

from tests.support.faults import Run
from tests.support.random_weights import numbers, randomize

SIZE = (8, 12)  # of the sample
GRID = (4, 6)  # of the tokens of `mmdit()`
WIDTH = 16
LAST = "transformer_blocks.2.attn"  # of the block that drops its words


def mmdit(**options) -> SD3Transformer2DModel:
    """Stable Diffusion 3's network. Its last block needs its words' output no more; `dual` ones attend twice (3.5)."""
    network = SD3Transformer2DModel(
        **{
            "sample_size": 8,
            "patch_size": 2,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 3,
            "attention_head_dim": 4,
            "num_attention_heads": 2,
            "joint_attention_dim": WIDTH,
            "caption_projection_dim": 8,
            "pooled_projection_dim": 8,
            "pos_embed_max_size": 16,
        }
        | options
    )
    return sharpened(randomize(network))


def added_keys(**options) -> UNet2DConditionModel:
    """A U-Net as in DeepFloyd IF: only keys are joined, the words before the pixels."""
    network = UNet2DConditionModel(
        **{
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "cross_attention_dim": 8,
            "encoder_hid_dim": WIDTH,
            "encoder_hid_dim_type": "text_proj",
            "attention_head_dim": 4,
            "down_block_types": ("SimpleCrossAttnDownBlock2D", "ResnetDownsampleBlock2D"),
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "up_block_types": ("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
        }
        | options
    )
    return sharpened(randomize(network))


def sharpened(network: nn.Module) -> nn.Module:
    """The same with larger queries and keys, so that wrong maps differ from right ones by a lot."""
    with torch.no_grad():
        for name, module in network.named_modules():
            if name.endswith(("to_q", "to_k", "add_q_proj", "add_k_proj")):
                module.weight.mul_(6.0)
    return network


def arguments(step: int, words: int = 7, batch: int = 2) -> dict[str, Tensor]:
    """The arguments of one call of `mmdit()`."""
    return {
        "hidden_states": numbers(batch, 4, *SIZE, seed=10 + step),
        "encoder_hidden_states": numbers(batch, words, WIDTH, seed=20 + step),
        "pooled_projections": numbers(batch, 8, seed=30 + step),
        "timestep": torch.full((batch,), 900.0 - 250 * step),
    }


def joint_calls(
    words: int = 7, steps: int = 3, prepare: Callable[[nn.Module, int], None] = lambda network, step: None
) -> Run:
    """A run of some calls of `mmdit()`; `prepare` is called before each."""

    @torch.no_grad()
    def run(network: nn.Module) -> list[Tensor]:
        outputs = []
        for step in range(steps):
            prepare(network, step)
            given = {name: value.to(next(network.parameters()).dtype) for name, value in arguments(step, words).items()}
            outputs.append(network(**given, return_dict=False)[0])
        return outputs

    return run


@torch.no_grad()
def unet_calls(network: nn.Module) -> list[Tensor]:
    """A run of some calls of `added_keys()`."""
    return [
        network(numbers(2, 4, *SIZE, seed=step), 900 - 250 * step, numbers(2, 7, WIDTH, seed=20 + step))[0]
        for step in range(3)
    ]
