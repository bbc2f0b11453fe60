"""A part of a trace: some layers, some steps, some queries, another precision."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch

from viz.asking import Asked, Asking, positions
from viz.layer import Key, Proof
from viz.precision import require_fit

if TYPE_CHECKING:
    from viz.trace import Trace

K = TypeVar("K")
V = TypeVar("V")


class _Chosen(NamedTuple):
    """The queries of a layer to keep, and where they are among those that the trace keeps."""

    queries: tuple[int, ...]
    places: list[int]


def select(
    trace: Trace,
    layers: Collection[str] | None,
    steps: Collection[int] | None,
    dtype: torch.dtype | None,
    queries: Asked | Collection[Asked] | None = None,
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
    chosen, unasked = ({}, {}) if queries is None else _asked(trace, names, Asking.parse(queries))
    names = [name for name in names if name not in unasked]
    selected = {key for key in trace.queries if key[1] in names and key[2] in kept_steps}

    def converted(store: MutableMapping[Key, torch.Tensor]) -> dict[Key, torch.Tensor]:
        return {key: _convert(tensor, dtype) for key, tensor in _only(store, selected).items()}

    gaps = {name: _only(reasons, kept_steps) for name, reasons in _only(trace.gaps, names).items()}
    return replace(
        trace,
        layers=_only(trace.layers, names),
        timesteps=_only(trace.timesteps, kept_steps),
        calls=_only(trace.calls, kept_steps),
        skipped=trace.skipped | empty | unasked,
        gaps={name: reasons for name, reasons in gaps.items() if reasons},
        proved=_only(trace.proved, names),
        proved_rows=_only(trace.proved_rows, names),
        previews=_only(trace.previews, kept_steps),
        recipe=dict(trace.recipe),
        queries={
            key: q[:, chosen[key[1]].places] if key[1] in chosen else q for key, q in converted(trace.queries).items()
        },
        keys=converted(trace.keys),
        kept_queries=_only(trace.kept_queries, names) | {name: own.queries for name, own in chosen.items()},
        proofs={
            name: replace(proof, value=_convert(proof.value, dtype), output=_convert(proof.output, dtype))
            for name, proof in _proofs(trace, names, chosen).items()
            if proof.step in kept_steps
        },
    )


def _asked(trace: Trace, names: list[str], asking: Asking) -> tuple[dict[str, _Chosen], dict[str, str]]:
    """{layer: what to keep of its queries}, but for layers kept whole; {layer: why nothing of it is asked for}."""
    chosen, unasked = {}, {}
    for name in names:
        layer = trace.layers[name]
        try:
            own = asking.of(layer)
        except ValueError as error:
            unasked[name] = str(error)
            continue
        if len(own) < layer.query_count:
            chosen[name] = _Chosen(own, positions(layer, trace.kept_queries.get(name), own))
    return chosen, unasked


def _proofs(trace: Trace, names: list[str], chosen: Mapping[str, _Chosen]) -> dict[str, Proof]:
    """The proofs of some layers, with the rows whose queries are kept; without the proofs that have none."""
    proofs = {}
    for name, proof in _only(trace.proofs, names).items():
        rows = torch.ones(len(proof.queries), dtype=torch.bool)
        if name in chosen:
            rows = torch.isin(proof.queries, torch.tensor(chosen[name].queries))
        if rows.any():
            proofs[name] = replace(proof, queries=proof.queries[rows], output=proof.output[rows])
    return proofs


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
