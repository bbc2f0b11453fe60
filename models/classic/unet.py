"""One small U-Net for any of the papers' blocks, so that they can be compared on the same picture."""

import math
from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import nn

from models.classic.ddpm import AttnBlock
from models.classic.multihead import CrossAttentionBlock, MultiheadBlock, ResidualBlock
from models.classic.sagan import SelfAttention2d


class ClassicUNet(ModelMixin, ConfigMixin):
    """Ho et al.'s U-Net, small: one residual block per level on the way down and up, attention at chosen levels.

    (B, 3, h, w) to (B, 3, h, w), h and w multiples of 2^(levels − 1). The residual blocks are always Dhariwal &
    Nichol's, so that the networks differ in their attention only.

    Args:
        channels: of each level; each level's grid is half as wide as the one before.
        attention: "sagan", "ddpm" or "multihead".
        attention_levels: which levels have attention, on the way down and up; the middle always has it.
        word_channels: of the words for cross-attention, which then follows every attention; 0 for none.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        channels: Sequence[int] = (32, 48, 64, 96),
        attention: str = "ddpm",
        attention_levels: Sequence[int] = (2,),
        word_channels: int = 0,
        heads: int = 4,
        groups: int = 16,
        time_channels: int = 128,
    ) -> None:
        super().__init__()
        blocks = {
            "sagan": SelfAttention2d,
            "ddpm": lambda wide: AttnBlock(wide, groups),
            "multihead": lambda wide: MultiheadBlock(wide, heads, groups),
        }

        def stage(entering: int, wide: int, attentive: bool) -> _Stage:
            residual = ResidualBlock(entering, wide, time_channels, groups)
            cross = CrossAttentionBlock(wide, word_channels, heads, groups) if attentive and word_channels else None
            return _Stage(residual, blocks[attention](wide) if attentive else None, cross)

        self.time = nn.Sequential(nn.Linear(64, time_channels), nn.SiLU(), nn.Linear(time_channels, time_channels))
        self.enter = nn.Conv2d(3, channels[0], 3, padding=1)
        above, last = (channels[0], *channels[:-1]), len(channels) - 1
        attentive = [level in attention_levels for level in range(len(channels))]
        self.down = nn.ModuleList(map(stage, above, channels, attentive))
        self.halve = nn.ModuleList(nn.Conv2d(wide, wide, 3, stride=2, padding=1) for wide in channels[:-1])
        self.middle = stage(channels[last], channels[last], True)
        below = (*channels[1:], channels[last])
        self.up = nn.ModuleList(stage(b + c, c, a) for b, c, a in zip(below, channels, attentive, strict=True))
        self.leave = nn.Sequential(
            nn.GroupNorm(groups, channels[0]), nn.SiLU(), nn.Conv2d(channels[0], 3, 3, padding=1)
        )

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor | float, encoder_hidden_states: torch.Tensor | None = None
    ) -> UNet2DOutput:
        """(B, 3, h, w), one timestep or (B,), words (B, M, W) if it reads them; `.sample` is (B, 3, h, w)."""
        timestep = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        time = self.time(_waves(timestep).to(sample.dtype))  # (B, T)
        x, skips = self.enter(sample), []
        for level, stage in enumerate(self.down):
            x = stage(x, time, encoder_hidden_states)
            skips.append(x)
            x = self.halve[level](x) if level < len(self.halve) else x
        x = self.middle(x, time, encoder_hidden_states)
        for stage, skip in zip(reversed(self.up), reversed(skips), strict=True):
            x = nn.functional.interpolate(x, size=skip.shape[2:], mode="nearest")
            x = stage(torch.cat([x, skip], dim=1), time, encoder_hidden_states)
        return UNet2DOutput(sample=self.leave(x))


class _Stage(nn.Module):
    """A residual block and the attention after it, if any."""

    def __init__(self, residual: ResidualBlock, attention: nn.Module | None, cross: nn.Module | None) -> None:
        super().__init__()
        self.residual, self.attention, self.cross = residual, attention, cross

    def forward(self, x: torch.Tensor, time: torch.Tensor, words: torch.Tensor | None) -> torch.Tensor:
        x = self.residual(x, time)
        x = x if self.attention is None else self.attention(x)
        return x if self.cross is None else self.cross(x, words)


def _waves(timestep: torch.Tensor, count: int = 32) -> torch.Tensor:
    """(B,) timesteps as (B, 2·count) sines and cosines of geometric wavelengths (Vaswani et al. 2017, section 3.5)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(count, device=timestep.device) / count)
    angles = timestep.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
