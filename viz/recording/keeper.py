"""Keepers take the layers that are read: a `TraceKeeper` proves them and copies their q and k into a trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from viz.asking import Asking
from viz.layer import Key, Layer, Proof
from viz.precision import require_fit
from viz.probes import Reading
from viz.proof import PROOF_WIDTH, Spread, judged, proof_channels, row_count, scattered, spread_of
from viz.recording import deferred
from viz.recording.deferred import Deferred, Failure, Late, on_device
from viz.recording.evidence import Evidence
from viz.trace import Trace

SPREAD_STEPS = 8  # after which the spread of V is measured again
STEPS_AT_A_TIME = 16  # for which the queries to prove are worked out
OTHER_ROWS = 16  # of queries that are no cells, and of those that are asked for, compared at each step


class Keeper(Protocol):
    """Decides how each layer is read, and takes its q and k at every step."""

    def choose(self, candidates: list[tuple[Reading, Layer, Evidence]], step: int) -> tuple[Reading, Layer]:
        """Choose the reading of a site that explains the module's own output.

        Raises:
            ValueError: when none does, with the reason.
        """

    def prove(self, key: Key, layer: Layer, evidence: Evidence) -> None:
        """Check what was read of one picture at one step.

        Raises:
            ValueError: when it does not explain the module's own output.
        """

    def keep(self, key: Key, q: torch.Tensor, k: torch.Tensor) -> None:
        """Take the q (H, N, d) and the k (H, M, d) of a layer, which may be views of the network's own tensors."""

    def leave_gap(self, name: str, step: int, reason: str) -> None:
        """Forget one step of a layer that has other steps, and report why."""

    def refuse(self, name: str, reason: str) -> None:
        """Forget a layer, and report why."""

    def forget(self, name: str, step: int) -> None:
        """Forget one step of a layer, and the layer itself if it has no other."""

    def end_step(self) -> list[Failure]:
        """Called after all layers of a step; returns those that have turned out to fail, at it or at one before."""

    def settle(self) -> list[Failure]:
        """Keep everything that is under way; returns the layers that have failed meanwhile."""


