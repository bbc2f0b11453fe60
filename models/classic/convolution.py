"""Self-attention as a convolution: "On the Relationship between Self-Attention and Convolutional Layers"."""

import torch
from torch import nn


class QuadraticAttention(nn.Module):
    """Heads that look at places: Cordonnier, Loukas, Jaggi 2020, arXiv 1911.03584, theorem 1 and its proof.

    (B, C, h, w) to (B, C', h, w). A head has a centre Δ (rows, columns) and a sharpness α. Where it looks does not
    depend on the picture (W_qry = W_key = 0). For query i and key j, with δ = j − i:

        score = v·r_δ,   v = −α (1, −2Δ₁, −2Δ₂),   r_δ = (‖δ‖², δ₁, δ₂)
              = −α ‖δ − Δ‖² + α ‖Δ‖²              the last term is the same for the whole row: the softmax drops it

    The softmax of these scores is a Gaussian around i + Δ with variance 1/(2α) in each direction; as α grows, all of
    it falls on the single pixel i + Δ. K² heads with the K² shifts of a kernel, each with that slice of the kernel as
    its W_v, then equal the convolution: see `from_convolution`.
    """

    def __init__(self, channels: int, out_channels: int, heads: int, head_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k = self.Queries(heads), self.Keys(heads)
        self.to_v = nn.Linear(channels, heads * (head_dim or out_channels), bias=False)
        self.to_out = nn.Linear(heads * (head_dim or out_channels), out_channels)

    # The same scores as a product q_i·k_j. With t = i + Δ, the place that a head looks at:
    # −α‖j − t‖² = −α (‖j‖² − 2 t·j) − α‖t‖², and again the last term is the same for the whole row.

    class Queries(nn.Module):
        """Pixels (B, N, C) of a grid (h, w) to (B, N, H·3): −α (1, −2t₁, −2t₂), whatever the pixels are."""

        def __init__(self, heads: int) -> None:
            super().__init__()
            self.centres = nn.Parameter(torch.randn(heads, 2))  # Δ
            self.sharpness = nn.Parameter(torch.ones(heads))  # α

        def forward(self, x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
            i = torch.cartesian_prod(*(torch.arange(side).to(x) - (side - 1) / 2 for side in grid))  # (N, 2)
            t = i[:, None] + self.centres  # (N, H, 2)
            q = -self.sharpness[:, None] * torch.cat([torch.ones_like(t[..., :1]), -2 * t], dim=-1)  # (N, H, 3)
            # `forward` divides scores by √d, here √3, as usual; this paper's construction does not.
            return 3**0.5 * q.flatten(1).expand(len(x), -1, -1)

    class Keys(nn.Module):
        """Pixels (B, N, C) of a grid (h, w) to (B, N, H·3): (‖j‖², j₁, j₂), the same for all heads."""

        def __init__(self, heads: int) -> None:
            super().__init__()
            self.heads = heads

        def forward(self, x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
            # Coordinates count from the middle: with small numbers the difference of two squares loses less precision.
            j = torch.cartesian_prod(*(torch.arange(side).to(x) - (side - 1) / 2 for side in grid))  # (N, 2)
            k = torch.cat([j.square().sum(-1, keepdim=True), j], dim=-1)  # (N, 3)
            return k.repeat(1, self.heads).expand(len(x), -1, -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels, grid = x.flatten(2).transpose(1, 2), tuple(x.shape[2:])  # (B, N, C)
        projected = self.to_q(pixels, grid), self.to_k(pixels, grid), self.to_v(pixels)  # (B, N, H·3 or H·d)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in projected)  # (B, H, N, 3 or d)
        attention = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, dim=-1)  # (B, H, N, N)
        joined = (attention @ v).transpose(1, 2).flatten(2)  # (B, N, H·d)
        return self.to_out(joined).transpose(1, 2).unflatten(2, grid)  # (B, C', h, w)

    def scores(self, h: int, w: int) -> torch.Tensor:
        """v·r_δ as in the paper: (H, N, N), the same for every picture."""
        centres, sharpness = self.to_q.centres, self.to_q.sharpness
        places = torch.cartesian_prod(torch.arange(h), torch.arange(w)).to(centres)  # (N, 2)
        delta = places[None] - places[:, None]  # (N, N, 2): [i, j] is j − i
        r = torch.cat([delta.square().sum(-1, keepdim=True), delta], dim=-1)  # (N, N, 3)
        v = -sharpness[:, None] * torch.cat([torch.ones_like(centres[:, :1]), -2 * centres], dim=-1)  # (H, 3)
        return torch.einsum("hp,ijp->hij", v, r)

    @classmethod
    @torch.no_grad()
    def from_convolution(cls, convolution: nn.Conv2d, sharpness: float) -> "QuadraticAttention":
        """K² heads that become `convolution` (C to C' channels, K×K, K odd) as `sharpness` grows.

        At the border a shift may leave the picture; the softmax then takes the nearest pixel, not a zero. For a
        comparison, pad the input by K // 2 and ignore the border of the output.

        Raises:
            ValueError: for a kernel that is not square and odd, and for strides, dilation or groups.
        """
        (height, width), plain = convolution.kernel_size, (convolution.stride, convolution.dilation)
        if height != width or height % 2 == 0 or plain != ((1, 1), (1, 1)) or convolution.groups != 1:
            raise ValueError(f"expected an odd, square kernel without stride, dilation or groups, got {convolution}")
        channels, out_channels = convolution.in_channels, convolution.out_channels
        block, reach = cls(channels, out_channels, heads=height * width), height // 2
        shifts = torch.arange(-reach, reach + 1.0)
        block.to_q.centres.copy_(torch.cartesian_prod(shifts, shifts).view(-1, 2))  # row by row, like a kernel
        block.to_q.sharpness.fill_(sharpness)
        kernel = convolution.weight.flatten(2).permute(2, 0, 1)  # (K², C', C): one matrix per shift
        block.to_v.weight.copy_(kernel.flatten(0, 1))  # head h's values are the pixels times its slice
        block.to_out.weight.copy_(torch.eye(out_channels).repeat(1, height * width))  # a sum over the heads
        block.to_out.bias.copy_(torch.zeros(out_channels) if convolution.bias is None else convolution.bias)
        return block
