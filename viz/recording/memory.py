"""Where recorded tensors lie: outside the heap, one mapping of memory a step.

A network's activations come and go on the heap. Kept tensors among them, and even the small objects that describe kept
tensors, make the allocator give memory back and ask for it again at every step, which cost the network a tenth to a
quarter of its speed. So numbers are copied into a mapping of their own, and become tensors when someone asks for them.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Hashable, Iterator, MutableMapping
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

import torch

from viz.precision import require_fit


class Place(NamedTuple):  # a thousand a run, and made in a third of a dataclass's time
    memory: mmap.mmap
    start: int
    numel: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    def tensor(self) -> torch.Tensor:
        numbers = torch.frombuffer(self.memory, dtype=self.dtype, count=self.numel, offset=self.start)
        return numbers.as_strided(self.shape, self.strides)


class _Pool:
    """Mappings to use again: new memory costs several times as much as copying into it, and what the last trace
    leaves is just what the next recording needs.

    A mapping is free when nobody but the pool refers to it: no place on a shelf, and no tensor made of one.
    """

    MOST = 128 * 2**20  # bytes, used and free together; what is recorded beyond goes back to the system afterwards

    def __init__(self) -> None:
        self.mappings: list[mmap.mmap] = []
        self.lock = Lock()

    def take(self, size: int) -> mmap.mmap:
        """A mapping of at least `size` bytes, and at most a quarter more."""
        with self.lock:
            fitting = [i for i in self._free() if size <= len(self.mappings[i]) <= size * 5 // 4]
            if fitting:
                return self.mappings[min(fitting, key=lambda i: len(self.mappings[i]))]
            new = mmap.mmap(-1, size, access=mmap.ACCESS_COPY)
            while not self._has_room(size) and (free := self._free()):
                del self.mappings[free[0]]
            if self._has_room(size):
                self.mappings.append(new)
            return new

    def _has_room(self, size: int) -> bool:
        return sum(map(len, self.mappings)) + size <= self.MOST

    def _free(self) -> list[int]:
        """Which mappings have no references but the pool's and the one that counting takes."""
        return [i for i in range(len(self.mappings)) if sys.getrefcount(self.mappings[i]) == 2]


_pool = _Pool()


class Shelf:
    """Memory for copies of tensors, which keep nothing else alive. `turn` begins another step."""

    def __init__(self) -> None:
        self.memory, self.address, self.used, self.room = None, 0, 0, 0
        self.taken = self.expected = 0  # bytes in this step, and in the one before
        self.views: dict[torch.dtype, torch.Tensor] = {}  # all of the memory, as numbers of each type

    def turn(self) -> None:
        self.expected, self.taken = max(self.expected, self.taken), 0
        self.memory, self.address, self.used, self.room, self.views = None, 0, 0, 0, {}

    def put(self, tensor: torch.Tensor, dtype: torch.dtype | None = None) -> Place:
        """Copy a tensor, in another precision if one is given.

        Raises:
            ValueError: when a number does not fit into `dtype`.
        """
        dtype = dtype or tensor.dtype
        start = self._room_for(tensor.numel() * dtype.itemsize)
        if dtype not in self.views:
            self.views[dtype] = torch.frombuffer(self.memory, dtype=dtype)
        # In the order of the tensor's own memory, where heads lie beside one another: a faster copy than any other.
        shape = tuple(tensor.shape)
        strides = dense(shape, tensor.stride())
        copy = self.views[dtype].as_strided(shape, strides, start // dtype.itemsize)
        require_fit(copy.copy_(tensor.detach()), tensor)
        return Place(self.memory, start, tensor.numel(), shape, strides, dtype)

    def put_block(
        self, address: int, numel: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype
    ) -> Place:
        """Copy numbers that lie in the processor's memory without gaps, from an address on.

        For the few kilobytes of a layer, PyTorch takes several times as long to say what is to be copied as to copy it.
        """
        size = numel * dtype.itemsize
        start = self._room_for(size)
        ctypes.memmove(self.address + start, address, size)
        return Place(self.memory, start, numel, shape, strides, dtype)

    def _room_for(self, size: int) -> int:
        """Where in `memory` the next `size` bytes go."""
        size = -(-size // 8) * 8  # what follows may be of any type
        if self.used + size > self.room:
            self.memory, self.used, self.views = _pool.take(max(size, self.expected - self.taken)), 0, {}
            self.room, self.address = len(self.memory), torch.frombuffer(self.memory, dtype=torch.uint8).data_ptr()
        start = self.used
        self.used += size
        self.taken += size
        return start


@lru_cache(maxsize=1024)
def dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a copy without gaps, its axes in the order in which they lie in memory."""
    return torch.empty_like(torch.empty_strided(shape, strides, device="meta")).stride()


class Shelved(MutableMapping):
    """A dictionary of tensors that takes places on a shelf, too."""

    def __init__(self) -> None:
        self.places: dict[Hashable, torch.Tensor | Place] = {}

    def __getitem__(self, key: Hashable) -> torch.Tensor:
        value = self.places[key]
        return value.tensor() if isinstance(value, Place) else value

    def __setitem__(self, key: Hashable, value: torch.Tensor | Place) -> None:
        self.places[key] = value

    def __delitem__(self, key: Hashable) -> None:
        del self.places[key]

    def __contains__(self, key: object) -> bool:
        return key in self.places

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)
