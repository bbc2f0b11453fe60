"""A part of a trace: some layers, some steps, another precision."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch

from viz.layer import Key
from viz.precision import require_fit

if TYPE_CHECKING:
    from viz.trace import Trace

K = TypeVar("K")
V = TypeVar("V")


def select(
    trace: Trace, layers: Collection[str] | None, steps: Collection[int] | None, dtype: torch.dtype | None
) -> Trace:
    """`Trace.select`, which describes the arguments and errors."""
    for name in layers or ():
        trace.steps_of(name)  # raises the KeyError of a layer that was not recorded
    strange = sorted(set(steps or ()) - set(trace.timesteps))
    if strange:
        raise KeyError(f"steps {strange} were not recorded; recorded are {trace.steps}")
    kept_steps = [step for step in trace.steps if steps is None or step in steps]
    names = [name for name in trace.layers if layers is None or name in layers]
    empty = {name: _reasons(trace.gaps[name], kept_steps) for name in names if not _has_any(trace, name, kept_steps)}
    names = [name for name in names if name not in empty]
    selected = {key for key in trace.queries if key[1] in names and key[2] in kept_steps}

    def converted(store: MutableMapping[Key, torch.Tensor]) -> dict[Key, torch.Tensor]:
        return {key: _convert(tensor, dtype) for key, tensor in _only(store, selected).items()}

    gaps = {name: _only(reasons, kept_steps) for name, reasons in _only(trace.gaps, names).items()}
    return replace(
        trace,
        layers=_only(trace.layers, names),
        timesteps=_only(trace.timesteps, kept_steps),
        calls=_only(trace.calls, kept_steps),
        skipped=trace.skipped | empty,
        gaps={name: reasons for name, reasons in gaps.items() if reasons},
        proved=_only(trace.proved, names),
        proved_rows=_only(trace.proved_rows, names),
        previews=_only(trace.previews, kept_steps),
        recipe=dict(trace.recipe),
        queries=converted(trace.queries),
        keys=converted(trace.keys),
        proofs={
            name: replace(proof, value=_convert(proof.value, dtype), output=_convert(proof.output, dtype))
            for name, proof in _only(trace.proofs, names).items()
            if proof.step in kept_steps
        },
    )


def _has_any(trace: Trace, name: str, steps: list[int]) -> bool:
    """Whether a layer has Q and K at any of these steps."""
    return not steps or any(step not in trace.gaps.get(name, {}) for step in steps)


def _reasons(gaps: dict[int, str], steps: list[int]) -> str:
    """Why a layer has no map at any of these steps."""
    return "; ".join(dict.fromkeys(gaps[step] for step in steps))


def _only(values: Mapping[K, V], kept: Collection[K]) -> dict[K, V]:
    return {key: value for key, value in values.items() if key in kept}


def _convert(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    if dtype is None:
        return tensor
    converted = tensor.to(dtype)
    require_fit(converted, tensor)
    return converted
