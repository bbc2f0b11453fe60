"""The memory that a recording will take: exact bytes per layer and step, and what fits into a budget.

    plan = viz.plan(pipeline, steps=50, dtype=torch.float16)
    plan.total, plan.by_layer                      # bytes in all; {layer: bytes per step}
    plan.fit(2 * 2**30)                            # the steps and layers that fit into 2 GiB
    print(plan)                                    # the same in words, and whether to record into memory or a file
    plan.needs_disk()                              # whether into a file: viz.record(…, into="run.safetensors")

The shapes come from one call of a copy of the network on PyTorch's meta device, which holds no weights and computes
nothing but shapes: a fraction of a second for Stable Diffusion, and hardly any memory.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from models.protocol import Pipeline
from viz.asking import Asked, Asking
from viz.checkpoint import between_layers, checkpoint
from viz.layer import Key, Layer
from viz.probes import Reading, find_sites
from viz.proof import proof_channels
from viz.recipe import spread
from viz.recording import budget as memory
from viz.recording.branches import PictureChoice
from viz.recording.budget import amount
from viz.recording.deferred import Failure
from viz.recording.evidence import Evidence
from viz.recording.keeper import asked_of, first_rows, stored_rows
from viz.recording.recorder import LayerFilter, Recorder, select_sites
from viz.trace import Trace

HOOKS = (
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
)  # of a module
OURS = "viz.recording.", "viz.lesson.", "models.sampling."  # where the hooks of a run come from
FEW_STEPS = 5  # fewer would say little about how maps change: below this, leave out layers before steps


class OverBudget(ValueError):
    """A recording would take more memory than allowed; the message says how much, and what would fit."""


@dataclass(frozen=True)
class Plan:
    """The size of a recording.

    Attributes:
        layers: {name: Layer} of every layer that a probe knows. Those that cannot be proved will take nothing.
        by_layer: {name: bytes of its Q and K per step}, all recorded branches together.
        once: {name: bytes of its proof}, kept once per layer.
        steps: indices of the recorded calls of the network.
        skipped: {name: reason} of attention that will not be recorded.
        size: (height, width) of the network's sample.
    """

    layers: dict[str, Layer]
    by_layer: dict[str, int]
    once: dict[str, int]
    steps: tuple[int, ...]
    size: tuple[int, int]
    skipped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The size in words, and whether to record into a file: what `print` shows."""
        layers, steps = len(self.layers), len(self.steps)
        text = (
            f"{amount(self.total)}: {layers} layer{'s' * (layers != 1)} at {steps} step{'s' * (steps != 1)}, "
            f"{amount(self.step_bytes)} a step"
        )
        if self.needs_disk():
            how = 'record it into a file, with record(…, into="run.safetensors")'
            return f"{text}. That is more than a quarter of the free memory ({amount(memory.budget())}): {how}."
        return f"{text}. It fits into memory (a quarter of what is free is {amount(memory.budget())})."

    @property
    def step_bytes(self) -> int:
        """Bytes of one step, all layers."""
        return sum(self.by_layer.values())

    @property
    def total(self) -> int:
        """Bytes of the whole recording."""
        return self.step_bytes * len(self.steps) + sum(self.once.values())

    def select(self, layers: Collection[str], steps: Collection[int]) -> Plan:
        """The plan of some layers and steps only."""
        return Plan(
            {name: self.layers[name] for name in self.layers if name in layers},
            {name: size for name, size in self.by_layer.items() if name in layers},
            {name: size for name, size in self.once.items() if name in layers},
            tuple(step for step in self.steps if step in steps),
            self.size,
            self.skipped,
        )

    def fit(self, budget: int) -> Plan | None:
        """The largest part of this plan that takes at most `budget` bytes, or None if none does.

        Steps are thinned out evenly first, down to a few. Then the largest layers are left out.
        """
        layers = sorted(self.layers, key=lambda name: (-self.by_layer[name], name))
        for left_out in range(len(layers)):
            remaining = layers[left_out:]
            step_bytes = sum(self.by_layer[name] for name in remaining)
            room = budget - sum(self.once[name] for name in remaining)
            count = min(len(self.steps), room // max(1, step_bytes))
            if count >= min(FEW_STEPS, len(self.steps)) or (count >= 1 and len(remaining) == 1):
                return self.select(remaining, [self.steps[i] for i in spread(len(self.steps), count)])
        return None

    def needs_disk(self, budget: int | None = None) -> bool:
        """Whether to record into a file (`record(…, into=…)`), as this takes more than `budget` bytes.

        By default a quarter of the free memory is allowed.
        """
        return self.total > (memory.budget() if budget is None else budget)

    def check(self, budget: int) -> None:
        """Raise OverBudget if this takes more than `budget` bytes."""
        if self.total > budget:
            raise OverBudget(
                f"Recording this would take {amount(self.total)}; {amount(budget)} are allowed. {self.advice(budget)}"
            )

    def advice(self, budget: int) -> str:
        """A sentence on which steps and layers would fit into `budget` bytes."""
        fitting = self.fit(budget)
        if fitting is None:
            return "Not even one layer at one step would fit: allow more memory, or draw a smaller picture."
        steps = f"{len(fitting.steps)} of its {len(self.steps)} steps"
        if len(fitting.layers) == len(self.layers):
            return f"All {len(self.layers)} layers and {steps} would fit ({amount(fitting.total)})."
        height, width = max(fitting.layers.values(), key=lambda layer: layer.tokens).grid
        return (
            f"{len(fitting.layers)} of its {len(self.layers)} layers, those up to {height}×{width}, and {steps} "
            f"would fit ({amount(fitting.total)})."
        )


def plan(
    model: nn.Module | Pipeline,
    *call: object,
    steps: int | Collection[int] = 25,
    size: tuple[int, int] | None = None,
    layers: LayerFilter = None,
    branches: int = 1,
    dtype: torch.dtype | None = None,
    queries: Asked | Collection[Asked] | None = None,
    **named: object,
) -> Plan:
    """The size of a recording that `viz.record` would make.

    Args:
        model: a pipeline with a U-Net, or any network.
        call, named: for a network, the arguments of one call; only their shapes matter.
        steps: how many calls to record, or which.
        size: for a pipeline, (height, width) of the picture; its own by default.
        layers: as for `viz.record`.
        branches: 2 to record both halves of guided batches.
        dtype: the precision to keep Q and K in; the network's own by default.
        queries: as for `viz.record`.

    Raises:
        ValueError: as `viz.record` does, and for a network whose shapes depend on the numbers it computes.
    """
    network, arguments, keywords = (model, call, named) if isinstance(model, nn.Module) else _call_of(model, size)
    meta_network = _weightless(network)
    sites, skipped = find_sites(meta_network)
    own_dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    asking = None if queries is None else Asking.parse(queries)
    counter, trace = ByteCounter(dtype or own_dtype, asking), Trace()
    recorder = Recorder(trace, select_sites(sites, skipped, layers), counter, PictureChoice(guided=False))
    with recorder.watching(meta_network), between_layers(meta_network), torch.no_grad():
        try:
            meta_network(*map(_to_meta, arguments), **{name: _to_meta(value) for name, value in keywords.items()})
        except (RuntimeError, NotImplementedError) as error:
            raise ValueError(
                f"the shapes of {type(network).__name__} cannot be planned without running it: {error}"
            ) from error
    recorded = tuple(range(steps)) if isinstance(steps, int) else tuple(sorted(steps))
    by_layer = {name: size * branches for name, size in counter.by_layer.items()}
    return Plan(counter.layers, by_layer, counter.once, recorded, trace.size, skipped | counter.skipped)


def _call_of(pipeline: Pipeline, size: tuple[int, int] | None) -> tuple[nn.Module, tuple, dict]:
    """A pipeline's network, and the arguments of a call of it."""
    from models.sampling.bare import empty_conditioning
    from models.sampling.geometry import geometry_of

    unet, sides = pipeline.unet, geometry_of(pipeline).sample_size(size)
    sample = torch.empty(1, unet.config.in_channels, *sides, device="meta", dtype=unet.dtype)
    return unet, (sample, torch.tensor(1)), empty_conditioning(unet, sides)


class ByteCounter:
    """A keeper that adds up the bytes of copies in a precision, instead of making them.

    Attributes: see `Plan`.
    """

    def __init__(self, dtype: torch.dtype, asking: Asking | None = None) -> None:
        self.itemsize, self.asking = dtype.itemsize, asking
        self.layers: dict[str, Layer] = {}
        self.by_layer: dict[str, int] = {}
        self.once: dict[str, int] = {}
        self.skipped: dict[str, str] = {}
        self._kept: dict[str, int] = {}  # {layer: how many of its queries}

    def choose(self, candidates: list[tuple[Reading, Layer, Evidence]], step: int) -> tuple[Reading, Layer]:
        """Take the first reading: without numbers, none can be proved, and all have the same shapes."""
        return candidates[0][:2]

    def prove(self, key: Key, layer: Layer, evidence: Evidence) -> None:
        if layer.name in self.layers:
            return
        asked = None if self.asking is None else asked_of(layer, self.asking)
        self._kept[layer.name] = layer.query_count if asked is None else len(asked)
        rows = stored_rows(first_rows(layer, key[2], asked), asked)
        floats = sum(part.numel() for part in proof_channels(evidence.value, evidence.output[: len(rows)]))
        self.layers[layer.name], self.by_layer[layer.name] = layer, 0
        self.once[layer.name] = floats * self.itemsize + rows.nbytes

    def keep(self, key: Key, q: torch.Tensor, k: torch.Tensor) -> None:
        heads, _, width = q.shape
        self.by_layer[key[1]] += (heads * self._kept[key[1]] * width + k.numel()) * self.itemsize

    def leave_gap(self, name: str, step: int, reason: str) -> None:
        self.refuse(name, reason)

    def refuse(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        for counts in (self.layers, self.by_layer, self.once):
            counts.pop(name, None)

    def forget(self, name: str, step: int) -> None:
        """Nothing to do: after an exception there is no plan."""

    def end_step(self) -> list[Failure]:
        return []

    def settle(self) -> list[Failure]:
        return []


def _weightless(network: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers have shapes but no numbers, and that nobody records."""
    copies: dict[int, Any] = {}  # {id of an object: what it becomes}, for deepcopy
    for tensor in (*network.parameters(), *network.buffers()):
        checkpoint()
        copies[id(tensor)] = _to_meta(tensor)
    # A run may be under way: what its hooks hold must not be copied, nor be told of this call.
    hooks = [vars(module)[name] for module in network.modules() for name in HOOKS if name in vars(module)]
    copies |= {id(each): type(each)() for each in hooks}
    for each in hooks:
        kept = [(key, hook) for key, hook in list(each.items()) if not _records(hook)]
        copies[id(each)].update(copy.deepcopy(kept, copies))
    return copy.deepcopy(network, copies)


def _records(hook: object) -> bool:
    """Whether a hook is one of `viz.record`, of the lesson or of a pipeline's run."""
    function = hook.func if isinstance(hook, partial) else hook
    return str(getattr(function, "__module__", "")).startswith(OURS)


def _to_meta(value: object) -> object:
    if isinstance(value, nn.Parameter):
        return nn.Parameter(torch.empty_like(value, device="meta"), requires_grad=False)
    if isinstance(value, torch.Tensor):
        return torch.empty_like(value, device="meta")
    if isinstance(value, dict):
        return {name: _to_meta(inner) for name, inner in value.items()}
    return value
