"""What a recording will take, before it is made: exact bytes by layer and step, and what fits into a budget.

    plan = viz.plan(pipeline, steps=50, dtype=torch.float16)
    plan.total, plan.by_layer                      # bytes of all; {layer: bytes a step}
    plan.fit(2 * 2**30)                            # the steps and layers that fit into 2 GiB

Shapes come from one call of the network on PyTorch's meta device: a copy of it that shares no weights and holds none
computes nothing but shapes, in a fraction of a second for Stable Diffusion and in no memory to speak of.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import nn

from viz.layer import Layer
from viz.probes import Site, find_sites
from viz.proof import PROOF_QUERIES, to_keep
from viz.recipe import spread
from viz.recording.budget import amount
from viz.recording.call import sample_of
from viz.recording.recorder import _filtered, _parts, _Recorder
from viz.trace import Trace

FEW_STEPS = 5  # fewer than this say little about how maps change; then layers go before steps do


class OverBudget(ValueError):
    """A recording would take more memory than it may; the message says how much, and what would fit."""


@dataclass(frozen=True)
class Plan:
    """What a recording keeps.

    Attributes:
        layers: {name: Layer} of every layer that a probe knows; one that cannot be proved takes nothing in the end.
        by_layer: {name: bytes of its Q and K in one step}, all recorded branches together.
        once: {name: bytes of its proof}, kept once a layer.
        steps: the indices of the network's calls that are recorded.
        skipped: {name: reason} of attention that will not be recorded.
        size: (height, width) of the network's sample.
    """

    layers: dict[str, Layer]
    by_layer: dict[str, int]
    once: dict[str, int]
    steps: tuple[int, ...]
    size: tuple[int, int]
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def step_bytes(self) -> int:
        """Bytes of one step, all layers."""
        return sum(self.by_layer.values())

    @property
    def total(self) -> int:
        """Bytes of everything that is kept."""
        return self.step_bytes * len(self.steps) + sum(self.once.values())

    def of(self, layers: Collection[str], steps: Collection[int]) -> Plan:
        """The plan of some layers and steps."""
        return Plan(
            {name: self.layers[name] for name in self.layers if name in layers},
            {name: size for name, size in self.by_layer.items() if name in layers},
            {name: size for name, size in self.once.items() if name in layers},
            tuple(step for step in self.steps if step in steps),
            self.size,
            self.skipped,
        )

    def fit(self, budget: int) -> Plan | None:
        """The largest part of this plan that takes at most `budget` bytes, or None when nothing does.

        Steps are thinned out evenly first, down to a few; then the layers that take most are left out.
        """
        layers = sorted(self.layers, key=lambda name: (-self.by_layer[name], name))
        for left_out in range(len(layers)):
            kept = layers[left_out:]
            each = sum(self.by_layer[name] for name in kept)
            room = budget - sum(self.once[name] for name in kept)
            count = min(len(self.steps), room // max(1, each))
            if count >= min(FEW_STEPS, len(self.steps)) or (count >= 1 and len(kept) == 1):
                return self.of(kept, [self.steps[i] for i in spread(len(self.steps), count)])
        return None

    def check(self, budget: int) -> None:
        """Raises OverBudget when this does not fit, saying what would."""
        if self.total <= budget:
            return
        raise OverBudget(
            f"Recording this would take {amount(self.total)} and may take {amount(budget)}. {self.advice(budget)}"
        )

    def advice(self, budget: int) -> str:
        """Which steps and layers would fit into `budget` bytes, in a sentence."""
        fitting = self.fit(budget)
        if fitting is None:
            return "Not even one layer and step would fit; allow more memory, or draw a smaller picture."
        steps = f"{len(fitting.steps)} of its {len(self.steps)} steps"
        if len(fitting.layers) == len(self.layers):
            return f"All {len(self.layers)} layers and {steps} would fit ({amount(fitting.total)})."
        least = max(fitting.layers.values(), key=lambda layer: layer.tokens).grid
        return (
            f"{len(fitting.layers)} of its {len(self.layers)} layers, those up to {least[0]}×{least[1]}, and {steps} "
            f"would fit ({amount(fitting.total)})."
        )


def plan(
    model,
    *call: object,
    steps: int | Collection[int] = 25,
    size: tuple[int, int] | None = None,
    layers: str | Collection[str] | Callable[[str], bool] | None = None,
    branches: int = 1,
    dtype: torch.dtype | None = None,
    **named: object,
) -> Plan:
    """What `viz.record` will keep of a run.

    Args:
        model: a pipeline with a U-Net, or any network.
        call, named: for a network, the arguments of one call of it; only their shapes count.
        steps: how many calls are recorded, or which.
        size: for a pipeline, (height, width) of the picture; by default its own.
        layers: as `viz.record` takes them.
        branches: 2 when both halves of guided batches are kept.
        dtype: the precision that Q and K are kept in; by default the network's own.

    Raises:
        ValueError: as `viz.record`, or for a network whose shapes depend on more than shapes.
    """
    network = model
    if not isinstance(model, nn.Module):
        network, call, named = _call_of(model, size)
    sites, skipped = find_sites(twin := _weightless(network))
    own = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    measurer = _Measurer(twin, dtype or own)
    with ExitStack() as hooks, torch.no_grad():
        for handle in measurer.hooks(_filtered(sites, skipped, layers)):
            hooks.callback(handle.remove)
        try:
            twin(*map(_to_meta, call), **{name: _to_meta(value) for name, value in named.items()})
        except (RuntimeError, NotImplementedError) as error:
            raise ValueError(f"the shapes of {type(network).__name__} cannot be known beforehand: {error}") from error
    trace = measurer.trace
    kept = tuple(range(steps)) if isinstance(steps, int) else tuple(sorted(steps))
    by_layer = {name: size * branches for name, size in measurer.by_layer.items()}
    return Plan(trace.layers, by_layer, measurer.once, kept, trace.size, skipped | trace.skipped)


def _call_of(pipeline, size: tuple[int, int] | None) -> tuple[nn.Module, tuple, dict]:
    from models.sampling.bare import empty_conditioning
    from models.sampling.geometry import geometry_of

    unet, sides = pipeline.unet, geometry_of(pipeline).sample_size(size)
    sample = torch.empty(1, unet.config.in_channels, *sides, device="meta", dtype=unet.dtype)
    return unet, (sample, torch.tensor(1)), empty_conditioning(unet, sides)


class _Measurer(_Recorder):
    """A recorder that writes down how much there would be to keep."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__(Trace(), network, lambda step: True, "conditional", None, 0, dtype, None)
        self.by_layer: dict[str, int] = {}
        self.once: dict[str, int] = {}

    def begin(self, network: nn.Module, args: tuple, kwargs: dict) -> None:
        sample = sample_of(args, kwargs)
        self.step, self.active, self.batch = 0, True, len(sample)
        self.indices = {"conditional": 0}
        self.trace.size = tuple(sample.shape[-2:])

    def _prove(
        self,
        name: str,
        site: Site,
        seen: dict[int, torch.Tensor],
        joined: torch.Tensor,
        carried: torch.Tensor | None,
    ) -> None:
        parts = _parts(site, seen, 0)
        reading = site.readings[0]
        (q, k), v = reading.scores(*parts), reading.values(*parts)
        layer = self.trace.layers[name] = self._describe(name, reading, q, k)
        width = self.dtype.itemsize
        self.by_layer[name] = layer.heads * (layer.tokens + layer.keys) * layer.head_dim * width
        asked = min(PROOF_QUERIES, layer.tokens)
        proof = to_keep(v, site.end.picture(joined, 0)[:asked])
        self.once[name] = sum(part.numel() for part in proof) * width + asked * torch.int64.itemsize

    def _keep(self, name: str, site: Site, seen: dict[int, torch.Tensor]) -> None:
        """There are no numbers to keep."""


def _weightless(network: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers have shapes and no numbers."""
    tensors = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(tensor): _to_meta(tensor) for tensor in tensors})


def _to_meta(value: object) -> object:
    if isinstance(value, nn.Parameter):
        return nn.Parameter(torch.empty_like(value, device="meta"), requires_grad=False)
    if isinstance(value, torch.Tensor):
        return torch.empty_like(value, device="meta")
    if isinstance(value, dict):
        return {name: _to_meta(inner) for name, inner in value.items()}
    return value
