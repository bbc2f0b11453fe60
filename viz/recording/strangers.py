"""Find modules in which attention ran although no probe knows them, so that they can be named."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

REASON = "attention ran in it, but no probe knows its parts"
SOFTMAX = "_softmax", "_safe_softmax"


class Strangers:
    """Looks at the operations that run in the modules without a known layer, in one call of a network.

    Attributes:
        found: names of those in which attention ran.
        called: whether its hooks were registered for a call.
    """

    def __init__(self, known: Collection[str]) -> None:
        self.known = known
        self.found: dict[str, None] = {}
        self.called = False
        self._modes: list[_Listener] = []

    def hooks(self, network: nn.Module) -> Iterator[RemovableHandle]:
        """Register hooks on these modules, one by one."""
        self.called = True
        for name, module in _unknown(network, "", self.known):
            yield module.register_forward_pre_hook(partial(self._enter, name))
            yield module.register_forward_hook(self._leave, always_call=True)

    def close(self) -> None:
        """Stop listening, also where an exception left a module."""
        while self._modes:
            self._modes.pop().__exit__(None, None, None)

    def _enter(self, name: str, *_: object) -> None:
        if not torch.compiler.is_compiling() and not self._modes:
            mode = _Listener(partial(self.found.setdefault, name, None))
            mode.__enter__()
            self._modes.append(mode)

    def _leave(self, *_: object) -> None:
        if not torch.compiler.is_compiling():
            self.close()


class _Listener(TorchDispatchMode):
    """Calls back when attention runs: a fused operation, or a softmax over more than one number in each row."""

    def __init__(self, callback: partial) -> None:
        super().__init__()
        self.callback = callback

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = function.overloadpacket.__name__
        is_softmax = name in SOFTMAX and args[0].ndim >= 3 and args[0].shape[args[1]] > 1
        if is_softmax or "scaled_dot_product" in name:
            self.callback()
        return function(*args, **(kwargs or {}))


def _unknown(network: nn.Module, path: str, known: Collection[str]) -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules that neither are, contain nor lie in a known one; none that only PyTorch's code runs in."""
    for name, child in network.named_children():
        name = f"{path}.{name}".strip(".")
        if name in known or isinstance(child, torch.jit.ScriptModule):
            continue
        if any(other.startswith(f"{name}.") for other in known):
            yield from _unknown(child, name, known)
        elif any(not type(part).__module__.startswith("torch.nn.modules") for part in child.modules()):
            yield name, child
