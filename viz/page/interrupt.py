"""Ending what a model does in the middle: between two layers of a call, or two parameters of a model being opened."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from viz.page.line import Stopped

if TYPE_CHECKING:  # torch is loaded with the first model, after the page is served
    from torch import nn


@contextmanager
def interruptible(network: nn.Module, stopped: threading.Event) -> Iterator[None]:
    """Within this block, a call of the network raises Stopped before its next layer once `stopped` is set.

    The hooks see nothing and change nothing. Modules inside an `nn.TransformerEncoderLayer` have none: PyTorch computes
    it as one operation as long as nothing inside it is watched, with other rounding.
    """
    if stopped.is_set():
        raise Stopped

    def check(module: nn.Module, arguments: Any) -> None:
        if stopped.is_set():
            raise Stopped

    handles = [module.register_forward_pre_hook(check) for module in _layers(network)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layers(network: nn.Module) -> list[nn.Module]:
    """The network, and its smallest modules that hold others with weights of their own, such as a residual block."""
    from torch import nn

    layers, closed = [network], (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.MultiheadAttention)

    def visit(module: nn.Module) -> None:
        for child in module.children():
            if not isinstance(child, closed):
                if any(_has_weights(grandchild) for grandchild in child.children()):
                    layers.append(child)
                visit(child)

    visit(network)
    return layers


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


@contextmanager
def interruptible_opening(stopped: threading.Event | None) -> Iterator[None]:
    """Within this block, this thread raises Stopped before the next parameter of a network that it builds."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    opening = threading.get_ident()

    def check(module: nn.Module, name: str, parameter: Any) -> None:
        if stopped is not None and stopped.is_set() and threading.get_ident() == opening:
            raise Stopped

    handle = register_module_parameter_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()
