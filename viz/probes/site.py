"""What a probe returns: where forward hooks see the q, k, v and output of one attention module, and how to read them.

A probe is a function that takes a module and returns a `Site`, or None if the module is not of its family. It goes by
structure, never by class name, and raises `Unprovable` for a module that it knows but has to refuse. Nothing it returns
is taken on trust: while recording, the module's output is recomputed from the tensors that the site names. The lesson
needs no more than that. A probe for a module of your own:

    from viz.probes import PROBES, Reading, Site, into, out_of, to_heads

    def my_probe(module):
        if not all(hasattr(module, name) for name in ("wq", "wk", "wv", "wo", "heads")):
            return None
        taps = out_of(module.wq), out_of(module.wk), out_of(module.wv)  # read as (tokens, channels) for each picture
        reading = Reading(
            scores=lambda q, k, v: (to_heads(q, module.heads), to_heads(k, module.heads)),  # (H, N, d), (H, M, d)
            values=lambda q, k, v: to_heads(v, module.heads),  # (H, M, d)
        )
        return Site(taps, into(module.wo), (reading,))  # the input of wo is softmax(q·K)·V, heads side by side

    PROBES.append(my_probe)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

Heads = tuple[torch.Tensor, ...]
Read = Callable[[tuple, dict, Any], torch.Tensor]


class Unprovable(ValueError):
    """A module is attention but has no map, or no place to hook; the message says why."""


@dataclass(frozen=True)
class Tap:
    """One tensor that a forward hook on `module` sees.

    Attributes:
        read: takes the module's positional arguments, its keyword arguments and its output (None before it ran).
        before: whether to look before the module runs instead of after.
        batch: the dimension that counts the pictures.
        channels_first: whether one picture is (channels, …) rather than (…, channels).
        carried: reads the tensor that `read` subtracted and whose rounding therefore remains in the result.
    """

    module: nn.Module
    read: Read
    before: bool = False
    batch: int = 0
    channels_first: bool = False
    carried: Read | None = None

    def picture(self, tensor: torch.Tensor, index: int) -> torch.Tensor:
        """One picture of a tensor that was read, as (tokens, channels)."""
        one = tensor.select(self.batch, index)
        return one.flatten(1).transpose(0, 1) if self.channels_first else one.reshape(-1, one.shape[-1])

    def hook(self, callback: Callable[..., None]) -> RemovableHandle:
        """Call callback(module, args, kwargs), followed by the output unless `before`, each time the module runs."""
        register = self.module.register_forward_pre_hook if self.before else self.module.register_forward_hook
        return register(callback, with_kwargs=True)


@dataclass(frozen=True)
class Reading:
    """How to read q, k and v from the captured tensors; each function takes one (tokens, channels) per tap.

    Attributes:
        scores: returns q (H, N, d) and k (H, M, d).
        values: returns v (H, M, dv), for the proof.
        scale: multiplies q·K before the softmax; None means 1/√d.
        registers: how many keys `scores` puts before those of the tokens, such as learned ones.
    """

    scores: Callable[..., Heads]
    values: Callable[..., torch.Tensor]
    scale: float | None = None
    registers: int = 0


@dataclass(frozen=True)
class Site:
    """Where one attention module shows its q, k, v and output.

    Attributes:
        taps: the tensors to capture before the output; the first one holds q.
        end: softmax(q·K)·V, one (N, C) per picture: the heads side by side (C = H·dv) or added up (C = dv).
        readings: ways to read the taps. The one that reproduces the module's own output is used.
        gamma: the learned factor of the attention's contribution, if there is one; `Reading.values` includes it.
        values_projected: whether `Reading.values` includes the output projection, too, so that heads add up.
        hint: called when the module's output cannot be recomputed; returns the reason if the module shows one.
        more: where the module shows further parts of softmax(q·K)·V, of queries that follow those of `end`.
        query_taps, key_taps: indices of the taps whose inputs the queries and keys are made of, in the order in which
            `Reading.scores` joins them. The first tap makes the queries that `end` shows.
        follow_always: whether what the keys are made of may change from step to step, and has to be looked at in each.
    """

    taps: tuple[Tap, ...]
    end: Tap
    readings: tuple[Reading, ...]
    gamma: torch.Tensor | float | None = None
    values_projected: bool = False
    hint: Callable[[], str | None] = lambda: None
    more: tuple[Tap, ...] = ()
    query_taps: tuple[int, ...] = (0,)
    key_taps: tuple[int, ...] = (1,)
    follow_always: bool = False

    @property
    def ends(self) -> tuple[Tap, ...]:
        """All parts of softmax(q·K)·V, in the order of the queries."""
        return self.end, *self.more

    @property
    def query_projection(self) -> nn.Module | None:
        """The module that makes q, alone or packed with k and v; None if the first tap sees an input."""
        return None if self.taps[0].before else self.taps[0].module

    @property
    def tokens(self) -> Tap:
        """The input of the query projection, one row per token; without one, the tensor that the first tap sees."""
        tap = self.taps[0]
        return (
            tap if tap.before else replace(tap, read=lambda args, kwargs, _: first_argument(args, kwargs), before=True)
        )

    @property
    def output_projection(self) -> nn.Module | None:
        """The module that takes softmax(q·K)·V; None if the attention module returns that itself."""
        return self.end.module if self.end.before else None


Probe = Callable[[nn.Module], Site | None]


def looks_for(*names: str) -> Callable[[Probe], Probe]:
    """Mark a probe that returns None for every module without a child or a parameter of one of these names.

    `find_sites` then skips such modules: most are no attention, and asking every probe about each takes time.
    """

    def mark(probe: Probe) -> Probe:
        probe.looks_for = frozenset(names)  # type: ignore[attr-defined]
        return probe

    return mark


def out_of(module: nn.Module) -> Tap:
    """The output of a projection."""
    return Tap(module, lambda args, kwargs, output: output, channels_first=channels_first(module))


def into(module: nn.Module) -> Tap:
    """The input of a projection."""
    return Tap(
        module, lambda args, kwargs, _: first_argument(args, kwargs), True, channels_first=channels_first(module)
    )


def first_argument(args: tuple, kwargs: dict) -> torch.Tensor:
    """The first argument of a call, positional or not."""
    return args[0] if args else next(iter(kwargs.values()))


def first_result(args: tuple, kwargs: dict, output: Any) -> torch.Tensor:
    """The output of a call, or its first part if there are several; a `Tap.read`."""
    return output if isinstance(output, torch.Tensor) else output[0]


def channels_first(module: nn.Module) -> bool:
    """Whether a projection works on (B, C, …), as convolutions do."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.ndim > 2


