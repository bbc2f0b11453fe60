"""A network whose Q and K are large and quick to compute."""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from torch import nn

from tests.support.random_weights import numbers

SIDE, CHANNELS = 96, 64


class Wide(nn.Module):
    """Four layers of cross-attention from 9,216 pixels to four words: 9 MB of queries a step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(
            Attention(CHANNELS, cross_attention_dim=CHANNELS, heads=2, dim_head=CHANNELS // 2) for _ in range(4)
        )

    def forward(self, sample, timestep, encoder_hidden_states):
        tokens = sample.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = tokens + layer(tokens, encoder_hidden_states)
        return tokens.transpose(1, 2).unflatten(2, sample.shape[2:])

    @torch.no_grad()
    def call(self, step: int) -> None:
        self(numbers(1, CHANNELS, SIDE, SIDE, seed=step), 900 - step, numbers(1, 4, CHANNELS, seed=7))
