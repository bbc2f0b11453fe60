"""What a probe answers: where forward hooks see one attention module's q, k, v and output, and how to read them.

A probe is a function from a module to a `Site`, or to None when the module is not of its family. It goes by
structure, never by class name, and raises `Unprovable` for a module it knows and must refuse. Nothing it says is taken
on trust: while recording, the module's output is recomputed from what the site gave. One for a module of your own:

    from viz.probes import PROBES, Reading, Site, into, out_of, to_heads

    def my_probe(module):
        if not all(hasattr(module, name) for name in ("wq", "wk", "wv", "wo", "heads")):
            return None
        taps = out_of(module.wq), out_of(module.wk), out_of(module.wv)  # seen as (tokens, channels), one picture each
        reading = Reading(
            scores=lambda q, k, v: (to_heads(q, module.heads), to_heads(k, module.heads)),  # (H, N, d), (H, M, d)
            values=lambda q, k, v: to_heads(v, module.heads),  # (H, M, d)
        )
        return Site(taps, into(module.wo), (reading,))  # what goes into wo is softmax(q·K)·V, heads side by side

    PROBES.append(my_probe)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Heads = tuple[torch.Tensor, ...]
Read = Callable[[tuple, dict, Any], torch.Tensor]


class Unprovable(ValueError):
    """A module is attention, but has no map or no place to hook; the message says why."""


@dataclass(frozen=True)
class Tap:
    """One tensor that a forward hook on `module` sees.

    Attributes:
        read: from the module's positional arguments, its named ones, and its output (None before it ran).
        before: look before the module runs, instead of after.
        batch: the dimension that counts the pictures.
        channels_first: a picture of it is (channels, …), not (…, channels).
        carried: what was taken off to get what is read, whose rounding therefore stays in it; read like it.
    """

    module: nn.Module
    read: Read
    before: bool = False
    batch: int = 0
    channels_first: bool = False
    carried: Read | None = None

    def picture(self, tensor: torch.Tensor, index: int) -> torch.Tensor:
        """One picture of what was read, as (tokens, channels)."""
        one = tensor.select(self.batch, index)
        return one.flatten(1).transpose(0, 1) if self.channels_first else one.reshape(-1, one.shape[-1])


@dataclass(frozen=True)
class Reading:
    """How to read q, k and v from what the taps saw; each function gets one (tokens, channels) a tap.

    Attributes:
        scores: gives q (H, N, d) and k (H, M, d).
        values: gives v, (H, M, dv). It is called once a layer, for the proof.
        scale: what q·K is multiplied by before the softmax; None means 1/√d.
    """

    scores: Callable[..., Heads]
    values: Callable[..., torch.Tensor]
    scale: float | None = None


@dataclass(frozen=True)
class Site:
    """Where one attention module shows itself.

    Attributes:
        taps: what has to be seen before its output; the first one holds q.
        end: softmax(q·K)·V, one (N, C) a picture: the heads side by side (C = H·dv), or added up (C = dv).
        readings: ways to read the taps. The one whose result is the module's own output is taken.
    """

    taps: tuple[Tap, ...]
    end: Tap
    readings: tuple[Reading, ...]


Probe = Callable[[nn.Module], Site | None]


def looks_for(*names: str) -> Callable[[Probe], Probe]:
    """Says that a probe answers None for every module that holds no module and no parameter of one of these names.

    It is then not asked about those: most modules are something else, and asking takes its time.
    """

    def mark(probe: Probe) -> Probe:
        probe.looks_for = frozenset(names)
        return probe

    return mark


def out_of(module: nn.Module) -> Tap:
    """What a projection returns."""
    return Tap(module, lambda args, kwargs, output: output, channels_first=channels_first(module))


def into(module: nn.Module) -> Tap:
    """What a projection is given."""
    return Tap(module, lambda args, kwargs, _: first(args, kwargs), True, channels_first=channels_first(module))


def first(args: tuple, kwargs: dict) -> torch.Tensor:
    """A call's first argument, named or not."""
    return args[0] if args else next(iter(kwargs.values()))


def channels_first(module: nn.Module) -> bool:
    """Whether a projection works on (B, C, …), as convolutions do."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.ndim > 2


def to_heads(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """(N, H·d) to (H, N, d)."""
    return tokens.reshape(*tokens.shape[:-1], heads, -1).transpose(-3, -2)


def attribute(module: nn.Module, *names: str) -> Any:
    """The first of the attributes that the module has and that is not None; None if it has none of them."""
    return next((value for name in names if (value := getattr(module, name, None)) is not None), None)


def heads_of(module: nn.Module) -> int:
    """How many heads a module says it has.

    Raises:
        Unprovable: when it does not say.
    """
    heads = attribute(module, "heads", "num_heads", "num_attention_heads", "n_heads", "n_head")
    if not isinstance(heads, int) or heads < 1:
        raise Unprovable("it does not say how many heads it has (heads, num_heads or num_attention_heads)")
    return heads


def last_linear(output: nn.Module) -> nn.Module:
    """What is called first of an output projection: it may be a sequence that ends in dropout or a norm."""
    return output[0] if isinstance(output, (nn.ModuleList, nn.Sequential)) else output
