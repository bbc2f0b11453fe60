"""Q and K on disk instead of in memory, while a network is recorded.

The file has no name: it vanishes with the process, however that ends. A finished trace is written from it.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from viz.layer import Key
from viz.trace import Trace


@dataclass(frozen=True)
class _Place:
    """Where the bytes of a tensor are."""

    start: int
    shape: torch.Size
    dtype: torch.dtype


class Spool:
    """A file without a name, to which tensors are appended.

    Args:
        folder: that the file lies in, so that it takes space where the trace will.

    Raises:
        OSError: if no file can be made there.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (`close` closes it)
        self._end = 0

    def append(self, tensor: torch.Tensor) -> _Place:
        """Write a tensor; raises OSError if the disk is full."""
        data = tensor.contiguous().flatten().view(torch.uint8).numpy().data
        place = _Place(self._end, tensor.shape, tensor.dtype)
        while data:
            data = data[self._file.write(data) or 0 :]
        self._end += tensor.nbytes
        return place

    def read(self, place: _Place) -> torch.Tensor:
        """A tensor mapped from the file: it takes memory only where it is read, which the system can take back."""
        before = place.start % mmap.ALLOCATIONGRANULARITY
        count = place.shape.numel()
        if not count:
            return torch.empty(place.shape, dtype=place.dtype)
        mapped = mmap.mmap(
            self._file.fileno(),
            before + count * place.dtype.itemsize,
            access=mmap.ACCESS_COPY,
            offset=place.start - before,
        )
        return torch.frombuffer(mapped, dtype=place.dtype, count=count, offset=before).view(place.shape)

    def close(self) -> None:
        """Give the disk space back, once no mapped tensor is left."""
        self._file.close()


class SpooledTensors(MutableMapping[Key, torch.Tensor]):
    """Tensors that lie in a spool, by key."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._places: dict[Key, _Place] = {}

    def __getitem__(self, key: Key) -> torch.Tensor:
        return self.spool.read(self._places[key])

    def __setitem__(self, key: Key, tensor: torch.Tensor) -> None:
        self._places[key] = self.spool.append(tensor)

    def __delitem__(self, key: Key) -> None:
        del self._places[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places


@contextmanager
def spooled(trace: Trace, file: Path) -> Iterator[None]:
    """Keep the Q and K that an empty trace is given on the disk; when the block ends, write the trace to `file`.

    Afterwards the trace's Q and K are mapped from that file. If the block raises, nothing is written.

    Raises:
        OSError: if nothing can be written.
    """
    spool = Spool(file.parent)
    trace.queries, trace.keys = SpooledTensors(spool), SpooledTensors(spool)
    try:
        yield
        whole = Trace.load(trace.save(file))
        trace.queries, trace.keys = whole.queries, whole.keys
    finally:
        spool.close()
