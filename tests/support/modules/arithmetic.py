"""The arithmetic of the random attention modules, and what changes in it at some steps and for some pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.modules.plan import MASKS, Change, Plan


@dataclass(frozen=True)
class Moment:
    """One step of a plan: what is otherwise at it."""

    plan: Plan
    step: int
    grid: tuple[int, int]
    batch: int

    @property
    def changes(self) -> list[Change]:
        return self.plan.active(self.step)

    def _of(self, *kinds: str) -> list[Change]:
        return [change for change in self.changes if change.kind in kinds]

    @property
    def identity(self) -> frozenset[int]:
        """The pictures whose attention is left out: each query gets its own value."""
        return frozenset().union(*(change.pictures for change in self._of("identity")))

    def source(self, *kinds: str) -> tuple[int, ...]:
        """For each picture, the picture that its keys are taken from."""
        taken = frozenset().union(*(change.pictures for change in self._of(*kinds)))
        return tuple((picture + 1) % self.batch if picture in taken else picture for picture in range(self.batch))

    def warm(self, q: Tensor) -> Tensor:
        """q (B, …) of another temperature."""
        for change in self._of("temperature"):
            factors = [change.amount if picture in change.pictures else 1.0 for picture in range(len(q))]
            q = q * torch.tensor(factors, dtype=q.dtype).view(-1, *[1] * (q.ndim - 1))
        return q

    def overwrite(self, q: Tensor, k: Tensor) -> None:
        """Write into the projections' outputs after they were used."""
        for change in self.changes:
            if change.kind == "overwritten query":
                q.mul_(-change.amount)
            if change.kind == "overwritten key":
                k.mul_(-change.amount)

    def mask(self, queries: int, keys: int) -> Tensor | None:
        """What is added to the scores, (B, 1, N, M), if anything: 0 or -inf for the masks, any number for a bias."""
        changes = self._of(*MASKS)
        if not changes:
            return None
        added = torch.zeros(self.batch, 1, queries, keys)
        for change in changes:
            for picture in sorted(change.pictures):
                if picture < self.batch:
                    added[picture, 0] += self._added(change, queries, keys)
        # Two masks together may leave a query without any key: it gets the first one.
        added[..., 0] = torch.where((added == -torch.inf).all(-1), 0.0, added[..., 0])
        return added

    def _added(self, change: Change, queries: int, keys: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.plan.seed + 100 * self.step)
        added = torch.zeros(queries, keys)
        if change.kind == "bias":
            return torch.randn(queries, keys, generator=generator) * change.amount
        if change.kind == "padding":
            added[:, max(1, keys - 2) :] = -torch.inf
        elif change.kind == "causal":
            added.masked_fill_(~torch.ones(queries, keys, dtype=torch.bool).tril(), -torch.inf)
        elif change.kind == "box":  # the first rows of the map may look only into the first half of the keys
            added[: queries // 2, max(1, keys // 2) :] = -torch.inf
        else:
            for query in torch.randperm(queries, generator=generator)[: -(-queries // 2)]:
                hidden = torch.randperm(keys, generator=generator)[: keys // 2]
                added[query, hidden] = -torch.inf
        return added


def attend(q: Tensor, k: Tensor, v: Tensor, moment: Moment, scale: float, arithmetic: str) -> Tensor:
    """softmax(q·Kᵀ·scale + mask)·V of q (B, H, N, d), k (B, H, M, d), v (B, H, M, dv), written in one of many ways."""
    mask = moment.mask(q.shape[2], k.shape[2])
    if mask is not None:
        mask = mask.to(q.dtype)
    if moment.identity and q.shape[2] == k.shape[2] and len(moment.identity) == len(q):
        return v
    if arithmetic == "fused":
        out = _fused(q, k, v, mask, moment, scale)
    elif arithmetic.startswith("sliced"):
        out = _sliced(q, k, v, mask, scale, arithmetic)
    else:
        out = _weights(q, k, mask, moment, scale, arithmetic).to(v.dtype) @ v
    if moment.identity and out.shape == v.shape:
        alone = torch.tensor([picture in moment.identity for picture in range(len(q))]).view(-1, 1, 1, 1)
        out = torch.where(alone, v, out)
    return out


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, moment: Moment, scale: float) -> Tensor:
    own = None if abs(scale - q.shape[-1] ** -0.5) < 1e-9 else scale
    if mask is not None and moment.plan.mask_as == "bool" and not moment._of("bias"):
        mask = mask == 0
    dropout = 0.3 if "dropout" in moment.plan.oddities else 0.0
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=own)


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, moment: Moment, scale: float, arithmetic: str) -> Tensor:
    """(B, H, N, M)."""
    mask = torch.zeros((), dtype=q.dtype) if mask is None else mask
    if arithmetic == "folded":
        heads, queries, keys = q.shape[1], q.shape[2], k.shape[2]
        folded, mask = (q.flatten(0, 1), k.flatten(0, 1)), mask.expand(len(q), heads, queries, keys).flatten(0, 1)
        scores = torch.baddbmm(mask, folded[0], folded[1].transpose(1, 2), alpha=scale)
        return scores.softmax(dim=-1).unflatten(0, (-1, heads))
    if arithmetic == "keys first":
        scores = k @ q.transpose(-1, -2) * scale + (mask.transpose(-1, -2) if mask.ndim else mask)
        return scores.softmax(dim=-2).transpose(-1, -2)
    if arithmetic == "both scaled":
        scores = (q * scale**0.5) @ (k * scale**0.5).transpose(-1, -2)
    elif arithmetic == "einsum":
        scores = torch.einsum("bhnd,bhmd->bhnm", q, k) * scale
    elif arithmetic == "upcast":
        scores = q.float() @ k.float().transpose(-1, -2) * scale
    else:
        scores = q @ k.transpose(-1, -2) * scale
    weights = torch.softmax(scores + mask, dim=-1)
    return F.dropout(weights, 0.3) if "dropout" in moment.plan.oddities else weights


def _sliced(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, arithmetic: str) -> Tensor:
    """One softmax for each head of each picture, or for each half of the queries."""
    mask = torch.zeros(len(q), 1, q.shape[2], k.shape[2], dtype=q.dtype) if mask is None else mask
    if arithmetic == "sliced queries":
        halves = [part.split(-(-q.shape[2] // 2), dim=2) for part in (q, mask)]
        return torch.cat(
            [(half @ k.transpose(-1, -2) * scale + added).softmax(-1) @ v for half, added in zip(*halves, strict=True)],
            dim=2,
        )
    slices = [
        (q[b, h] @ k[b, h].T * scale + mask[b, 0]).softmax(-1) @ v[b, h]
        for b in range(len(q))
        for h in range(q.shape[1])
    ]
    return torch.stack(slices).unflatten(0, q.shape[:2])
