"""A trace: the recorded attention of one run of a denoiser. Any row or column of its attention is computed on request.

    trace = Trace.load("run.safetensors")
    trace.rows("mid_block.attentions.0", step=12, query=(3, 5))     # (heads, h, w): what the pixel looks at

Only Q and K are kept. A map is one small product away, so no map is stored and nothing is averaged away.
`viz.query.Maps` answers the queries of a view from these primitives.

In shapes: S steps, H heads, N queries that are pixels, M keys, d width of a head, h×w a grid: of the keys for rows, of
the queries for columns. The two differ in layers that look at a coarser map.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch

from viz.asking import Asked, positions
from viz.attention import (
    RowSums,
    cell_weights,
    compute_region_columns,
    compute_row_sums,
    on_key_grid,
)
from viz.compact import compact_layers, with_compact_proofs
from viz.layer import Branch, Key, Layer, Proof
from viz.proof import attended, difference
from viz.selection import select
from viz.trace_file import Contents, read, write
from viz.word_maps import WordMaps, require_finite
from viz.words import Caption, Word


@dataclass
class Trace(WordMaps):
    """Q and K of every recorded layer and step, the preview pictures, and the recipe.

    Attributes:
        layers: {name: Layer}, in the order the network calls them.
        timesteps: {step: the timestep that the network was given, or None}, for the recorded steps.
        calls: {step: (i, n)} where the network was called n > 1 times in a row at one timestep: that step is call i.
        branches: the recorded pictures of a batch, the one shown by default last: names such as "conditional" where
            their order is known, otherwise "picture 1 of 2".
        gaps: {layer: {step: reason}} of the recorded steps at which a layer has no Q and K.
        skipped: {name: reason} of attention modules that were found but not recorded at any step.
        proved: {name: largest difference between the module's own output and the one recomputed from q, k, v, relative
            to how far apart the values of different keys lie}, measured while recording; see `viz.proof`.
        proved_rows: {name: number of rows that were recomputed while recording, all steps and branches together}.
        size: (height, width) of the network's sample.
        previews: {step: (h, w, 3) uint8}, the clean picture that the recorded branch predicted at that step.
        picture: (h, w, 3) uint8, the result of the run, if it was set.
        recipe: everything needed to make this trace again.
        queries: {(branch, layer, step): (H, n, d)}, all n queries of the layer, see `Layer.queries`; or those of
            `kept_queries`.
        keys: {(branch, layer, step): (H, M, d)}, all keys.
        proofs: {layer: the data to recompute some of its output}.
        words: {branch: the caption it was given, and what its tokens are}, for the branches where that is known.
        kept_queries: {layer: indices, among all its queries, of those that are kept}, for layers of which only some are
            (`record(…, queries=…)`). Their rows are as in a whole trace; columns and mean rows need every query.
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
    calls: dict[int, tuple[int, int]] = field(default_factory=dict)
    gaps: dict[str, dict[int, str]] = field(default_factory=dict)
    proved_rows: dict[str, int] = field(default_factory=dict)
    words: dict[Branch, Caption] = field(default_factory=dict)
    kept_queries: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers.values())

    @property
    def steps(self) -> list[int]:
        """The recorded steps, first to last."""
        return list(self.timesteps)

    def steps_of(self, layer: str) -> list[int]:
        """The recorded steps at which a layer has Q and K; KeyError for a layer that was not recorded."""
        missing = self.gaps.get(self._layer(layer).name, {})
        return [step for step in self.timesteps if step not in missing]

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
        self,
        layer: str,
        *,
        step: int,
        query: tuple[int, int] | str | Word,
        head: int | None = None,
        branch: Branch | None = None,
    ) -> torch.Tensor:
        """What one pixel, or one word, looks at: softmax(q_i·K) ("Attention Is All You Need", eq. 1).

        Args:
            layer, step: must be recorded.
            query: (row, column) of the pixel on the grid of the layer's queries; or a word, as for `word_map`, in
                layers where words are queries: the mean of its tokens' rows.
            head: one head; all heads by default.
            branch: of a run recorded with several pictures of its batch; the last one by default.

        Returns:
            float32, (H, h, w) on the grid of the keys for self-attention and (H, M) for cross-attention, without H if
            `head` is given. Every head's row sums to 1, minus the share of keys that are not pixels, which
            `word_shares` and `word_matrix` give.

        Raises:
            KeyError: for a layer, step, branch, word or query that was not recorded, or a step at which the layer has
                a gap; the message names the closest, the reason, or the queries that were.
            IndexError: for a query outside the grid, or a head out of range.
            ValueError: if a recorded number is not finite, or for a word that is no query of the layer.
        """
        key, spec = self._find(layer, step, branch)
        return on_key_grid(spec, self._whole_row(key, spec, head, query))

    def columns(
        self, layer: str, *, step: int, key: tuple[int, int], head: int | None = None, branch: Branch | None = None
    ) -> torch.Tensor:
        """Who looks at one pixel: A[:, j], (H, h, w) float32 on the grid of the queries. A column does not sum to 1.

        Costs a pass over every row of the layer, so every query must be kept (ValueError). Other arguments and errors
        as for `rows`; self-attention only (ValueError).

        Args:
            key: (row, column) of the pixel on the grid of the layer's keys.
        """
        spec = self._self_attention(layer, step, branch)[1]
        return self.region_columns(layer, step=step, weights=cell_weights(spec, key), head=head, branch=branch)

    def region_rows(
        self, layer: str, *, step: int, weights: torch.Tensor, head: int | None = None, branch: Branch | None = None
    ) -> torch.Tensor:
        """What a region looks at: the mean of its pixels' rows, (H, h, w) float32; sums as for `rows`.

        Args:
            weights: (h, w) on the grid of the queries, how much of each cell belongs to the region; not negative, not
                all zero.

        Other arguments and errors as for `rows`; self-attention layers only (ValueError).
        """
        key, spec = self._self_attention(layer, step, branch)
        return on_key_grid(spec, self._whole_row(key, spec, head, torch.as_tensor(weights)))

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
        """Who looks at a region: the mean of its pixels' columns, (H, h, w) float32 on the grid of the queries.

        Arguments and errors as for `region_rows`, but `weights` are on the grid of the keys.

        Args:
            log_sums: `row_sums(…).log_sums` of the same heads, if you have them: computing them is most of the work.
        """
        key, spec = self._self_attention(layer, step, branch)
        if log_sums is None:
            log_sums = self.row_sums(layer, step=step, head=head, branch=branch).log_sums
        return compute_region_columns(spec, *self._numbers(key, spec, head), weights, log_sums)

    def mean_row(self, layer: str, *, step: int, head: int | None = None, branch: Branch | None = None) -> torch.Tensor:
        """What all pixels of a layer look at on average, (H, h, w); arguments and sums as for `rows`."""
        return self.row_sums(layer, step=step, head=head, branch=branch).mean_row

    def row_sums(self, layer: str, *, step: int, head: int | None = None, branch: Branch | None = None) -> RowSums:
        """The sums and the mean of all pixels' rows in a self-attention layer. Arguments and errors as for `rows`."""
        key, spec = self._self_attention(layer, step, branch)
        sums = compute_row_sums(spec, *self._numbers(key, spec, head))
        require_finite(sums.mean_row, key)
        return sums

    def atlas(self, point: tuple[float, float], *, branch: Branch | None = None) -> dict[str, torch.Tensor]:
        """The rows of one place of the picture in every self-attention layer: {layer: (S, H, h, w)}; NaN at its gaps.

        Args:
            point: (row, column) in pixels of the sample; each layer takes the cell that holds it.
        """
        maps = {}
        for name, layer in self.layers.items():
            if layer.key_grid is None:
                continue
            maps[name] = torch.full((len(self.timesteps), layer.heads, *layer.key_grid), torch.nan)
            for step in self.steps_of(name):
                row = self.rows(name, step=step, query=self.cell(name, point), branch=branch)
                maps[name][self.steps.index(step)] = row
        return maps

    def cell(self, layer: str, point: tuple[float, float]) -> tuple[int, int]:
        """The cell of a layer's queries that holds `point`, (row, column) in pixels of the sample."""
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
        layer, key = self.layers[name], (proof.branch, name, proof.step)
        rows = positions(layer, self.kept_queries.get(name), proof.queries.tolist())
        q = self.queries[key][:, rows]  # (H, n, d)
        return difference(attended(q, self.keys[key], proof.value, layer.scale, proof.output.shape[-1]), proof.output)

    def select(
        self,
        *,
        layers: Collection[str] | None = None,
        steps: Collection[int] | None = None,
        dtype: torch.dtype | None = None,
        queries: Asked | Collection[Asked] | None = None,
    ) -> Trace:
        """A smaller trace: some layers, some steps, some queries, another precision.

        Unchanged tensors are shared, not copied.

        Args:
            queries: as for `viz.record`.

        Raises:
            KeyError: for a layer, step or query that was not recorded.
            ValueError: if a number does not fit into `dtype`, or for queries that no layer has.
        """
        return select(self, layers, steps, dtype, queries)

    def save(self, path: str | Path, *, compact: bool = False, first: tuple[str, int] | None = None) -> Path:
        """Write one safetensors file, whole or not at all. See `viz.trace_file` for its format.

        Args:
            compact: keep the queries of cross-attention in ten bits a number, see `viz.compact`.
            first: layer and step of the map that a page can show before the whole file has arrived. By default the last
                layer whose keys are pixels, at the last step.

        Raises:
            KeyError: if `first` names a layer or step that was not recorded.
        """
        if first is not None and first[1] not in self.steps_of(first[0]):
            raise KeyError(f"layer {first[0]!r} has no map at step {first[1]}, which was to come first in the file")
        names = compact_layers(self) if compact else ()
        differences = (with_compact_proofs(self) if compact else self).verify()
        return write(cast(Contents, vars(self)), Path(path), differences=differences, compact=names, first=first)

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a file that `save` wrote.

        Raises:
            viz.trace_file.TraceFileError: if it is truncated, foreign or inconsistent.
        """
        return cls(**read(Path(path)))

    def _repr_html_(self) -> str:
        """What a notebook shows of a trace: the viewer itself, see `viz.notebook`."""
        from viz.notebook import as_html  # imported here: scripts need no viewer

        return as_html(self)

    def _self_attention(self, name: str, step: int, branch: Branch | None) -> tuple[Key, Layer]:
        key, layer = self._find(name, step, branch)
        if layer.kind != "self":
            raise ValueError(f"{name!r} is cross-attention: its keys are not pixels; use rows")
        return key, layer
