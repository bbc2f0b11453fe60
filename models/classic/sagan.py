"""The self-attention of "Self-Attention Generative Adversarial Networks"."""

import torch
from torch import nn


class SelfAttention2d(nn.Module):
    """Self-attention that starts switched off: Zhang, Goodfellow, Metaxas, Odena 2018, arXiv 1805.08318, eq. 1 to 3.

    (B, C, h, w) to (B, C, h, w), C at least 8. N = h·w pixels, one head.

        s_ij = (W_f x_i)·(W_g x_j)        the scores, unscaled
        a_ij = exp(s_ij) / Σ_j exp(s_ij)  what pixel i looks at
        y_i  = γ·Σ_j a_ij (W_h x_j) + x_i

    (The paper swaps i and j in its softmax; the numbers are the same.)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # A 1×1 convolution is one matrix, applied to each pixel separately: W_f, W_g and W_h see no neighbours.
        self.query_conv = nn.Conv2d(channels, channels // 8, 1)  # an eighth of the channels is enough for comparing
        self.key_conv = nn.Conv2d(channels, channels // 8, 1)
        self.value_conv = nn.Conv2d(channels, channels, 1)
        # γ = 0: the network first relies on neighbourhoods, which is easier, and then learns how much to look farther.
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = self.query_conv(x).flatten(2).transpose(1, 2)  # (B, N, C/8): row i is pixel i
        k = self.key_conv(x).flatten(2)  # (B, C/8, N): column j is pixel j
        v = self.value_conv(x).flatten(2).transpose(1, 2)  # (B, N, C)
        attention = torch.softmax(q @ k, dim=-1)  # (B, N, N): row i sums to 1
        o = (attention @ v).transpose(1, 2)  # (B, C, N)
        return self.gamma * o.unflatten(2, x.shape[2:]) + x  # the list of pixels becomes a grid again
