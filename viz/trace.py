"""A trace: what one run of a denoiser left behind, and any row or column of its attention on request.

    trace = Trace.load("run.safetensors")
    trace.rows("mid_block.attentions.0", step=12, query=(3, 5))     # (heads, h, w): what the pixel looks at

Only Q and K are kept. A map is one small product away, so no map is ever stored and nothing is averaged away.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from viz.precision import require_fit
from viz.proof import attended, difference

_BLOCK = 1024  # queries whose rows are held at a time


@dataclass(frozen=True)
class Layer:
    """One attention module. `keys` is the number of key tokens M; for self-attention it is h·w + `extra`.

    `extra` counts the keys that belong to no pixel (class or register tokens, learned ones); they come first.
    """

    name: str
    kind: str  # "self" or "cross"
    grid: tuple[int, int]
    heads: int
    head_dim: int
    keys: int
    scale: float
    extra: int = 0

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class Proof:
    """What it takes to recompute some of a module's own output: the first dv channels a head, for the n `queries`."""

    step: int
    queries: torch.Tensor  # (n,) int64
    value: torch.Tensor  # (H, M, dv)
    output: torch.Tensor  # (n, H·dv), or (n, dv) where the heads are added up


@dataclass
class Trace:
    """Q and K of every recorded layer and step, the preview pictures, and the recipe.

    Attributes:
        layers: {name: Layer}, in the order the network calls them.
        timesteps: {step: the timestep its call was given, or None}, for the recorded steps.
        branches: of a guided batch, which halves were kept; ("conditional",) for a batch that is not guided.
        skipped: {name: reason} of attention modules that were found and refused.
        proved: {name: largest difference between the module's own output and the one recomputed from q, k, v,
            relative to the output's largest entry}, measured while recording, in the network's own precision.
        size: (height, width) of the network's sample.
        previews: {step: (h, w, 3) uint8}, the clean picture that the recorded branch expected at that step.
        picture: (h, w, 3) uint8, the run's result, where whoever ran it set it.
        recipe: what it takes to make this trace again.
    """

    layers: dict[str, Layer] = field(default_factory=dict)
    timesteps: dict[int, float | None] = field(default_factory=dict)
    branches: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    proved: dict[str, float] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    previews: dict[int, np.ndarray] = field(default_factory=dict)
    picture: np.ndarray | None = None
    recipe: dict = field(default_factory=dict)
    # Keyed (branch, layer, step); (H, N, d) and (H, M, d).
    queries: MutableMapping[tuple[str, str, int], torch.Tensor] = field(default_factory=dict, repr=False)
    keys: MutableMapping[tuple[str, str, int], torch.Tensor] = field(default_factory=dict, repr=False)
    proofs: dict[str, Proof] = field(default_factory=dict, repr=False)

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
        """Bytes that the maps themselves would have taken, in the same precision."""
        each = (q.shape[0] * q.shape[1] * self.keys[key].shape[1] * q.itemsize for key, q in self.queries.items())
        return sum(each)

    def rows(
        self, layer: str, *, step: int, query: tuple[int, int], head: int | None = None, branch: str | None = None
    ) -> torch.Tensor:
        """What one pixel looks at: softmax(q_i·K) ("Attention Is All You Need", eq. 1).

        Args:
            layer, step: must have been recorded.
            query: (row, column) of the pixel on the layer's grid.
            head: one head, or all of them.
            branch: of a guided run that kept both; by default the conditional one.

        Returns:
            float32, (H, h, w) for self-attention and (H, M) for cross-attention, without H where `head` is given.
            Every head's row sums to 1; where a layer has extra tokens, what they get is missing from it.

        Raises:
            KeyError: for a layer, step or branch that was not recorded, naming close ones.
            IndexError: for a query outside the grid, or no such head.
            ValueError: when what was recorded is not finite.
        """
        where, found = self._find(layer, step, branch)
        index = _token(found, query, "query")
        heads = _heads(found, head)
        q, k = self.queries[where][heads, index].float(), self.keys[where][heads].float()  # (H, d), (H, M, d)
        scores = (q.unsqueeze(-2) @ k.transpose(-1, -2)).squeeze(-2)  # this way round it is four times as fast
        weights = _softmax(scores * found.scale, where)  # (H, M)
        return weights[..., found.extra :].unflatten(-1, found.grid) if found.kind == "self" else weights

    def columns(
        self, layer: str, *, step: int, key: tuple[int, int], head: int | None = None, branch: str | None = None
    ) -> torch.Tensor:
        """Who looks at one pixel: A[:, j], (H, h, w) float32. A column does not sum to 1.

        Costs a softmax over every row of the layer.
        Arguments and errors as for `rows`; self-attention layers only (ValueError).
        """
        where, found, heads = self._self_attention(layer, step, head, branch)
        index = _token(found, key, "key")
        blocks = [weights[..., index] for weights in self._weights(where, found, heads)]
        return torch.cat(blocks, dim=-1).unflatten(-1, found.grid)

    def region_rows(
        self, layer: str, *, step: int, weights: torch.Tensor, head: int | None = None, branch: str | None = None
    ) -> torch.Tensor:
        """What a region looks at: the mean of its pixels' rows, (H, h, w) float32; every head sums to 1.

        Args:
            weights: (h, w), not negative, not all zero: how much of each cell belongs to the region.

        Arguments and errors otherwise as for `rows`; self-attention layers only (ValueError).
        """
        where, found, heads = self._self_attention(layer, step, head, branch)
        share = _shares(found, weights)
        inside = share.nonzero().squeeze(-1)
        blocks = zip(inside.split(_BLOCK), self._weights(where, found, heads, inside), strict=True)
        return sum(torch.einsum("n,...nm->...m", share[i], rows) for i, rows in blocks).unflatten(-1, found.grid)

    def region_columns(
        self, layer: str, *, step: int, weights: torch.Tensor, head: int | None = None, branch: str | None = None
    ) -> torch.Tensor:
        """Who looks at a region: the mean of its pixels' columns, (H, h, w). Arguments as for `region_rows`."""
        where, found, heads = self._self_attention(layer, step, head, branch)
        share = _shares(found, weights)
        return torch.cat([rows @ share for rows in self._weights(where, found, heads)], -1).unflatten(-1, found.grid)

    def mean_row(self, layer: str, *, step: int, head: int | None = None, branch: str | None = None) -> torch.Tensor:
        """What all pixels of a layer look at on average, (H, h, w); every head sums to 1. Arguments as for `rows`."""
        grid = self._self_attention(layer, step, head, branch)[1].grid
        return self.region_rows(layer, step=step, weights=torch.ones(grid), head=head, branch=branch)

    def atlas(self, point: tuple[float, float], *, branch: str | None = None) -> dict[str, torch.Tensor]:
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
        grid = self._layer(layer).grid
        return tuple(min(n - 1, max(0, int(p * n / side))) for p, n, side in zip(point, grid, self.size, strict=True))

    def verify(self) -> dict[str, float]:
        """{layer: how far its own output is from softmax(QKᵀ)·V of what this trace holds}.

        The difference is the largest one, relative to the output's largest entry. It is about 1e-6 for a trace kept
        in float32 and about 1e-3 in float16, which is what rounding Q and K costs.
        """
        return {name: self._difference(name, proof) for name, proof in self.proofs.items()}

    def _difference(self, name: str, proof: Proof) -> float:
        layer, where = self.layers[name], (self.branches[-1], name, proof.step)
        q = self.queries[where][:, proof.queries]  # (H, n, d)
        return difference(attended(q, self.keys[where], proof.value, layer.scale, proof.output.shape[-1]), proof.output)

    def select(
        self,
        *,
        layers: Collection[str] | None = None,
        steps: Collection[int] | None = None,
        dtype: torch.dtype | None = None,
    ) -> Trace:
        """A smaller trace: some layers, some steps, another precision. What is unchanged is shared, not copied.

        Raises:
            KeyError: for a layer or step that was not recorded.
            ValueError: when a number does not fit into `dtype`.
        """
        names = list(self.layers) if layers is None else [self._layer(name).name for name in layers]
        missing = sorted(set(steps or ()) - set(self.timesteps))
        if missing:
            raise KeyError(f"steps {missing} were not recorded; recorded are {self.steps}")
        keep = [step for step in self.steps if steps is None or step in steps]
        wanted = {(branch, name, step) for branch in self.branches for name in names for step in keep}

        def chosen(store: MutableMapping) -> dict:
            return {where: _converted(tensor, dtype) for where, tensor in store.items() if where in wanted}

        return replace(
            self,
            layers={name: layer for name, layer in self.layers.items() if name in names},
            timesteps={step: self.timesteps[step] for step in keep},
            proved={name: error for name, error in self.proved.items() if name in names},
            previews={step: preview for step, preview in self.previews.items() if step in keep},
            recipe=dict(self.recipe),
            queries=chosen(self.queries),
            keys=chosen(self.keys),
            proofs={
                name: replace(proof, value=_converted(proof.value, dtype), output=_converted(proof.output, dtype))
                for name, proof in self.proofs.items()
                if name in names and proof.step in keep
            },
        )

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, whole or not at all. See `viz.trace_file` for its format."""
        from viz.trace_file import write

        return write(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a file that `save` wrote.

        Raises:
            viz.trace_file.TraceFileError: when it is truncated, foreign, or not consistent in itself.
        """
        from viz.trace_file import read

        return read(Path(path))

    def _layer(self, name: str) -> Layer:
        if name in self.layers:
            return self.layers[name]
        if name in self.skipped:
            raise KeyError(f"layer {name!r} was found but not recorded: {self.skipped[name]}")
        close = difflib.get_close_matches(name, self.layers, n=3, cutoff=0.3) or list(self.layers)[:3]
        raise KeyError(f"no layer {name!r}; the closest are {', '.join(map(repr, close))}")

    def _find(self, name: str, step: int, branch: str | None) -> tuple[tuple[str, str, int], Layer]:
        layer = self._layer(name)
        branch = branch or self.branches[-1]
        if branch not in self.branches:
            raise KeyError(f"branch {branch!r} was not recorded; recorded are {self.branches}")
        if step not in self.timesteps:
            raise KeyError(f"step {step!r} was not recorded; recorded are {self.steps}")
        return (branch, name, step), layer

    def _self_attention(self, name: str, step: int, head: int | None, branch: str | None) -> tuple:
        where, found = self._find(name, step, branch)
        if found.kind != "self":
            raise ValueError(f"{name!r} is cross-attention: its keys are words, not pixels; use rows")
        return where, found, _heads(found, head)

    def _weights(
        self, where: tuple[str, str, int], layer: Layer, heads: int | slice, queries: torch.Tensor | None = None
    ) -> Iterator[torch.Tensor]:
        """Rows of some queries, or of all, over the pixels, (H, n, N), a block at a time, so that memory is bounded."""
        q, k = self.queries[where][heads].float(), self.keys[where][heads].float()
        for block in (q if queries is None else q[..., queries, :]).split(_BLOCK, dim=-2):
            yield _softmax(block @ k.transpose(-1, -2) * layer.scale, where)[..., layer.extra :]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers.values())


def _softmax(scores: torch.Tensor, where: tuple[str, str, int]) -> torch.Tensor:
    weights = torch.softmax(scores, dim=-1)
    if not weights.isfinite().all():  # large files are not read through when they are opened
        raise damaged(where)
    return weights


def damaged(where: tuple[str, str, int]) -> ValueError:
    return ValueError(f"{where[1]!r} holds an infinity or a NaN at step {where[2]}: the trace is damaged")


def _token(layer: Layer, place: tuple[int, int], what: str) -> int:
    (row, column), (height, width) = place, layer.grid
    if not (0 <= row < height and 0 <= column < width):
        raise IndexError(f"{what} {tuple(place)} is outside the {height}x{width} grid of {layer.name}")
    return row * width + column


def _shares(layer: Layer, weights: torch.Tensor) -> torch.Tensor:
    """(N,), of sum 1."""
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


def _converted(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    converted = tensor if dtype is None else tensor.to(dtype)
    require_fit(converted, tensor)
    return converted
