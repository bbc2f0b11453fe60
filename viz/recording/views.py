"""Where the queries and keys lie within what the hooks saw: worked out at the first step, used at all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from viz.recording.memory import Place, Shelf, dense

AT_ONCE = 2**20  # bytes; more are copied faster by PyTorch, on several cores


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor that shares the memory of another one, the `tap`-th."""

    tap: int
    of: tuple  # what the other one is like
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int  # in numbers, from where the other one begins
    numel: int
    dtype: torch.dtype
    is_block: bool  # without gaps, in the processor's memory, and small


@dataclass(frozen=True, slots=True)
class Layout:
    """How to have copies of tensors from those they are views of, at once instead of in a dozen steps."""

    views: tuple[_View, ...]

    @classmethod
    def find(cls, tensors: Sequence[torch.Tensor], seen: Mapping[int, torch.Tensor]) -> Layout | None:
        """How `tensors` lie in `seen`; None when one of them was computed and lies in none, or may lie in several."""
        owners = {tensor.untyped_storage().data_ptr(): index for index, tensor in seen.items()}
        if len(owners) < len(seen):
            return None
        views = []
        for tensor in tensors:
            index = owners.get(tensor.untyped_storage().data_ptr())
            if index is None or tensor.dtype != seen[index].dtype:
                return None
            offset = tensor.storage_offset() - seen[index].storage_offset()
            shape, strides = tuple(tensor.shape), tensor.stride()
            if offset < 0 or offset + _extent(tensor) > _extent(seen[index]):
                return None
            is_block = tensor.device.type == "cpu" and tensor.nbytes <= AT_ONCE and strides == dense(shape, strides)
            of = _described(seen[index])
            views.append(_View(index, of, shape, strides, offset, tensor.numel(), tensor.dtype, is_block))
        return cls(tuple(views))

    def put(
        self, seen: Mapping[int, torch.Tensor], shelf: Shelf, dtype: torch.dtype | None = None
    ) -> list[Place] | None:
        """Put the same views of other tensors on a shelf; None when those lie otherwise in memory than the first did.

        Raises:
            ValueError: when a number does not fit into `dtype`.
        """
        if any(_described(seen[view.tap]) != view.of for view in self.views):
            return None
        return [_put(seen[view.tap], view, shelf, dtype or view.dtype) for view in self.views]


def _put(tensor: torch.Tensor, view: _View, shelf: Shelf, dtype: torch.dtype) -> Place:
    if view.is_block and dtype == view.dtype:
        address = tensor.data_ptr() + view.offset * dtype.itemsize
        return shelf.put_block(address, view.numel, view.shape, view.strides, dtype)
    return shelf.put(tensor.as_strided(view.shape, view.strides, tensor.storage_offset() + view.offset), dtype)


def _extent(tensor: torch.Tensor) -> int:
    """How many numbers there are from a tensor's first to its last, in memory."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _described(tensor: torch.Tensor) -> tuple:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
