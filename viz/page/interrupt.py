"""Ending what a model does in the middle: between two layers of a call, or two parameters of a model being opened."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from viz.checkpoint import between_layers, checked
from viz.page.callers import watched
from viz.page.line import Stopped

if TYPE_CHECKING:  # torch is loaded with the first model, after the page is served
    from torch import nn


@contextmanager
def interruptible(network: nn.Module, stopped: threading.Event) -> Iterator[None]:
    """Within this block, a call of the network raises Stopped before its next layer once `stopped` is set."""

    def check() -> None:
        if stopped.is_set():
            raise Stopped

    check()
    with between_layers(network, check):
        yield


@contextmanager
def ending_when_left() -> Iterator[threading.Event]:
    """Within this block, checkpoints raise Stopped once the caller of the present event has gone away.

    Yields what is set then, for what has no checkpoints. It is for what does not count as a run of the visitor's.
    """
    stopped = threading.Event()

    def look() -> None:
        if stopped.is_set():
            raise Stopped

    with watched(stopped), checked(look):
        yield stopped


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
