"""An attention-only classifier of critters."""

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from models.attributes import ATTRIBUTES
from models.classic.relative import RelativeAttention

QUESTIONS = ("eye_count", "crown")


class AttentionClassifier(ModelMixin, ConfigMixin):
    """6 layers of 9 heads with learned positions: Cordonnier, Loukas, Jaggi 2020, arXiv 1911.03584, section 4.

    (B, 3, size, size) pictures in [-1, 1] to {question: (B, answers) logits}. There is no convolution: the picture is
    cut into patches, and only the layers' relative positions tell one patch where another one is.
    """

    @register_to_config
    def __init__(
        self,
        questions: Sequence[str] = QUESTIONS,
        sample_size: int = 64,
        patch: int = 4,
        channels: int = 144,
        depth: int = 6,
        heads: int = 9,
    ) -> None:
        super().__init__()
        side = sample_size // patch
        self.embed = nn.Linear(3 * patch * patch, channels)
        self.layers = nn.ModuleList(_Layer(channels, (side, side), heads) for _ in range(depth))
        self.norm = nn.LayerNorm(channels)
        self.answer = nn.ModuleDict({name: nn.Linear(channels, len(ATTRIBUTES[name])) for name in questions})

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        patches = nn.functional.pixel_unshuffle(pixels, self.config.patch)  # (B, 3·patch², h, w)
        x = self.embed(patches.flatten(2).transpose(1, 2))  # (B, N, C)
        for layer in self.layers:
            x = layer(x)
        mean = self.norm(x).mean(dim=1)  # (B, C): every patch counts the same
        return {name: head(mean).float() for name, head in self.answer.items()}


class _Layer(nn.Module):
    """Attention between patches, then two linear layers on each patch; each is added to its input."""

    def __init__(self, channels: int, grid: tuple[int, int], heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = RelativeAttention(channels, grid, heads, head_dim=channels // heads)
        self.mix = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))  # (B, N, C)
        return x + self.mix(self.norm2(x))
