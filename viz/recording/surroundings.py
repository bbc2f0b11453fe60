"""The modules around an attention module while its network runs: what they were given, and what they returned.

Only while a layer's queries and keys have still to be followed to their source; see `viz.recording.sources`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from viz.recording.call import named_arguments


@dataclass
class Frame:
    """One call of a module: running, or finished.

    Attributes:
        inputs, outputs: its tensors of three and four dimensions, detached.
        finished: calls of its children that have returned, in order.
    """

    module: nn.Module
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor] = field(default_factory=list)
    finished: list[Frame] = field(default_factory=list)


class Surroundings:
    """The stack of running modules of one call of a network, outermost first.

    Attributes:
        arguments: {name: tensor of three dimensions} that the network was called with; parts of dictionaries are named
            by their path.
    """

    def __init__(self) -> None:
        self.arguments: dict[str, torch.Tensor] = {}
        self.stack: list[Frame] = []
        self._waiting: Counter[nn.Module] = Counter()  # {module: how many of its layers are still to be followed}
        self._around: dict[str, list[nn.Module]] = {}  # {layer to be followed: the modules that contain it}
        self._tensors: list[torch.Tensor] | None = None  # that are visible; None if that has changed

    def begin(self, network: nn.Module, args: tuple, kwargs: dict, layers: Iterable[str] = ()) -> None:
        """Start a call of the network.

        Args:
            layers: the names of those that will be followed, until `release` is called for each.
        """
        modules = dict(network.named_modules())
        paths = {name: [name[:end] for end in (0, *_ends(name))] for name in layers}
        self._around = {name: [modules[path] for path in own if path in modules] for name, own in paths.items()}
        self._waiting = Counter(module for around in self._around.values() for module in around)
        self.arguments = {
            name: value.detach()
            for name, value in _named_tensors(named_arguments(network, args, kwargs))
            if value.ndim == 3
        }
        self.stack, self._tensors = [Frame(network, _tensors((args, kwargs)))], None

    def end(self) -> None:
        """Finish it, and let go of all tensors."""
        self.arguments, self.stack, self._tensors = {}, [], None

    def release(self, layer: str) -> None:
        """Let go of the tensors that only this layer was waiting for: it has been followed."""
        if layer not in self._around:
            return
        self._waiting.subtract(self._around.pop(layer))
        for frame in self.stack:
            if self._is_done(frame.module):
                frame.finished = []
        self._tensors = None

    def tensors(self) -> list[torch.Tensor]:
        """All visible tensors, each once, the nearest first."""
        if self._tensors is None:
            every = (t for frame in self.visible() for t in (*frame.outputs, *frame.inputs))
            self._tensors = list({(t.data_ptr(), t.shape, t.stride()): t for t in every}.values())
        return self._tensors

    def hooks(self, network: nn.Module, layers: Iterable[str]) -> Iterator[RemovableHandle]:
        """Register hooks on the parts of a network that its layers lie in or beside, one by one."""
        for module in _parts(network, set(layers)):
            yield module.register_forward_pre_hook(self._enter, with_kwargs=True)
            yield module.register_forward_hook(self._leave, with_kwargs=True)

    def visible(self) -> Iterator[Frame]:
        """Running modules and their finished children, from the innermost and latest to the outermost and first."""
        for frame in reversed(self.stack):
            yield from reversed(frame.finished)
            yield frame

    def _enter(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if torch.compiler.is_compiling():
            return
        if self.stack and not self._is_done(self.stack[-1].module):
            self.stack.append(Frame(module, _tensors((args, kwargs))))
            self._tensors = None

    def _leave(self, module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        if torch.compiler.is_compiling() or not any(frame.module is module for frame in self.stack[1:]):
            return
        while (frame := self.stack.pop()).module is not module:
            pass  # modules that an exception left
        frame.outputs, self._tensors = _tensors(output), None
        if not makes_tokens(frame):
            frame.finished = []  # its inner tensors are not needed any longer
        if not self._is_done(self.stack[-1].module):
            self.stack[-1].finished.append(frame)

    def _is_done(self, module: nn.Module) -> bool:
        """Whether all layers in a module have been followed. A module without any is not done: it may cut patches."""
        return module in self._waiting and self._waiting[module] <= 0


def makes_tokens(frame: Frame) -> bool:
    """Whether a module takes a map (B, C, h, w) and returns tokens, (B, N, C) or (B, h, w, C): a patch embedding."""
    if not frame.outputs or not any(tensor.ndim == 4 for tensor in frame.inputs):
        return False
    turned = {
        tuple(output.movedim(1, -1).shape) for child in frame.finished for output in child.outputs if output.ndim == 4
    }
    return all(tensor.ndim == 3 or tuple(tensor.shape) in turned for tensor in frame.outputs)


def _ends(name: str) -> Iterator[int]:
    """Where the paths of the modules around a layer end in its name, the outermost first, and its own."""
    yield from (index for index, character in enumerate(name) if character == ".")
    yield len(name)


def _parts(network: nn.Module, layers: set[str]) -> Iterator[nn.Module]:
    """The modules that contain a layer, and the children of these; of a child that cuts patches, all parts."""
    containing = {name[:end] for name in layers for end in (0, *_ends(name))}
    for name in containing & dict(network.named_modules()).keys():
        module = network.get_submodule(name)
        if name and not _is_fused(module):
            yield module
        for child_name, child in module.named_children():
            if f"{name}.{child_name}".strip(".") in containing or _is_fused(module) or _is_fused(child):
                continue
            yield from (child.modules() if any(map(_cuts_patches, child.modules())) else (child,))


def _is_fused(module: nn.Module) -> bool:
    """Whether hooks on a module or its parts would change its result in the last bits, or cannot be had.

    PyTorch runs its own encoder layers as one operation, in eval mode, unless a module in them has hooks.
    """
    if isinstance(module, (nn.TransformerEncoder, nn.TransformerEncoderLayer)):
        return not module.training and torch.backends.mha.get_fastpath_enabled()
    return isinstance(module, torch.jit.ScriptModule)


def _cuts_patches(module: nn.Module) -> bool:
    """Whether a module is a convolution whose windows do not overlap."""
    kernel, stride = getattr(module, "kernel_size", None), getattr(module, "stride", None)
    return isinstance(kernel, tuple) and kernel == stride and max(kernel) > 1


def _tensors(value: object) -> list[torch.Tensor]:
    return [tensor.detach() for _, tensor in _named_tensors(value) if tensor.ndim in (3, 4)]


def _named_tensors(value: object, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """(path, tensor) of every tensor in nested tuples, lists and dictionaries."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _named_tensors(part, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (tuple, list)):
        for index, part in enumerate(value):
            yield from _named_tensors(part, f"{path}.{index}" if path else str(index))
