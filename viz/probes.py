"""Probes: the few lines that know where one family of attention modules keeps its q, k, v, heads and scale.

A probe is a function from a module to a `Site`, or to None when the module is not of its family. It goes by
structure, never by class name. It raises `Unprovable` for a module it knows and must refuse. To add a family:

    def my_probe(module: nn.Module) -> Site | None:
        if not all(hasattr(module, name) for name in ("wq", "wk", "wv", "wo", "heads")):
            return None
        split = lambda q, k, v: tuple(to_heads(x, module.heads) for x in (q, k, v))
        return Site((module.wq, module.wk, module.wv), module.wo, split)

    PROBES.append(my_probe)

Nothing a probe says is taken on trust: `record` recomputes the module's output from what the site gave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

Heads = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Site:
    """Where one attention module shows itself to forward hooks.

    Attributes:
        projections: the modules whose outputs hold q, k and v; the first one's hold q.
        output: the module whose *input* is softmax(q·K)·V, heads joined: (B, N, H·d).
        split: turns the projections' outputs for one picture, (tokens, channels) each, into
            q (H, N, d), k (H, M, d) and v (H, M, d).
        scale: what the scores are multiplied by; None means 1/√d.
    """

    projections: tuple[nn.Module, ...]
    output: nn.Module
    split: Callable[..., Heads]
    scale: float | None = None


class Unprovable(ValueError):
    """A module is attention, but has no map or no place to hook; the message says why."""


def to_heads(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """(N, H·d) to (H, N, d)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(-3, -2)


def separate_projections(module: nn.Module) -> Site | None:
    """`to_q`, `to_k`, `to_v`, `to_out` and `heads`: diffusers' `Attention`, and latent diffusion's before it."""
    if not all(hasattr(module, name) for name in ("to_q", "to_k", "to_v", "to_out", "heads")):
        return None
    if getattr(module, "fused_projections", False):
        raise Unprovable("its projections are fused, so to_q and to_k are never called; unfuse them before recording")
    if module.to_q is None or module.to_k is None or module.to_v is None:
        raise Unprovable("it lacks one of to_q, to_k and to_v")
    if getattr(module, "added_kv_proj_dim", None) is not None:
        raise Unprovable("its keys are joined by added ones (added_kv_proj_dim) that belong to no pixel")
    output = module.to_out[0] if isinstance(module.to_out, (nn.ModuleList, nn.Sequential)) else module.to_out
    norm_q, norm_k = getattr(module, "norm_q", None), getattr(module, "norm_k", None)

    def split(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Heads:
        q, k, v = (to_heads(tokens, module.heads) for tokens in (query, key, value))
        return (norm_q(q) if norm_q is not None else q, norm_k(k) if norm_k is not None else k, v)

    # diffusers' fused kernel always scales by 1/√d, whatever `attn.scale` says.
    return Site((module.to_q, module.to_k, module.to_v), output, split)


PROBES: list[Callable[[nn.Module], Site | None]] = [separate_projections]


def find_sites(network: nn.Module) -> tuple[dict[str, Site], dict[str, str]]:
    """All attention modules of a network: {name: site}, and {name: why it was refused}.

    Raises:
        ValueError: when no probe recognises anything, naming the kinds of modules that were seen.
    """
    sites: dict[str, Site] = {}
    skipped: dict[str, str] = {}
    for name, module in network.named_modules():
        try:
            site = next((site for probe in PROBES if (site := probe(module)) is not None), None)
        except Unprovable as reason:
            skipped[name] = str(reason)
        else:
            if site is not None:
                sites[name] = site
    if not sites and not skipped:
        seen = sorted({type(module).__name__ for module in network.modules()})
        known = ", ".join(probe.__name__ for probe in PROBES)
        raise ValueError(
            f"no attention was found in {type(network).__name__} by the probes ({known}); saw {', '.join(seen)}"
        )
    return sites, skipped
