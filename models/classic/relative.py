"""Self-attention with learned relative positions, whose scores split into content and position."""

import torch
from torch import nn


class RelativeAttention(nn.Module):
    """Content and position, each asking each: Dai et al. 2019, arXiv 1901.02860, section 3.3.

    For pictures: Cordonnier, Loukas, Jaggi 2020, arXiv 1911.03584, eq. 8, whose notation this is.
    (B, N, C) to (B, N, C), N = h·w pixels of the one `grid` it was made for. For key j seen from query i, δ = j − i:

        score_ij = (W_q x_i)·(W_k x_j)       content·content    does what I am ask for what you are?
                 + (W_q x_i)·(Ŵ_k r_δ)       content·position   does what I am ask for where you are?
                 + u·(W_k x_j)               position·content   do all ask for what you are?
                 + v·(Ŵ_k r_δ)               position·position  do all ask for where you are?

    r_δ is learned, the sum of a vector for δ's rows and one for its columns. `terms` gives the four apart.

    Because r_δ is such a sum, the score is also one product q·k of longer vectors: behind the head's d numbers, q_i has
    what it thinks of each row and each column of the grid, and k_j a one in its own row and its own column. Those
    pass through `to_q` and `to_k`, so that whoever watches q and k there sees the whole score; like
    everywhere, it is divided by the root of their length, d + h + w.
    """

    def __init__(self, channels: int, grid: tuple[int, int], heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.grid, (h, w), width = heads, tuple(grid), grid, heads * head_dim
        self.scale = (head_dim + h + w) ** -0.5
        self.content_query = nn.Linear(channels, width, bias=False)  # W_q
        self.content_key = nn.Linear(channels, width, bias=False)  # W_k
        self.position_key = nn.Linear(channels, width, bias=False)  # Ŵ_k
        self.rows = nn.Parameter(torch.randn(2 * h - 1, channels))  # r, for −(h − 1) … h − 1 rows down
        self.columns = nn.Parameter(torch.randn(2 * w - 1, channels))
        self.u = nn.Parameter(torch.zeros(heads, 1, head_dim))
        self.v = nn.Parameter(torch.randn(heads, 1, head_dim))  # not zero: heads differ in where they look at once
        self.to_q, self.to_k = nn.Identity(), nn.Identity()
        self.to_v = nn.Linear(channels, width, bias=False)
        self.to_out = nn.Linear(width, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k = self._whole(x)
        v = self._split(self.to_v(x))  # (B, H, N, d)
        attention = torch.softmax(q @ k.transpose(2, 3) * self.scale, dim=-1)  # (B, H, N, N)
        return self.to_out((attention @ v).transpose(1, 2).flatten(2))  # (B, N, C)

    def terms(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """The four parts of the scaled scores, (B, H, N, N) each; their sum goes into the softmax.

        Written as the equation has it, every δ looked up. It does not use what `forward` uses; a test compares them.
        """
        content_query, content_key = self._split(self.content_query(x)), self._split(self.content_key(x))
        h, w = self.grid
        row, column = (
            place.flatten().to(x.device) for place in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        )
        r = self.rows[row[None] - row[:, None] + h - 1] + self.columns[column[None] - column[:, None] + w - 1]
        position_key = self.position_key(r).unflatten(-1, (self.heads, -1))  # (N, N, H, d): Ŵ_k r_δ
        ones = torch.ones_like(content_query[..., :1])  # (B, H, N, 1): the same for every query
        parts = {
            "content·content": content_query @ content_key.transpose(2, 3),
            "content·position": torch.einsum("bhid,ijhd->bhij", content_query, position_key),
            "position·content": ones @ (self.u @ content_key.transpose(2, 3)),
            "position·position": torch.einsum("bhid,ijhd->bhij", ones * self.v, position_key),
        }
        return {name: part * self.scale for name, part in parts.items()}

    def _whole(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """q and k, (B, H, N, d + h + w) each, such that q·k is all four terms at once."""
        (batch, n, _), (h, w) = x.shape, self.grid
        content_query, content_key = self._split(self.content_query(x)), self._split(self.content_key(x))
        asks = content_query + self.v  # (B, H, N, d): what is asked of positions
        pixel = torch.arange(n, device=x.device)
        of_rows = self._asked(asks, self.rows, pixel // w, h)  # (B, H, N, h)
        of_columns = self._asked(asks, self.columns, pixel % w, w)  # (B, H, N, w)
        q = torch.cat([content_query + self.u, of_rows, of_columns], dim=-1)
        places = torch.cat([torch.eye(h).repeat_interleave(w, 0), torch.eye(w).repeat(h, 1)], dim=-1)  # (N, h + w)
        k = torch.cat([content_key, places.to(x).expand(batch, self.heads, -1, -1)], dim=-1)
        q, k = (whole.transpose(1, 2).flatten(2) for whole in (q, k))  # (B, N, H·(d + h + w))
        return self._split(self.to_q(q)), self._split(self.to_k(k))

    def _asked(self, asks: torch.Tensor, table: torch.Tensor, own: torch.Tensor, size: int) -> torch.Tensor:
        """What each query thinks of each line of the grid: (B, H, N, size), from the line it is on itself, (N,)."""
        keys = self.position_key(table).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # (H, 2·size − 1, d)
        every = asks @ keys.transpose(1, 2)  # (B, H, N, 2·size − 1): for every δ
        delta = torch.arange(size, device=own.device) - own[:, None] + size - 1  # (N, size): the δ of each line
        return every.gather(3, delta.expand(*every.shape[:2], -1, -1))

    def _split(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, H·d) to (B, H, N, d)
