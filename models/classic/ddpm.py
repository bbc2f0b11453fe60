"""The attention block of "Denoising Diffusion Probabilistic Models"."""

import torch
from torch import nn


class AttnBlock(nn.Module):
    """The block at the U-Net's 16×16 grid: Ho, Jain, Abbeel 2020, arXiv 2006.11239, appendix B.

    (B, C, h, w) to (B, C, h, w), C a multiple of `groups`. N = h·w pixels, one head as wide as all channels.

        A = softmax(QKᵀ / √C)             over all N keys, row by row
        y = x + W_o (A V) + b_o           Q, K, V: 1×1 projections of GroupNorm(x)
    """

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)
        for parameter in self.proj_out.parameters():
            nn.init.zeros_(parameter)  # so that placing an untrained block in a network disturbs nothing

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normal = self.norm(x)  # (B, C, h, w)
        q = self.q(normal).flatten(2).transpose(1, 2)  # (B, N, C): row i is pixel i
        k = self.k(normal).flatten(2)  # (B, C, N)
        v = self.v(normal).flatten(2).transpose(1, 2)  # (B, N, C)
        # Without the scale, scores would grow with √C and the softmax would be almost one-hot from the start.
        attention = torch.softmax(q @ k * x.shape[1] ** -0.5, dim=-1)  # (B, N, N): row i sums to 1
        joined = (attention @ v).transpose(1, 2).unflatten(2, x.shape[2:])  # (B, C, h, w)
        return x + self.proj_out(joined)
