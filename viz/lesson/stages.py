"""The way through a network, stage by stage: which grids its feature maps have, and where on it attention happens.

stages_of(unet, call)   # [Stage((64, 64), []), Stage((32, 32), ["down_blocks.1.….attn1", …]), …, Stage((64, 64), [])]
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import nn

from viz.layer import Grid
from viz.lesson.watch import Call
from viz.probes import find_sites


@dataclass
class Stage:
    """A run of modules that work on feature maps of one grid, and the attention layers among them, in order."""

    grid: Grid
    layers: list[str] = field(default_factory=list)


@torch.no_grad()
def stages_of(network: nn.Module, call: Call, grids: dict[str, Grid]) -> list[Stage]:
    """The stages of one call of a network, in the order in which they run.

    Feature maps are what 3×3 convolutions return, and what attention layers work on.

    Args:
        grids: {attention layer: its grid}; a layer that is not among them belongs to the stage that it runs in.
    """
    stages: list[Stage] = []

    def enter(grid: Grid) -> None:
        if not stages or stages[-1].grid != grid:
            stages.append(Stage(grid))

    def convolved(module: nn.Module, args: tuple, output: torch.Tensor) -> None:
        height, width = output.shape[-2:]
        enter((height, width))

    def attending(name: str) -> Callable[..., None]:
        def keep(*_: object) -> None:
            if name in grids:
                enter(grids[name])
            if stages:
                stages[-1].layers.append(name)

        return keep

    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                hooks.enter_context(module.register_forward_hook(convolved))
        for name in find_sites(network)[0]:
            hooks.enter_context(network.get_submodule(name).register_forward_pre_hook(attending(name)))
        network(*call.args, **call.kwargs)
    return stages
