"""A trace: the recorded attention of one run of a denoiser. Any row or column of its attention is computed on request.

    trace = Trace.load("run.safetensors")
    trace.rows("mid_block.attentions.0", step=12, query=(3, 5))     # (heads, h, w): what the pixel looks at

Only Q and K are kept. A map is one small product away, so no map is stored and nothing is averaged away.
`viz.query.Maps` answers the queries of a view from these primitives.

In shapes: S steps, H heads, N queries, M keys, d width of a head, h×w the grid.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from viz.layer import Branch, Key, Layer, Proof
from viz.precision import require_fit
from viz.proof import attended, difference
from viz.trace_file import Contents, read, write

BLOCK = 256  # rows held at a time; more would not stay in the processor's cache


@dataclass(frozen=True)
class RowSums:
    """The sums and the mean over all rows of a layer at one step, for the chosen heads."""

    log_sums: torch.Tensor  # (H, N): log Σ_j exp(q_i·k_j · scale) of each row i
    mean_row: torch.Tensor  # (H, h, w): the mean of all rows; each head sums to 1


@dataclass
class Trace:
    """Q and K of every recorded layer and step, the preview pictures, and the recipe.

    Attributes:
        layers: {name: Layer}, in the order the network calls them.
        timesteps: {step: the timestep of its call, or None}, for the recorded steps.
        branches: the recorded halves of a guided batch; ("conditional",) for a batch without guidance.
        skipped: {name: reason} of attention modules that were found but not recorded.
        proved: {name: largest difference between the module's own output and the one recomputed from q, k, v,
            relative to the output's largest entry}, measured while recording, in the network's own precision.
        size: (height, width) of the network's sample.
        previews: {step: (h, w, 3) uint8}, the clean picture that the recorded branch predicted at that step.
        picture: (h, w, 3) uint8, the result of the run, if it was set.
        recipe: everything needed to make this trace again.
        queries: {(branch, layer, step): (H, N, d)}.
        keys: {(branch, layer, step): (H, M, d)}.
        proofs: {layer: the data to recompute some of its output}.
    """

    layers: dict[str, Layer] = field(default_factory=dict)
    timesteps: dict[int, float | None] = field(default_factory=dict)
    branches: tuple[Branch, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    proved: dict[str, float] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    previews: dict[int, np.ndarray] = field(default_factory=dict)
    picture: np.ndarray | None = None
    recipe: dict = field(default_factory=dict)
    queries: MutableMapping[Key, torch.Tensor] = field(default_factory=dict, repr=False)
    keys: MutableMapping[Key, torch.Tensor] = field(default_factory=dict, repr=False)
    proofs: dict[str, Proof] = field(default_factory=dict, repr=False)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers.values())

    @property
    def steps(self) -> list[int]:
        """The recorded steps, first to last."""
        return list(self.timesteps)

    @property
    def kept_bytes(self) -> int:
        """Bytes of all Q and K."""
        return sum(tensor.nbytes for store in (self.queries, self.keys) for tensor in store.values())

    @property
    def map_bytes(self) -> int:
        """Bytes the maps themselves would take, in the same precision."""
        each = (q.shape[0] * q.shape[1] * self.keys[key].shape[1] * q.itemsize for key, q in self.queries.items())
        return sum(each)

    def rows(
        self, layer: str, *, step: int, query: tuple[int, int], head: int | None = None, branch: Branch | None = None
    ) -> torch.Tensor:
        """What one pixel looks at: softmax(q_i·K) ("Attention Is All You Need", eq. 1).

        Args:
            layer, step: must be recorded.
            query: (row, column) of the pixel on the layer's grid.
            head: one head; all heads by default.
            branch: of a guided run recorded with both halves; the conditional one by default.

        Returns:
            float32, (H, h, w) for self-attention and (H, M) for cross-attention, without H if `head` is given.
            Every head's row sums to 1, minus the share of extra keys if the layer has any.

        Raises:
            KeyError: for a layer, step or branch that was not recorded; the message names the closest.
            IndexError: for a query outside the grid, or a head out of range.
            ValueError: if a recorded number is not finite.
        """
        key, spec = self._find(layer, step, branch)
        index = _token(spec, query, "query")
        heads = _heads(spec, head)
        q, k = self.queries[key][heads, index].float(), self.keys[key][heads].float()  # (H, d), (H, M, d)
        scores = (q.unsqueeze(-2) @ k.transpose(-1, -2)).squeeze(-2)  # four times as fast as k @ q
        weights = torch.softmax(scores * spec.scale, dim=-1)  # (H, M)
        _require_finite(weights, key)
        return weights[..., spec.extra :].unflatten(-1, spec.grid) if spec.kind == "self" else weights

    def columns(
        self, layer: str, *, step: int, key: tuple[int, int], head: int | None = None, branch: Branch | None = None
    ) -> torch.Tensor:
        """Who looks at one pixel: A[:, j], (H, h, w) float32. A column does not sum to 1.

        Costs a pass over every row of the layer.
        Arguments and errors as for `rows`; self-attention layers only (ValueError).
        """
        spec = self._self_attention(layer, step, head, branch)[1]
        weights = torch.zeros(spec.grid)
        weights.view(-1)[_token(spec, key, "key")] = 1
        return self.region_columns(layer, step=step, weights=weights, head=head, branch=branch)

    def region_rows(
        self, layer: str, *, step: int, weights: torch.Tensor, head: int | None = None, branch: Branch | None = None
    ) -> torch.Tensor:
        """What a region looks at: the mean of its pixels' rows, (H, h, w) float32; every head sums to 1.

        Args:
            weights: (h, w), how much of each cell belongs to the region; not negative, not all zero.

        Other arguments and errors as for `rows`; self-attention layers only (ValueError).
        """
        key, spec, heads = self._self_attention(layer, step, head, branch)
        shares = _shares(spec, weights)
        q, k = self.queries[key][heads].float(), self.keys[key][heads].float()
        total = torch.zeros(*q.shape[:-2], spec.keys)  # (H, M)
        for cells in shares.nonzero().squeeze(-1).split(BLOCK):
            rows = torch.softmax(q[..., cells, :] @ k.transpose(-1, -2) * spec.scale, dim=-1)  # (H, n, M)
            total += torch.einsum("n,...nm->...m", shares[cells], rows)
        _require_finite(total, key)
        return total[..., spec.extra :].unflatten(-1, spec.grid)

    def region_columns(
        self,
        layer: str,
        *,
        step: int,
        weights: torch.Tensor,
        head: int | None = None,
        branch: Branch | None = None,
        log_sums: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Who looks at a region: the mean of its pixels' columns, (H, h, w) float32.

        A[:, j] = exp(q·k_j - log Σ exp). Arguments as for `region_rows`.

        Args:
            log_sums: `row_sums(…).log_sums` of the same heads, if you have them: computing them is most of the work.
        """
        key, spec, heads = self._self_attention(layer, step, head, branch)
        shares = _shares(spec, weights)
        if log_sums is None:
            log_sums = self.row_sums(layer, step=step, head=head, branch=branch).log_sums
        q, k = self.queries[key][heads].float(), self.keys[key][heads].float()
        total = torch.zeros(q.shape[:-1])  # (H, N)
        for cells in shares.nonzero().squeeze(-1).split(BLOCK):
            scores = q @ k[..., spec.extra + cells, :].transpose(-1, -2) * spec.scale  # (H, N, n)
            total += torch.exp(scores - log_sums[..., None]) @ shares[cells]
        return total.unflatten(-1, spec.grid)

    def mean_row(self, layer: str, *, step: int, head: int | None = None, branch: Branch | None = None) -> torch.Tensor:
        """What all pixels of a layer look at on average, (H, h, w); every head sums to 1. Arguments as for `rows`."""
        return self.row_sums(layer, step=step, head=head, branch=branch).mean_row

    def row_sums(self, layer: str, *, step: int, head: int | None = None, branch: Branch | None = None) -> RowSums:
        """The sums and the mean of all rows of a self-attention layer. Arguments and errors as for `rows`."""
        key, spec, heads = self._self_attention(layer, step, head, branch)
        q, k = self.queries[key][heads].float(), self.keys[key][heads].float()
        log_sums, mean = [], torch.zeros(*q.shape[:-2], spec.keys)
        for block in q.split(BLOCK, dim=-2):
            scores = block @ k.transpose(-1, -2) * spec.scale  # (H, n, M)
            log_sums.append(scores.logsumexp(-1))
            mean += torch.exp(scores - log_sums[-1][..., None]).sum(-2) / spec.tokens
        _require_finite(mean, key)
        return RowSums(torch.cat(log_sums, -1), mean[..., spec.extra :].unflatten(-1, spec.grid))

    def atlas(self, point: tuple[float, float], *, branch: Branch | None = None) -> dict[str, torch.Tensor]:
        """The rows of one place of the picture in every self-attention layer: {layer: (S, H, h, w)}.

        Args:
            point: (row, column) in pixels of the sample; each layer takes the cell that holds it.
        """
        return {
            name: torch.stack(
                [self.rows(name, step=step, query=self.cell(name, point), branch=branch) for step in self.steps]
            )
            for name, layer in self.layers.items()
            if layer.kind == "self"
        }

    def cell(self, layer: str, point: tuple[float, float]) -> tuple[int, int]:
        """The cell of a layer's grid that holds `point`, (row, column) in pixels of the sample."""
        row, column = (
            min(n - 1, max(0, int(place * n / side)))
            for place, n, side in zip(point, self._layer(layer).grid, self.size, strict=True)
        )
        return row, column

    def verify(self) -> dict[str, float]:
        """{layer: difference between its own output and softmax(QKᵀ)·V of the Q and K in this trace}.

        The difference is the largest one, relative to the output's largest entry. It is about 1e-6 for a trace kept
        in float32 and about 1e-3 in float16, the cost of rounding Q and K.
        """
        return {name: self._difference(name, proof) for name, proof in self.proofs.items()}

    def _difference(self, name: str, proof: Proof) -> float:
        layer, key = self.layers[name], (self.branches[-1], name, proof.step)
        q = self.queries[key][:, proof.queries]  # (H, n, d)
        return difference(attended(q, self.keys[key], proof.value, layer.scale, proof.output.shape[-1]), proof.output)

    def select(
        self,
        *,
        layers: Collection[str] | None = None,
        steps: Collection[int] | None = None,
        dtype: torch.dtype | None = None,
    ) -> Trace:
        """A smaller trace: some layers, some steps, another precision. Unchanged tensors are shared, not copied.

        Raises:
            KeyError: for a layer or step that was not recorded.
            ValueError: if a number does not fit into `dtype`.
        """
        names = list(self.layers) if layers is None else [self._layer(name).name for name in layers]
        missing = sorted(set(steps or ()) - set(self.timesteps))
        if missing:
            raise KeyError(f"steps {missing} were not recorded; recorded are {self.steps}")
        kept_steps = [step for step in self.steps if steps is None or step in steps]
        selected = {(branch, name, step) for branch in self.branches for name in names for step in kept_steps}

        def converted(store: MutableMapping[Key, torch.Tensor]) -> dict[Key, torch.Tensor]:
            return {key: _convert(tensor, dtype) for key, tensor in store.items() if key in selected}

        return replace(
            self,
            layers={name: layer for name, layer in self.layers.items() if name in names},
            timesteps={step: self.timesteps[step] for step in kept_steps},
            proved={name: error for name, error in self.proved.items() if name in names},
            previews={step: preview for step, preview in self.previews.items() if step in kept_steps},
            recipe=dict(self.recipe),
            queries=converted(self.queries),
            keys=converted(self.keys),
            proofs={
                name: replace(proof, value=_convert(proof.value, dtype), output=_convert(proof.output, dtype))
                for name, proof in self.proofs.items()
                if name in names and proof.step in kept_steps
            },
        )

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, whole or not at all. See `viz.trace_file` for its format."""
        return write(cast(Contents, vars(self)), Path(path), differences=self.verify())

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a file that `save` wrote.

        Raises:
            viz.trace_file.TraceFileError: if it is truncated, foreign or inconsistent.
        """
        return cls(**read(Path(path)))

    def _layer(self, name: str) -> Layer:
        if name in self.layers:
            return self.layers[name]
        if name in self.skipped:
            raise KeyError(f"layer {name!r} was found but not recorded: {self.skipped[name]}")
        close = difflib.get_close_matches(name, self.layers, n=3, cutoff=0.3) or list(self.layers)[:3]
        raise KeyError(f"no layer {name!r}; the closest are {', '.join(map(repr, close))}")

    def _find(self, name: str, step: int, branch: Branch | None) -> tuple[Key, Layer]:
        layer = self._layer(name)
        branch = branch or self.branches[-1]
        if branch not in self.branches:
            raise KeyError(f"branch {branch!r} was not recorded; recorded are {self.branches}")
        if step not in self.timesteps:
            raise KeyError(f"step {step!r} was not recorded; recorded are {self.steps}")
        return (branch, name, step), layer

    def _self_attention(
        self, name: str, step: int, head: int | None, branch: Branch | None
    ) -> tuple[Key, Layer, int | slice]:
        key, layer = self._find(name, step, branch)
        if layer.kind != "self":
            raise ValueError(f"{name!r} is cross-attention: its keys are words, not pixels; use rows")
        return key, layer, _heads(layer, head)


def _require_finite(numbers: torch.Tensor, key: Key) -> None:
    if not numbers.isfinite().all():  # the numbers of a large file are not checked when it is opened
        raise ValueError(f"{key[1]!r} holds an infinity or a NaN at step {key[2]}: the trace is damaged")


def _token(layer: Layer, cell: tuple[int, int], role: str) -> int:
    """The index of a cell among the layer's tokens."""
    (row, column), (height, width) = cell, layer.grid
    if not (0 <= row < height and 0 <= column < width):
        raise IndexError(f"{role} {tuple(cell)} is outside the {height}x{width} grid of {layer.name}")
    return row * width + column


def _shares(layer: Layer, weights: torch.Tensor) -> torch.Tensor:
    """(N,), the weights of the cells scaled to sum to 1."""
    weights = torch.as_tensor(weights, dtype=torch.float32)
    if tuple(weights.shape) != layer.grid or not weights.isfinite().all() or weights.min() < 0 or not weights.any():
        raise ValueError(
            f"expected weights of the {layer.grid[0]}x{layer.grid[1]} grid of {layer.name}, not negative and not all "
            f"zero; got {tuple(weights.shape)} from {weights.min().item():g} to {weights.max().item():g}"
        )
    return (weights / weights.sum()).flatten()


def _heads(layer: Layer, head: int | None) -> int | slice:
    if head is not None and not 0 <= head < layer.heads:
        raise IndexError(f"head {head} is outside the {layer.heads} heads of {layer.name}")
    return slice(None) if head is None else head


def _convert(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    if dtype is None:
        return tensor
    converted = tensor.to(dtype)
    require_fit(converted, tensor)
    return converted
