"""The residual block with time embedding, the multi-head block after it, and its cross-attention counterpart."""

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """Convolutions that know how noisy their input is: Dhariwal & Nichol 2021, arXiv 2105.05233, section 3 (AdaGN).

    x (B, C, h, w) and the time embedding (B, T) to (B, C', h, w); C and C' multiples of `groups`.

        h = Conv(SiLU(GroupNorm(x)))
        h = GroupNorm(h)·(1 + scale) + shift,   (scale, shift) = Linear(SiLU(time)), one number per channel
        y = skip(x) + Conv(SiLU(h))
    """

    def __init__(self, channels: int, out_channels: int, time_channels: int, groups: int = 32) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_channels, 2 * out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)  # an untrained block is its own skip

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        h = self.conv1(nn.functional.silu(self.norm1(x)))  # (B, C', h, w)
        scale, shift = self.time(nn.functional.silu(time))[:, :, None, None].chunk(2, dim=1)  # (B, C', 1, 1) each
        # 1 + scale: an untrained linear layer then leaves the normalised features almost unchanged.
        h = self.norm2(h) * (1 + scale) + shift
        return self.skip(x) + self.conv2(nn.functional.silu(h))


class MultiheadBlock(nn.Module):
    """Several heads at grids of 16×16 and below: Dhariwal & Nichol 2021, arXiv 2105.05233, after Vaswani et al. 2017.

    (B, C, h, w) to (B, C, h, w); C a multiple of `groups` and of `heads`. N = h·w pixels, d = C/H numbers per head.

        A^(h) = softmax(Q^(h) K^(h)ᵀ / √d)
        y     = x + W_o [A^(1)V^(1) … A^(H)V^(H)] + b_o

    Doubling the side of the grid gives four times the pixels and sixteen times the scores: hence only small grids.
    """

    def __init__(self, channels: int, heads: int = 4, groups: int = 32) -> None:
        super().__init__()
        self.num_heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)  # three 1×1 convolutions in one: q's channels, k's, v's
        self.proj_out = nn.Conv1d(channels, channels, 1)
        for parameter in self.proj_out.parameters():
            nn.init.zeros_(parameter)  # an untrained block passes its input on

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(self.norm(x).flatten(2))  # (B, 3C, N): from here on, the grid is a list of pixels
        # Split into q, k, v first and into heads second. (Some networks do it the other way round.)
        q, k, v = (part.unflatten(1, (self.num_heads, -1)).transpose(2, 3) for part in qkv.chunk(3, dim=1))
        attention = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, dim=-1)  # (B, H, N, N)
        joined = (attention @ v).transpose(2, 3).flatten(1, 2)  # (B, H·d = C, N)
        return x + self.proj_out(joined).unflatten(2, x.shape[2:])


class CrossAttentionBlock(nn.Module):
    """The counterpart that reads words: Vaswani et al. 2017, arXiv 1706.03762, eq. 1, placed as in Rombach et al. 2022.

    x (B, C, h, w) and words (B, M, W) to (B, C, h, w); C a multiple of `groups` and of `heads`.

        A^(h) = softmax(Q^(h) K^(h)ᵀ / √d)     (N, M): each row compares one pixel with every word
        y     = x + W_o [A^(1)V^(1) … A^(H)V^(H)] + b_o

    Only the queries come from the picture, one per pixel; keys and values come from the words.
    """

    def __init__(self, channels: int, word_channels: int, heads: int = 4, groups: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, channels)
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(word_channels, channels, bias=False)
        self.to_v = nn.Linear(word_channels, channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        for parameter in self.to_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        pixels = self.norm(x).flatten(2).transpose(1, 2)  # (B, N, C)
        projected = self.to_q(pixels), self.to_k(words), self.to_v(words)  # (B, N, C), (B, M, C), (B, M, C)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in projected)  # (B, H, N or M, d)
        attention = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, dim=-1)  # (B, H, N, M)
        joined = (attention @ v).transpose(1, 2).flatten(2)  # (B, N, C)
        return x + self.to_out(joined).transpose(1, 2).unflatten(2, x.shape[2:])
