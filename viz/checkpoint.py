"""Ending a long computation between two of its parts.

    with checked(look):     # whoever waits for it
        maps.heads(…)       # calls `checkpoint()` before every block of rows, and that `look()`, which may raise

Each thread has a check of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the page imports this before it needs torch
    from torch import nn

_look: ContextVar[Callable[[], None] | None] = ContextVar("look", default=None)


@contextmanager
def checked(look: Callable[[], None]) -> Iterator[None]:
    """Call `look()` at every checkpoint of this block. What it raises ends the computation."""
    token = _look.set(look)
    try:
        yield
    finally:
        _look.reset(token)


def checkpoint() -> None:
    """The computation may end here."""
    look = _look.get()
    if look is not None:
        look()


@contextmanager
def between_layers(network: nn.Module, check: Callable[[], None] = checkpoint) -> Iterator[None]:
    """Within this block, `check()` is called before each layer of a call of the network; what it raises ends the call.

    The hooks see nothing and change nothing. Modules inside an `nn.TransformerEncoderLayer` have none: PyTorch computes
    it as one operation as long as nothing inside it is watched, with other rounding.
    """

    def look(module: nn.Module, arguments: Any) -> None:
        check()

    handles = [module.register_forward_pre_hook(look) for module in _layers(network)]
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
