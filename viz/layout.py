"""Where the queries and keys lie within what the hooks saw: worked out at the first step, used at all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor that shares the memory of another one, the `tap`-th."""

    tap: int
    of: tuple  # what the other one is like: shape, strides and type
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int  # in numbers, from where the other one begins


@dataclass(frozen=True, slots=True)
class Layout:
    """How to have tensors from those they are views of, at once instead of in a dozen steps."""

    views: tuple[_View, ...]

    @classmethod
    def find(cls, tensors: Sequence[torch.Tensor], seen: Sequence[torch.Tensor]) -> Layout | None:
        """How `tensors` lie in `seen`; None when one of them was computed and shares no memory."""
        owners = {tensor.untyped_storage().data_ptr(): index for index, tensor in enumerate(seen)}
        views = []
        for tensor in tensors:
            index = owners.get(tensor.untyped_storage().data_ptr())
            if index is None or tensor.dtype != seen[index].dtype:
                return None
            offset = tensor.storage_offset() - seen[index].storage_offset()
            views.append(_View(index, _described(seen[index]), tuple(tensor.shape), tensor.stride(), offset))
        return cls(tuple(views))

    def apply(self, seen: Sequence[torch.Tensor]) -> list[torch.Tensor] | None:
        """The same views of other tensors; None when those lie otherwise in memory than the first ones did."""
        found = []
        for view in self.views:
            tensor = seen[view.tap]
            if _described(tensor) != view.of:
                return None
            found.append(tensor.as_strided(view.shape, view.strides, tensor.storage_offset() + view.offset))
        return found


def _described(tensor: torch.Tensor) -> tuple:
    return tensor.shape, tensor.stride(), tensor.dtype
