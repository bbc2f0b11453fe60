"""Proofs and copies of what a GPU computes, without making the network wait for them.

A network's code runs ahead of its GPU. To read one number off the GPU, or to copy a tensor into ordinary memory, the
code waits until the GPU has caught up, and then the GPU waits for the code. So after a layer's first step,

1. while the network runs, tensors are only copied within the GPU, as the network may write into its own;
2. at the end of the step, a stream of its own compares them and copies them into pinned memory, beside the next step;
3. a thread waits for that stream, judges what was compared, and puts Q and K from pinned memory into the trace.

A layer whose proof fails is therefore found out late. Nothing of it gets into the trace from the step of that proof on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

import torch

from viz.layer import Key, Layer
from viz.proof import UNITS, measured
from viz.recording.evidence import Evidence

BATCH_BYTES = 64 * 2**20  # of copies on the GPU after which they are sent off, within a step
MOST_BATCHES = 3  # under way; where they cannot be taken as fast as they are made, the network has to wait
MOST_SCORES = 2**22  # that are compared at once, in double precision


class Failure(NamedTuple):
    """A layer that could not be proved, or kept, from a step on."""

    name: str
    step: int
    error: Exception


@dataclass
class Late:
    """One picture in one call of one layer, until it is judged.

    Attributes:
        evidence: of the queries to compare only, copied.
        query: the q to keep, copied; the k to keep is that of the evidence.
        dtype: to keep them in.
    """

    index: Key
    layer: Layer
    evidence: Evidence
    query: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    dtype: torch.dtype | None = None

    @property
    def shape(self) -> tuple:
        """The same for layers that can be compared at once."""
        tensors = self.evidence.query, self.evidence.key, self.evidence.value, self.evidence.output
        return self.layer.scale, *((tensor.shape, tensor.dtype) for tensor in tensors)


# Takes what was measured, see `viz.proof.measured`, and q and k in memory that is used again afterwards.
Accept = Callable[[Late, Sequence[float], torch.Tensor, torch.Tensor], None]


class Deferred:
    """What is under way from GPUs to a trace.

    Args:
        accept: judges one picture in one call of one layer and puts it into the trace; called in a thread. What it
            raises makes the layer fail.

    Attributes:
        lock: held while `accept` runs.
    """

    def __init__(self, accept: Accept) -> None:
        self.lock = threading.Lock()
        self._accept = accept
        self._shown: Late | None = None  # what is to be proved, but not kept yet
        self._unsent: list[Late] = []
        self._bytes = 0  # of those
        self._under_way: deque[tuple[Future, set[str]]] = deque()  # with the names of the layers
        self._lanes: dict[torch.device, _Lane] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._failed: set[str] = set()
        self._failures: list[Failure] = []

    def prove(self, key: Key, layer: Layer, evidence: Evidence, rows: torch.Tensor) -> None:
        """Have some rows, (n,) on the device, compared later; `keep` has to follow."""
        part = evidence.at(rows)
        copied = replace(part, key=_copied(part.key), value=_copied(part.value))
        self._shown = Late(key, layer, copied)

    def keep(self, key: Key, q: torch.Tensor, dtype: torch.dtype | None) -> bool:
        """Keep q (H, n, d), and the k of what is to be proved, if that holds; False if `prove` was not called."""
        late, self._shown = self._shown, None
        if late is None or late.index != key:
            return False
        late.query, late.dtype = _copied(q), dtype
        self._unsent.append(late)
        self._bytes += sum(tensor.nbytes for tensor in (late.query, late.evidence.key, late.evidence.value))
        if self._bytes >= BATCH_BYTES:
            self.send()
        return True

    def send(self) -> None:
        """Have everything compared and copied, beside what the network does next. Never raises."""
        unsent, self._unsent, self._bytes = self._unsent, [], 0
        for device, group in groupby(unsent, lambda late: late.query.device):
            if len(self._under_way) >= MOST_BATCHES:
                self._under_way.popleft()[0].result()
            self._thread = self._thread or ThreadPoolExecutor(1, "recording")
            lane, batch = self._lanes.setdefault(device, _Lane(device)), list(group)
            try:
                work = self._thread.submit(self._settle, lane, batch, lane.send(batch))
            except Exception as error:  # too little memory, for example: no reason to stop the network
                with self.lock:
                    self._fail(batch, error)
            else:
                self._under_way.append((work, {late.layer.name for late in batch}))

    def wait(self, name: str | None = None) -> None:
        """Wait until nothing is under way. With a name: only if something of that layer is."""
        under_way = [late.layer.name for late in self._unsent]
        under_way += [each for work, names in self._under_way if not work.done() for each in names]
        if under_way and (name is None or name in under_way):
            self.send()
            while self._under_way:
                self._under_way.popleft()[0].result()

    def failures(self) -> list[Failure]:
        """The layers that have failed since the last call."""
        if not self._failures:
            return []
        with self.lock:
            failures, self._failures = self._failures, []
        return failures

    def close(self) -> None:
        """Wait until nothing is under way, and end the thread."""
        self.wait()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _settle(self, lane: _Lane, batch: list[Late], sent: _Sent) -> None:
        """Called in the thread; never raises."""
        try:
            numbers = sent.arrived()
        except Exception as error:  # the GPU's, of whatever it was told to do
            with self.lock:
                self._fail(batch, error)
            return
        with torch.no_grad(), lane.current():
            for late, measurement, (q, k) in zip(batch, numbers, sent.copies, strict=True):
                with self.lock:
                    try:
                        if late.layer.name not in self._failed:
                            self._accept(late, measurement, q, k)
                    except Exception as error:
                        self._fail([late], error)

    def _fail(self, batch: list[Late], error: Exception) -> None:
        """Have the layers of a batch fail; with the lock held."""
        for late in batch:
            if late.layer.name not in self._failed:
                self._failed.add(late.layer.name)
                self._failures.append(Failure(late.layer.name, late.index[2], error))


@dataclass
class _Sent:
    """What a lane makes of a batch, in the CPU's memory.

    Attributes:
        measured: (indices in the batch, (n, 5) what was measured of these).
        copies: q and k of each.
        done: the event after which all of it is there.
    """

    measured: list[tuple[list[int], torch.Tensor]]
    copies: list[tuple[torch.Tensor, torch.Tensor]]
    done: torch.cuda.Event | None

    def arrived(self) -> list[list[float]]:
        """Wait; returns what was measured of each. Raises what the GPU reports."""
        if self.done is not None:
            self.done.synchronize()
        numbers: dict[int, list[float]] = {}
        for indices, rows in self.measured:
            numbers |= zip(indices, rows.tolist(), strict=True)
        return [numbers[index] for index in range(len(numbers))]


class _Lane:
    """A stream of commands for a GPU beside the network's. A CPU does at once what it is told to."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def current(self) -> AbstractContextManager:
        """Give commands to this stream within the `with` block."""
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def send(self, batch: list[Late]) -> _Sent:
        """Compare and copy a batch, once the network has done everything that it was told to do so far."""
        if self.stream is None:
            return self._send(batch)
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            return self._send(batch)
        except Exception:
            self.stream.synchronize()  # what it was told to read is let go
            raise

    def _send(self, batch: list[Late]) -> _Sent:
        with torch.no_grad(), self.current():
            numbers = [(indices, self._fetch(_measure([batch[i] for i in indices]))) for indices in _alike(batch)]
            copies = [
                (self._fetch(late.query, late.dtype), self._fetch(late.evidence.key, late.dtype)) for late in batch
            ]
            return _Sent(numbers, copies, None if self.stream is None else self.stream.record_event())

    def _fetch(self, tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
        """A copy in the CPU's memory, pinned, and there after the stream's next event. PyTorch reuses such memory."""
        converted = tensor.to(dtype or tensor.dtype)
        copy = torch.empty(tensor.shape, dtype=converted.dtype, pin_memory=self.stream is not None)
        return copy.copy_(converted, non_blocking=True)


def defers(evidence: Evidence) -> bool:
    """Whether waiting for what was computed costs time, and whether it can be compared without."""
    value, width = evidence.value, evidence.output.shape[-1]
    heads_fit = width in (value.shape[2], len(value) * value.shape[2])
    return runs_behind(value.device) and value.dtype in UNITS and heads_fit


def runs_behind(device: torch.device) -> bool:
    """Whether a network's code runs ahead of its device."""
    return device.type == "cuda"


def on_device(indices: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Indices on a device, without waiting for it."""
    if device.type == "cuda" and indices.device.type == "cpu":
        return indices.pin_memory().to(device, non_blocking=True)
    return indices.to(device)


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _alike(batch: list[Late]) -> list[list[int]]:
    """The indices of layers that are compared at once."""
    alike: dict[tuple, list[int]] = {}
    for index, late in enumerate(batch):
        alike.setdefault(late.shape, []).append(index)
    groups = []
    for indices in alike.values():
        evidence = batch[indices[0]].evidence
        most = max(1, MOST_SCORES // (evidence.query.shape[0] * evidence.query.shape[1] * evidence.key.shape[1]))
        groups += [indices[first : first + most] for first in range(0, len(indices), most)]
    return groups


def _measure(group: list[Late]) -> torch.Tensor:
    """(n, 5); see `viz.proof.measured`."""
    evidence = [late.evidence for late in group]
    q, k, v, output = (
        torch.stack([getattr(each, name) for each in evidence]) for name in ("query", "key", "value", "output")
    )
    return measured(q, k, v, output, group[0].layer.scale)