def weights_of(projection: nn.Module | None) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The matrix (out, in) and the bias (out,), zeros if it has none, of a projection; None if it is not one matrix.

    Knows linear layers, 1×1 convolutions and score_sde's `NIN`, which holds `W` (in, out) and `b`.
    """
    weight, matrix = getattr(projection, "weight", None), getattr(projection, "W", None)
    if isinstance(weight, torch.Tensor) and weight.ndim >= 2 and weight[0, 0].numel() == 1:
        weight, bias = weight.flatten(1), getattr(projection, "bias", None)
    elif isinstance(matrix, torch.Tensor) and matrix.ndim == 2:
        weight, bias = matrix.T, getattr(projection, "b", None)
    else:
        return None
    return weight.detach(), weight.new_zeros(len(weight)) if bias is None else bias.detach()


def to_heads(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """(N, H·d) to (H, N, d)."""
    return tokens.reshape(*tokens.shape[:-1], heads, -1).transpose(-3, -2)


def attribute(module: nn.Module, *names: str) -> Any:
    """The first of these attributes that the module has and that is not None; None if there is no such attribute."""
    return next((value for name in names if (value := getattr(module, name, None)) is not None), None)


def heads_of(module: nn.Module) -> int:
    """The number of heads that a module states.

    Raises:
        Unprovable: when it states none.
    """
    heads = attribute(module, "heads", "num_heads", "num_attention_heads", "n_heads", "n_head")
    if not isinstance(heads, int) or heads < 1:
        raise Unprovable("its number of heads is unknown (expected heads, num_heads or num_attention_heads)")
    return heads


def first_of_sequence(output: nn.Module) -> nn.Module:
    """The projection itself: an output projection may be a sequence that ends in dropout or a norm."""
    return output[0] if isinstance(output, (nn.ModuleList, nn.Sequential)) else output
