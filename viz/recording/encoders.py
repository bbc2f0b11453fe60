"""What text encoders were given and returned before a network's first call: token ids, and the vectors made of them.

Which tokens a layer's keys are is then read from numbers: the network was given these very vectors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

Encoded = TypeVar("Encoded")
MOST_CALLS = 256  # of modules that were given token ids


@dataclass(frozen=True)
class EncoderCall:
    """One call of a module that was given token ids.

    Attributes:
        ids: (B, L), integers.
        outputs: (B, L, C) each: whatever it returned one vector per token in, and these after a norm.
    """

    module: nn.Module
    ids: torch.Tensor
    outputs: list[torch.Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """Part of the vectors that a network was given: made by one encoder, of one row of token ids.

    Attributes:
        first: the first token.
        ids: (L,).
    """

    module: nn.Module
    first: int
    ids: torch.Tensor


class Listener:
    """Takes down the calls of text encoders, in this thread, while it listens; it changes nothing in them."""

    def __init__(self) -> None:
        self.calls: list[EncoderCall] = []
        self._thread = threading.get_ident()
        self._hooks = ExitStack()

    def start(self) -> None:
        """Listen to all modules: nobody says beforehand which ones encode text."""
        self._hooks.callback(register_module_forward_hook(self._heard, with_kwargs=True).remove)

    def stop(self) -> None:
        """Listen no longer; the calls are kept."""
        self._hooks.close()

    def forget(self) -> None:
        """Let go of all tensors."""
        self.calls = []

    def _heard(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        if torch.compiler.is_compiling() or threading.get_ident() != self._thread:
            return
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
        if given is None:
            return
        if given.ndim == 2 and not given.is_floating_point() and given.dtype != torch.bool:
            made = [tensor for tensor in _tensors(output) if tensor.shape[:-1] == given.shape]
            if made and len(self.calls) < MOST_CALLS:
                self.calls.append(EncoderCall(module, given.detach().clone(), made))
        elif given.ndim == 3 and "Norm" in type(module).__name__ and isinstance(output, torch.Tensor):
            for call in self.calls:
                if output.shape == given.shape and any(_same(given, tensor) for tensor in call.outputs):
                    call.outputs.append(output)


def hear(encode: Callable[[], Encoded]) -> tuple[Encoded, list[EncoderCall]]:
    """What a function returns, and the calls of text encoders in it."""
    listener = Listener()
    listener.start()
    try:
        return encode(), listener.calls
    finally:
        listener.stop()


def pieces_of(vectors: torch.Tensor, calls: list[EncoderCall]) -> list[list[Piece]] | None:
    """Which calls made the vectors (M, C) that a network was given; None if some of them are of no known origin.

    Returns:
        For each run of tokens, in order, the pieces whose channels lie side by side in it; none for a run of zeros.
    """
    runs: list[list[Piece]] = []
    first = 0
    candidates = [(call, output) for call in reversed(calls) for output in call.outputs]
    while first < len(vectors):
        pieces: list[Piece] = []
        channel, length = 0, len(vectors) - first
        while channel < vectors.shape[1]:
            found = _find(vectors[first:, channel:], candidates, length if pieces else None)
            if found is None:
                break
            call, row, output = found
            length = output.shape[1]
            pieces.append(Piece(call.module, first, call.ids[row]))
            channel += output.shape[2]
        if vectors[first : first + length, channel:].any():
            return None
        runs.append(pieces)
        first += length
    return runs if any(runs) else None


def _find(
    vectors: torch.Tensor, candidates: list[tuple[EncoderCall, torch.Tensor]], length: int | None
) -> tuple[EncoderCall, int, torch.Tensor] | None:
    """The call, its row and its output that vectors (M, C) begin with, in tokens and channels."""
    for call, output in candidates:
        _, tokens, width = output.shape
        if tokens > len(vectors) or width > vectors.shape[1] or length not in (None, tokens):
            continue
        part = vectors[:tokens, :width]
        for row, one in enumerate(output):
            if torch.equal(one[:1].to(part), part[:1]) and torch.equal(one.to(part), part) and part.any():
                return call, row, output
    return None


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of three dimensions in nested tuples, lists and dictionaries, detached."""
    if isinstance(value, torch.Tensor):
        if value.ndim == 3:
            yield value.detach() if value.requires_grad else value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
