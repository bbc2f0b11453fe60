"""The order of the tensors in a trace's file: what a page shows first comes first.

A page that reads a file from its beginning can show the first map after a prefix of it. Readers find tensors by their
names and never rely on the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from viz.layer import Branch, Key, Layer

First = tuple[str, int]  # the layer and the step of the first map


def default_first(layers: Mapping[str, Layer], steps: Iterable[int]) -> First | None:
    """What a viewer opens with: the last layer whose keys are pixels, at the last step; None where there is no map."""
    shown = [name for name, layer in layers.items() if layer.kind == "self"]
    last = [*steps][-1:]
    return (shown[-1], last[0]) if shown and last else None


def names_in_order(
    layers: Iterable[str],
    steps: Iterable[int],
    branches: Iterable[Branch],
    first: First | None,
    kept_at: Mapping[Key, int],
) -> list[str]:
    """The names that tensors of a file can have, in the order in which a page needs them.

    The picture, and the prediction of the first step; then, of this step, the first layer, the others by their distance
    from it, and then those of other branches than the shown one, which is the last; then the other predictions, the
    other steps by their distance, and the proofs.

    Args:
        layers, steps, branches: of the trace, in its order.
        kept_at: {key: step} for the keys of layers that a file keeps at an earlier step; see `viz.compact`.
    """
    layers, steps, branches = list(layers), list(steps), list(branches)
    layer, step = first or (None, None)
    near_layers, near_steps = _by_distance(layers, layer), _by_distance(steps, step)
    names = ["picture"]
    for number in near_steps:
        names.append(f"preview/{number}")
        for branch in reversed(branches):
            for name in near_layers:
                kept = kept_at.get((branch, name, number), number)
                names += [f"{branch}/key/{name}/{kept}", f"{branch}/query/{name}/{number}"]
        if number == near_steps[0]:
            names += [f"preview/{each}" for each in steps]
    names += [f"proof/{part}/{name}" for name in layers for part in ("queries", "value", "output")]
    return list(dict.fromkeys(names))


def _by_distance(items: list, one: object) -> list:
    """The items, those nearest to `one` first, and of two equally near the later one."""
    at = items.index(one) if one in items else len(items)
    places = sorted(range(len(items)), key=lambda i: (abs(i - at), -i))
    return [items[i] for i in places]


def aligned(tensors: Mapping[str, torch.Tensor], names: Iterable[str]) -> Iterator[str]:
    """The names of `tensors` in the given order, but so that each begins at a multiple of the size of its numbers.

    A safetensors file has no room between its tensors, so those after which others would be out of step come last.
    Tensors that `names` lacks come after those that it has.
    """
    wanted = [name for name in names if name in tensors]
    wanted += sorted(tensors.keys() - set(wanted))
    unit = max((tensors[name].itemsize for name in wanted), default=1)
    late = [name for name in wanted if tensors[name].nbytes % unit]
    yield from (name for name in wanted if not tensors[name].nbytes % unit)
    yield from sorted(late, key=lambda name: -tensors[name].itemsize)
