"""Self-attention with learned relative positions, whose scores split into content and position."""

import torch
from torch import nn


class RelativeAttention(nn.Module):
    """Scores with terms for content and position: Dai et al. 2019, arXiv 1901.02860, section 3.3.

    For pictures: Cordonnier, Loukas, Jaggi 2020, arXiv 1911.03584, eq. 8, in its notation.
    (B, N, C) to (B, N, C), N = h·w pixels of the `grid` it was made for. For query i and key j, with δ = j − i:

        score_ij = (W_q x_i)·(W_k x_j)       content·content    does this content look for that content?
                 + (W_q x_i)·(Ŵ_k r_δ)       content·position   does this content look for that offset?
                 + u·(W_k x_j)               position·content   does every query look for that content?
                 + v·(Ŵ_k r_δ)               position·position  does every query look for that offset?

    r_δ is learned, the sum of a vector for δ's rows and one for its columns. `terms` returns the four separately.

    Because r_δ is such a sum, the score is also a single product q·k of longer vectors: after the head's d numbers, q_i
    holds a score for each row and each column of the grid, and k_j a 1 for its own row and its own column. As usual,
    the score is divided by the root of the vectors' length, d + h + w.
    """

    def __init__(self, channels: int, grid: tuple[int, int], heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.grid = heads, (grid[0], grid[1])
        self.to_q = self.Queries(channels, self.grid, heads, head_dim)
        self.to_k = self.Keys(channels, self.grid, heads, head_dim)
        self.to_v = nn.Linear(channels, heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, channels)

    class Queries(nn.Module):
        """(B, N, C) to (B, N, H·(d + h + w)): W_q x_i + u, then (W_q x_i + v)·Ŵ_k r for every row and every column."""

        def __init__(self, channels: int, grid: tuple[int, int], heads: int, head_dim: int) -> None:
            super().__init__()
            self.heads, self.grid = heads, grid
            self.content = nn.Linear(channels, heads * head_dim, bias=False)  # W_q
            self.position = nn.Linear(channels, heads * head_dim, bias=False)  # Ŵ_k
            self.rows = nn.Parameter(torch.randn(2 * grid[0] - 1, channels))  # r, for −(h − 1) … h − 1 rows down
            self.columns = nn.Parameter(torch.randn(2 * grid[1] - 1, channels))
            self.u = nn.Parameter(torch.zeros(heads, head_dim))
            self.v = nn.Parameter(torch.randn(heads, head_dim))  # random, so that heads look at different places

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            (h, w), pixel = self.grid, torch.arange(x.shape[1], device=x.device)
            content = self.content(x).unflatten(2, (self.heads, -1))  # (B, N, H, d)
            of_rows = self.line_scores(content + self.v, self.rows, pixel // w, h)  # (B, N, H, h)
            of_columns = self.line_scores(content + self.v, self.columns, pixel % w, w)  # (B, N, H, w)
            return torch.cat([content + self.u, of_rows, of_columns], dim=-1).flatten(2)

        def line_scores(self, query: torch.Tensor, r: torch.Tensor, own: torch.Tensor, lines: int) -> torch.Tensor:
            """Scores (B, N, H, lines) of queries (B, N, H, d), each on a line `own` (N,), for every row or column."""
            keys = self.position(r).unflatten(1, (self.heads, -1))  # (2·lines − 1, H, d)
            every = torch.einsum("bnhd,thd->bnht", query, keys)  # for every δ
            delta = torch.arange(lines, device=own.device) - own[:, None]  # (N, lines): the δ of each line
            return every.gather(3, (delta + lines - 1)[:, None].expand(len(every), -1, self.heads, -1))

    class Keys(nn.Module):
        """(B, N, C) to (B, N, H·(d + h + w)): W_k x_j, then a 1 for its row and a 1 for its column."""

        place: torch.Tensor

        def __init__(self, channels: int, grid: tuple[int, int], heads: int, head_dim: int) -> None:
            super().__init__()
            self.heads, (h, w) = heads, grid
            self.content = nn.Linear(channels, heads * head_dim, bias=False)  # W_k
            place = torch.cat([torch.eye(h).repeat_interleave(w, dim=0), torch.eye(w).repeat(h, 1)], dim=1)
            self.register_buffer("place", place, persistent=False)  # (N, h + w)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            content = self.content(x).unflatten(2, (self.heads, -1))  # (B, N, H, d)
            place = self.place.to(content.dtype)[:, None].expand(len(x), -1, self.heads, -1)  # (B, N, H, h + w)
            return torch.cat([content, place], dim=-1).flatten(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        projected = self.to_q(x), self.to_k(x), self.to_v(x)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in projected)  # (B, H, N, …)
        attention = torch.softmax(q @ k.transpose(2, 3) * q.shape[-1] ** -0.5, dim=-1)  # (B, H, N, N)
        return self.to_out((attention @ v).transpose(1, 2).flatten(2))  # (B, N, C)

    def terms(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """The four terms of the scaled scores, (B, H, N, N) each; their sum goes into the softmax.

        Written as in the equation, looking up every δ; `forward` computes them differently. A test compares the two.
        """
        (h, w), ask, pixel = self.grid, self.to_q, torch.arange(x.shape[1], device=x.device)
        query, key = (part.content(x).unflatten(2, (self.heads, -1)) for part in (ask, self.to_k))  # (B, N, H, d)
        down, right = (place[None] - place[:, None] for place in (pixel // w, pixel % w))  # (N, N): δ = j − i
        r = ask.rows[down + h - 1] + ask.columns[right + w - 1]  # (N, N, C)
        position = ask.position(r).unflatten(2, (self.heads, -1))  # (N, N, H, d): Ŵ_k r_δ
        same = torch.zeros_like(query)  # (B, N, H, d): a query that does not depend on its pixel
        parts = {
            "content·content": torch.einsum("bihd,bjhd->bhij", query, key),
            "content·position": torch.einsum("bihd,ijhd->bhij", query, position),
            "position·content": torch.einsum("bihd,bjhd->bhij", same + ask.u, key),
            "position·position": torch.einsum("bihd,ijhd->bhij", same + ask.v, position),
        }
        return {name: part * (query.shape[-1] + h + w) ** -0.5 for name, part in parts.items()}
