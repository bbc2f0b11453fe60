"""Self-attention that is a convolution, of "On the Relationship between Self-Attention and Convolutional Layers"."""

import torch
from torch import nn


class QuadraticAttention(nn.Module):
    """Heads that look at places: Cordonnier, Loukas, Jaggi 2020, arXiv 1911.03584, theorem 1, eq. 8 and 9.

    (B, C, h, w) to (B, C', h, w). Head h has a centre Δ (rows, columns) and a sharpness α, and does not read
    the picture at all to decide where it looks (W_qry = W_key = 0). For key j seen from query i, δ = j − i:

        score = v·r_δ,   v = −α (1, −2Δ₁, −2Δ₂),   r_δ = (‖δ‖², δ₁, δ₂)
              = −α ‖δ − Δ‖² + α ‖Δ‖²              the last term is the row's own, and the softmax drops it

    A softmax of that is a Gaussian around i + Δ with variance 1/(2α) a direction; as α grows, all of it falls on
    the one pixel i + Δ. K² heads with the K² shifts of a kernel, each with that slice of the kernel as its W_v, are
    then the convolution: `from_convolution`.

    `to_q` and `to_k` are the identity. They are there to be watched: queries and keys pass through them, so
    that whoever looks at attention as softmax(q·k/√d) sees this block's too.
    """

    def __init__(self, channels: int, out_channels: int, heads: int, head_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.centres = nn.Parameter(torch.randn(heads, 2))  # Δ
        self.sharpness = nn.Parameter(torch.ones(heads))  # α
        self.to_q, self.to_k = nn.Identity(), nn.Identity()
        self.to_v = nn.Linear(channels, heads * (head_dim or out_channels), bias=False)
        self.to_out = nn.Linear(heads * (head_dim or out_channels), out_channels)

    @classmethod
    @torch.no_grad()
    def from_convolution(cls, convolution: nn.Conv2d, sharpness: float) -> "QuadraticAttention":
        """K² heads that become `convolution` (C to C' channels, K×K, K odd) as `sharpness` grows.

        At the border a shift may leave the picture; the softmax then takes the nearest pixel, not a zero. So
        compare on an input padded by K // 2, away from its border.

        Raises:
            ValueError: for a kernel that is not square and odd, and for strides, dilation or groups.
        """
        (height, width), plain = convolution.kernel_size, (convolution.stride, convolution.dilation)
        if height != width or height % 2 == 0 or plain != ((1, 1), (1, 1)) or convolution.groups != 1:
            raise ValueError(f"expected an odd, square kernel without stride, dilation or groups, got {convolution}")
        channels, out_channels = convolution.in_channels, convolution.out_channels
        block, reach = cls(channels, out_channels, heads=height * width), height // 2
        shifts = torch.arange(-reach, reach + 1.0)
        block.centres.copy_(torch.cartesian_prod(shifts, shifts))  # row by row, as the kernel is stored
        block.sharpness.fill_(sharpness)
        kernel = convolution.weight.flatten(2).permute(2, 0, 1)  # (K², C', C): one matrix a shift
        block.to_v.weight.copy_(kernel.flatten(0, 1))  # head h's values are the pixels times its slice
        block.to_out.weight.copy_(torch.eye(out_channels).repeat(1, height * width))  # a sum over the heads
        block.to_out.bias.copy_(0 if convolution.bias is None else convolution.bias)
        return block

    def scores(self, h: int, w: int) -> torch.Tensor:
        """v·r_δ as the paper writes it: (H, N, N), the same for every picture."""
        places = torch.cartesian_prod(torch.arange(h), torch.arange(w)).to(self.centres)  # (N, 2)
        delta = places[None] - places[:, None]  # (N, N, 2): [i, j] is j − i
        r = torch.cat([delta.square().sum(-1, keepdim=True), delta], dim=-1)  # (N, N, 3)
        v = -self.sharpness[:, None] * torch.cat([torch.ones_like(self.centres[:, :1]), -2 * self.centres], dim=-1)
        return torch.einsum("hp,ijp->hij", v, r)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (batch, _, h, w), heads = x.shape, self.heads
        # The same scores as a product of something of i and something of j. With j − i − Δ = j − t, t = i + Δ:
        # −α‖j − t‖² = −α (‖j‖² − 2 t·j) − α‖t‖², and the last term is the row's own again.
        places = torch.cartesian_prod(torch.arange(h), torch.arange(w)).to(x)  # (N, 2)
        places = places - places.mean(dim=0)  # small numbers: less to lose in the difference of two squares
        target = places[:, None] + self.centres  # (N, H, 2)
        q = -self.sharpness[:, None] * torch.cat([torch.ones_like(target[..., :1]), -2 * target], dim=-1)  # (N, H, 3)
        q = 3**0.5 * q  # the softmax below divides by √d, as everywhere; here the paper does not
        k = torch.cat([places.square().sum(-1, keepdim=True), places], dim=-1)[:, None].expand(-1, heads, -1)
        q, k = self.to_q(q.flatten(1).expand(batch, -1, -1)), self.to_k(k.flatten(1).expand(batch, -1, -1))
        v = self.to_v(x.flatten(2).transpose(1, 2))  # (B, N, H·d)
        q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (q, k, v))  # (B, H, N, 3 or d)
        attention = torch.softmax(q @ k.transpose(2, 3) * 3**-0.5, dim=-1)  # (B, H, N, N)
        joined = (attention @ v).transpose(1, 2).flatten(2)  # (B, N, H·d)
        return self.to_out(joined).transpose(1, 2).unflatten(2, (h, w))  # (B, C', h, w)