class TraceKeeper:
    """Fills a trace with the layers that can be proved: copies of their q and k, in the order of the calls.

    Args:
        dtype: of the copies; None for the network's own.
        proof_width: how many channels per head of V and of the output each proof keeps; None for all.
        asking: the queries to keep; None for all.
    """

    def __init__(
        self,
        trace: Trace,
        dtype: torch.dtype | None = None,
        proof_width: int | None = PROOF_WIDTH,
        asking: Asking | None = None,
    ) -> None:
        self.trace, self.dtype, self.proof_width, self.asking = trace, dtype, proof_width, asking
        self._asked: dict[str, torch.Tensor | None] = {}  # {layer: the queries to keep; None for all}
        self._spreads: dict[tuple, tuple[int, Spread]] = {}  # {(branch, layer): (step, spread of V at it)}
        self._rows: dict[
            tuple, tuple[torch.Tensor, ...]
        ] = {}  # {(layer, block of steps): the queries to prove at each}
        self._deferred = Deferred(self._accept)

    def choose(self, candidates: list[tuple[Reading, Layer, Evidence]], step: int) -> tuple[Reading, Layer]:
        """Recompute some of the module's own output from q, k and v, with one reading after the other."""
        if len(candidates) == 1:
            return candidates[0][:2]
        reasons = []
        for reading, layer, evidence in candidates:
            part = evidence.at(first_rows(layer, step))
            comparison = part.compare(layer)
            if comparison.holds:
                return reading, layer
            reasons.append(part.why_not(comparison))
        raise ValueError(reasons[0])

    def prove(self, key: Key, layer: Layer, evidence: Evidence) -> None:
        """Recompute some rows of the module's own output from q, k and v: other rows at every step."""
        name, step = layer.name, key[2]
        first = name not in self.trace.layers
        asked = self._choose_queries(layer)
        rows = first_rows(layer, step, asked) if first else self._later_rows(layer, step, evidence.query.device)
        stored = self.trace.proofs.get(name)
        if stored is not None and stored.step != step and deferred.defers(evidence):
            self._deferred.prove(key, layer, evidence, rows)
            return
        part = evidence.at(rows)
        error = None if first else part.agrees(layer, self._spread(key, evidence))
        if error is None:
            error = _proved(part, layer)
        self.trace.layers.setdefault(name, layer)
        self._note(name, error, len(rows))
        if asked is not None:
            self.trace.kept_queries.setdefault(name, tuple(asked.tolist()))
        if name not in self.trace.proofs:
            rows = stored_rows(rows.cpu(), asked)
            part = evidence.at(rows)
            parts = proof_channels(part.value, part.output, self.proof_width)
            self.trace.proofs[name] = Proof(key[0], step, rows, *map(self._copy, parts))

    def _note(self, name: str, error: float, rows: int) -> None:
        """Note a proof that holds."""
        self.trace.proved[name] = max(error, self.trace.proved.get(name, 0.0))
        self.trace.proved_rows[name] = self.trace.proved_rows.get(name, 0) + rows

    def _choose_queries(self, layer: Layer) -> torch.Tensor | None:
        """The queries of a layer to keep; None for all. ValueError if it has none of those that are asked for."""
        if self.asking is None:
            return None
        if layer.name not in self._asked:
            self._asked[layer.name] = asked_of(layer, self.asking)
        return self._asked[layer.name]

    def _later_rows(self, layer: Layer, step: int, device: torch.device) -> torch.Tensor:
        """The queries to prove at a step after the first, worked out for some steps at a time."""
        block = step // STEPS_AT_A_TIME
        if (layer.name, block) not in self._rows:
            steps = range(block * STEPS_AT_A_TIME, (block + 1) * STEPS_AT_A_TIME)
            asked = self._choose_queries(layer)
            rows = rows_of_steps(layer, row_count(layer, first=False), steps, asked)
            moved = on_device(torch.cat(rows), device)
            self._rows[layer.name, block] = moved.split([len(each) for each in rows])
        return self._rows[layer.name, block][step % STEPS_AT_A_TIME]

    def _spread(self, key: Key, evidence: Evidence) -> Spread:
        """The spread of a layer's values, which changes slowly and costs as much to measure as a proof."""
        step, spread = self._spreads.get(key[:2], (-SPREAD_STEPS, (0.0, 0.0)))
        if key[2] - step >= SPREAD_STEPS:
            step, spread = self._spreads[key[:2]] = key[2], spread_of(evidence.value)
        return spread

    def keep(self, key: Key, q: torch.Tensor, k: torch.Tensor) -> None:
        asked = self._asked.get(key[1])
        own = q if asked is None else q[:, on_device(asked, q.device)]
        if not self._deferred.keep(key, own, self.dtype):
            copies = self._copy(own), self._copy(k)
            with self._deferred.lock:
                self.trace.queries[key], self.trace.keys[key] = copies
        self.trace.skipped.pop(key[1], None)

    def end_step(self) -> list[Failure]:
        self._deferred.send()
        return self._deferred.failures()

    def settle(self) -> list[Failure]:
        self._deferred.close()
        return self._deferred.failures()

    def _accept(self, late: Late, numbers: Sequence[float], q: torch.Tensor, k: torch.Tensor) -> None:
        """Judge what was deferred, and keep it; q and k are no longer ours afterwards.

        Raises:
            ValueError: when the proof fails, or a number does not fit.
        """
        comparison = judged(numbers, late.evidence.value.dtype, late.evidence.noise)
        error = _proved(late.evidence, late.layer) if comparison is None else comparison.error
        self._note(late.layer.name, error, len(late.evidence.output))
        require_fit(q, late.query)
        require_fit(k, late.evidence.key)
        in_memory = isinstance(self.trace.queries, dict)
        self.trace.queries[late.index] = q.clone() if in_memory else q
        self.trace.keys[late.index] = k.clone() if in_memory else k

    def leave_gap(self, name: str, step: int, reason: str) -> None:
        self.forget(name, step)
        if name in self.trace.layers:
            self.trace.gaps.setdefault(name, {})[step] = reason
        else:
            self.refuse(name, reason)

    def refuse(self, name: str, reason: str) -> None:
        self._deferred.wait(name)
        self.trace.skipped[name] = reason
        self._drop_layer(name)

    def forget(self, name: str, step: int) -> None:
        self._deferred.wait(name)
        with self._deferred.lock:
            self._forget(name, step)

    def _forget(self, name: str, step: int) -> None:
        for key in [key for key in self.trace.queries if key[1:] == (name, step)]:
            del self.trace.queries[key]
            self.trace.keys.pop(key, None)
        self.trace.gaps.get(name, {}).pop(step, None)
        if not any(key[1] == name for key in self.trace.queries):
            self._drop_layer(name)
        elif name in self.trace.proofs and self.trace.proofs[name].step == step:
            del self.trace.proofs[name]

    def _drop_layer(self, name: str) -> None:
        trace = self.trace
        stores = trace.layers, trace.proved, trace.proved_rows, trace.proofs, trace.gaps, trace.kept_queries
        for store in stores:
            store.pop(name, None)

    def _copy(self, tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.detach().to("cpu", self.dtype or tensor.dtype, copy=True)
        require_fit(copy, tensor)
        return copy


def asked_of(layer: Layer, asking: Asking) -> torch.Tensor | None:
    """The queries of a layer that are asked for, (n,) int64; None for all. Raises as `Asking.of`."""
    asked = asking.of(layer)
    return None if len(asked) == layer.query_count else torch.tensor(asked)


def first_rows(layer: Layer, step: int, asked: torch.Tensor | None = None) -> torch.Tensor:
    """The queries to prove at a layer's first step."""
    return rows_of_steps(layer, row_count(layer, first=True), range(step, step + 1), asked)[0]


def stored_rows(rows: torch.Tensor, asked: torch.Tensor | None) -> torch.Tensor:
    """Those of some proved rows that a trace can compare again, as their queries are kept."""
    return rows if asked is None else rows[torch.isin(rows, asked)]


def rows_of_steps(
    layer: Layer, count: int, steps: range, asked: torch.Tensor | None = None
) -> tuple[torch.Tensor, ...]:
    """The queries to prove at each of several steps: `count` scattered cells, and some of those that are no cells.

    Args:
        asked: the queries that are kept, where that is not all of them; some of these are added.
    """
    rows = scattered(layer.grid, count, steps, layer.name) + layer.first_query
    others = layer.query_count - layer.tokens
    if others:
        other = _in_turn(others, steps)
        rows = torch.cat([rows, torch.where(other < layer.first_query, other, other + layer.tokens)], dim=1)
    if asked is None:
        return rows.unbind()
    return tuple(each.unique() for each in torch.cat([rows, asked[_in_turn(len(asked), steps)]], dim=1))


def _in_turn(count: int, steps: range) -> torch.Tensor:
    """At most `OTHER_ROWS` of so many rows for each step, others at every step, (steps, n)."""
    some = min(count, OTHER_ROWS)
    return (torch.arange(steps.start, steps.stop)[:, None] * some + torch.arange(some)) % count


def _proved(evidence: Evidence, layer: Layer) -> float:
    """How far off the weights can be; ValueError, with the reason, if they do not explain the output."""
    comparison = evidence.compare(layer)
    if not comparison.holds:
        raise ValueError(evidence.why_not(comparison))
    return comparison.error
