"""Q and K on disk instead of in memory, while a network is recorded.

The file has no name: it vanishes with the process, however that ends. At the end of the run it becomes the trace's own:
its beginning was left free for the header, and it gets a name once it is whole. So nothing is written twice. Where that
is not possible, the trace is written anew from it: for small traces, so that a page finds in them first what it needs
first; where layers were left out, because a safetensors file has no unused bytes; and where a system cannot name such a
file.
"""

from __future__ import annotations

import mmap
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import torch

from viz.layer import Key
from viz.trace import Trace
from viz.trace_file import LARGE, Contents, bytes_of, header, metadata_of, name_of, other_tensors
from viz.trace_order import aligned

ROOM = 2**22  # bytes for the header, enough for some 25,000 tensors
PIECE = 2**26  # bytes that are sent to the disk at a time
SMALL = LARGE  # bytes of Q and K; a smaller trace is written anew


@dataclass(frozen=True)
class _Place:
    """Where the bytes of a tensor are."""

    start: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return self.shape.numel() * self.dtype.itemsize


class Spool:
    """A file without a name, to which tensors are appended after room for a header.

    Args:
        folder: that the file lies in, so that it takes space where the trace will.

    Raises:
        OSError: if no file can be made there.
    """

    def __init__(self, folder: Path) -> None:
        self._file = _open_nameless(folder)
        self._end = self._sent = ROOM

    @property
    def size(self) -> int:
        """Bytes of all tensors that were appended."""
        return self._end - ROOM

    def append(self, tensor: torch.Tensor) -> _Place:
        """Write a tensor; raises OSError if the disk is full."""
        place = _Place(self._end, tensor.shape, tensor.dtype)
        self._write(bytes_of(tensor), self._end)
        self._end += tensor.nbytes
        if self._end - self._sent >= PIECE:
            self._send()
        return place

    def _send(self) -> None:
        """Have the system begin to write to the disk what is new, so that little is left at the end."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), self._sent, self._end - self._sent, os.POSIX_FADV_DONTNEED)
        self._sent = self._end

    def _write(self, data: bytes | memoryview, start: int) -> None:
        self._file.seek(start)  # what was written in part, on a full disk, is overwritten
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]

    def read(self, place: _Place) -> torch.Tensor:
        """A tensor mapped from the file: it takes memory only where it is read, which the system can take back."""
        before = place.start % mmap.ALLOCATIONGRANULARITY
        count = place.shape.numel()
        if not count:
            return torch.empty(place.shape, dtype=place.dtype)
        mapped = mmap.mmap(
            self._file.fileno(),
            before + place.nbytes,
            access=mmap.ACCESS_COPY,
            offset=place.start - before,
        )
        return torch.frombuffer(mapped, dtype=place.dtype, count=count, offset=before).view(place.shape)

    def become(self, path: Path, beginning: bytes) -> bool:
        """Write what the file begins with, and give it a name, at once whole; False where the system cannot do that.

        Raises:
            OSError: if it cannot be written.
        """
        self._write(beginning, 0)
        os.fsync(self._file.fileno())
        return _name(self._file.fileno(), path)

    def close(self) -> None:
        """Give the disk space back, once no mapped tensor is left, if the file has no name."""
        self._file.close()


def _open_nameless(folder: Path) -> IO[bytes]:
    """A file without a name, of a kind that can get one where the system has that (Linux)."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is not None:
        try:
            return os.fdopen(os.open(folder, flag | os.O_RDWR, 0o600), "r+b", buffering=0)
        except OSError:
            pass  # not on this disk; what else may be wrong, the next line says
    return tempfile.TemporaryFile(dir=folder, buffering=0)


def _name(descriptor: int, path: Path) -> bool:
    """Give a file without a name that of `path`, in place of what is there; False where that cannot be done."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    other = f".{path.name}.{secrets.token_hex(4)}"  # a link replaces nothing, so it is moved there
    within = {"src_dir_fd": folder, "dst_dir_fd": folder}
    try:
        try:
            os.link(f"/proc/self/fd/{descriptor}", other, follow_symlinks=True, **within)
        except OSError:
            return False
        try:
            os.chmod(other, 0o644, dir_fd=folder)
            os.replace(other, path.name, **within)
        except BaseException:
            os.unlink(other, dir_fd=folder)
            raise
    finally:
        os.close(folder)
    return True


class SpooledTensors(MutableMapping[Key, torch.Tensor]):
    """Tensors that lie in a spool, by key."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._places: dict[Key, _Place] = {}

    @property
    def places(self) -> Mapping[Key, _Place]:
        return self._places

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
    """Keep the Q and K that an empty trace is given on the disk; when the block ends, the whole trace is in `file`.

    Afterwards the trace's Q and K are mapped from that file. If the block raises, there is none.

    Raises:
        OSError: if nothing can be written.
    """
    spool = Spool(file.parent)
    queries, keys = SpooledTensors(spool), SpooledTensors(spool)
    trace.queries, trace.keys = queries, keys
    try:
        yield
        if spool.size < SMALL or not _finish(trace, {"query": queries, "key": keys}, spool, file):
            trace.save(file)
        whole = Trace.load(file)
        trace.queries, trace.keys = whole.queries, whole.keys
    finally:
        spool.close()


def _finish(trace: Trace, parts: Mapping[str, SpooledTensors], spool: Spool, file: Path) -> bool:
    """Make the spool the file of a trace; False, and nothing is there yet, if that is not possible.

    Args:
        parts: the Q and K that it holds: {part of their names: tensors}.
    """
    contents = cast(Contents, vars(trace))
    found = {name_of(part, key): place for part, stored in parts.items() for key, place in stored.places.items()}
    places = dict(sorted(found.items(), key=lambda item: item[1].start))
    others = other_tensors(contents)
    others = {name: others[name] for name in aligned(others, others)}
    tensors: dict[str, _Place | torch.Tensor] = {**places, **others}
    has_two_of_a_name = len(tensors) < sum(map(len, parts.values())) + len(others)
    has_gaps = sum(place.nbytes for place in places.values()) < spool.size
    if has_two_of_a_name or has_gaps or not _are_aligned(tensors):
        return False
    beginning = header(tensors, metadata_of(contents, trace.verify()), ROOM)
    if len(beginning) > ROOM:
        return False
    for tensor in others.values():
        spool.append(tensor)
    return spool.become(file, beginning)


def _are_aligned(tensors: Mapping[str, _Place | torch.Tensor]) -> bool:
    """Whether each of these, one after another, begins at a multiple of the size of its numbers."""
    at = 0
    for tensor in tensors.values():
        if at % tensor.dtype.itemsize:
            return False
        at += tensor.nbytes
    return True
