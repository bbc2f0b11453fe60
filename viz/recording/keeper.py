"""Keepers take the layers that are read: a `TraceKeeper` proves them and copies their q and k into a trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from viz.layer import Key, Layer, Proof, Segment
from viz.precision import require_fit
from viz.probes import Reading, Site
from viz.proof import (
    MAX_NOISE,
    PROOF_QUERIES,
    PROOF_WIDTH,
    TOLERANCE,
    attended,
    difference,
    is_linear,
    proof_channels,
    rounding,
    why_not,
)
from viz.recording.call import MAX_EXTRA, RecordedCall, infer_grid
from viz.trace import Trace


@dataclass(frozen=True)
class Evidence:
    """The tensors of one layer for one picture: everything needed to decide how to read its site.

    Attributes:
        name: of the layer.
        call: the call of the network that it belongs to.
        site: of the layer.
        inputs: the tensors of the site's taps, one (tokens, channels) each.
        output: the tensor of its end, (N, C).
        carried: the tensor that was subtracted to get the output, if any; see `Tap.carried`.
        one_source: whether q, k and v were all made from one tensor.
    """

    name: str
    call: RecordedCall
    site: Site
    inputs: list[torch.Tensor]
    output: torch.Tensor
    carried: torch.Tensor | None
    one_source: bool

    def describe(self, reading: Reading, q: torch.Tensor, k: torch.Tensor) -> Layer:
        """The layer that q (H, n, d) and k (H, M, d) belong to.

        Raises:
            ValueError: when its queries fit no grid of the sample.
        """
        heads, queries, head_dim = q.shape
        grid, before = infer_grid(self.call.size, queries)
        extra = k.shape[1] - (queries - before)
        is_self = self.one_source and (extra == before or (before == 0 and 0 < extra <= MAX_EXTRA))
        scale = head_dim**-0.5 if reading.scale is None else reading.scale
        pixels = Segment("pixels", queries - before, grid)
        keys = (*_registers(extra), pixels) if is_self else (Segment("words", k.shape[1]),)
        return Layer(self.name, (*_registers(before), pixels), keys, heads, head_dim, scale)


def _registers(count: int) -> tuple[Segment, ...]:
    return (Segment("registers", count),) if count else ()


class Keeper(Protocol):
    """Decides how each layer is read, and takes its q and k at every step."""

    def prove(self, evidence: Evidence) -> tuple[Reading, Layer]:
        """Choose the reading of a site that explains the module's own output.

        Raises:
            ValueError: when none does, with the reason.
        """

    def keep(self, key: Key, q: torch.Tensor, k: torch.Tensor) -> None:
        """Take the q (H, n, d) and the k (H, M, d) of a layer, which may be views of the network's own tensors."""

    def refuse(self, name: str, reason: str) -> None:
        """Forget a layer, and report why."""

    def forget(self, name: str, step: int) -> None:
        """Forget one step of a layer, and the layer itself if it was proved at that step."""


class TraceKeeper:
    """Fills a trace with the layers that can be proved: copies of their q and k, in the order of the calls.

    Args:
        dtype: of the copies; None for the network's own.
        proof_width: how many channels per head of V and of the output each proof keeps; None for all.
    """

    def __init__(self, trace: Trace, dtype: torch.dtype | None = None, proof_width: int | None = PROOF_WIDTH) -> None:
        self.trace, self.dtype, self.proof_width = trace, dtype, proof_width

    def prove(self, evidence: Evidence) -> tuple[Reading, Layer]:
        """Recompute some of the module's own output from q, k and v, with one reading after the other."""
        output, carried = evidence.output, evidence.carried
        noise = 0.0 if carried is None else rounding(carried, output)
        failures = []
        for reading in evidence.site.readings:
            (q, k), v = reading.scores(*evidence.inputs), reading.values(*evidence.inputs)
            layer = evidence.describe(reading, q, k)
            cells = torch.linspace(0, layer.tokens - 1, min(PROOF_QUERIES, layer.tokens)).round().long()
            queries = cells + layer.first_query
            tokens = queries.to(q.device)
            expected = output[tokens]
            error = difference(attended(q[:, tokens], k, v, layer.scale, expected.shape[-1]), expected)
            if error <= TOLERANCE.get(q.dtype, 1e-5) + min(noise, MAX_NOISE):
                value, expected = (self._copy(part) for part in proof_channels(v, expected, self.proof_width))
                self.trace.layers[layer.name], self.trace.proved[layer.name] = layer, error
                branch = list(evidence.call.pictures)[-1]
                self.trace.proofs[layer.name] = Proof(branch, evidence.call.step, queries, value, expected)
                return reading, layer
            failures.append((error, is_linear(q[:, tokens], k, v, expected)))
        raise ValueError(why_not(min(failures)[0], any(linear for _, linear in failures), noise))

    def keep(self, key: Key, q: torch.Tensor, k: torch.Tensor) -> None:
        self.trace.queries[key], self.trace.keys[key] = self._copy(q), self._copy(k)

    def refuse(self, name: str, reason: str) -> None:
        self.trace.skipped[name] = reason
        self._drop_layer(name)
        self._drop_keys([key for key in self.trace.queries if key[1] == name])

    def forget(self, name: str, step: int) -> None:
        if name in self.trace.proofs and self.trace.proofs[name].step == step:
            self._drop_layer(name)
        self._drop_keys([key for key in self.trace.queries if key[1:] == (name, step)])

    def _drop_layer(self, name: str) -> None:
        for store in (self.trace.layers, self.trace.proved, self.trace.proofs):
            store.pop(name, None)

    def _drop_keys(self, keys: list[Key]) -> None:
        for key in keys:
            del self.trace.queries[key]
            self.trace.keys.pop(key, None)

    def _copy(self, tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.detach().to("cpu", self.dtype or tensor.dtype, copy=True)
        require_fit(copy, tensor)
        return copy
