"""Attention with separate projections for q, k and v."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from viz.probes.site import (
    Reading,
    Site,
    Tap,
    Unprovable,
    attribute,
    first_argument,
    first_of_sequence,
    first_result,
    heads_of,
    into,
    looks_for,
    out_of,
    to_heads,
)


@looks_for("to_q")
def separate_projections(module: Any) -> Site | None:
    """`to_q`, `to_k`, `to_v`, `to_out`: diffusers' `Attention`, latent diffusion's `CrossAttention`, k-diffusion's."""
    if not all(hasattr(module, name) for name in ("to_q", "to_k", "to_v", "to_out")):
        return None
    if is_fused(module):
        raise Unprovable("its projections are fused, so to_q and to_k are never called; unfuse them before recording")
    if attribute(module, "add_k_proj") is not None:
        return None  # see viz.probes.joint
    if module.to_q is None or module.to_k is None or module.to_v is None:
        raise Unprovable("it lacks one of to_q, to_k and to_v")
    projection = first_of_sequence(module.to_out)
    if not isinstance(projection, nn.Module):
        raise Unprovable("it has no output projection (to_out is None), so its output shows nowhere")
    # diffusers' fused kernel scales by 1/√d whatever `attn.scale` is; in the other libraries `scale` is 1/√d.
    site = _site(module, ("to_q", "to_k", "to_v"), into(projection), heads_of(module), None)
    return replace(site, hint=lambda: hint_of(module))


def is_fused(module: Any) -> bool:
    """Whether one projection makes q, k and v. diffusers leaves the flag when it undoes that, but not the processor."""
    processor = type(getattr(module, "processor", None)).__name__
    return getattr(module, "fused_projections", False) and not processor.startswith("AttnProcessor")


def hint_of(module: Any) -> str | None:
    """Why the output of one of diffusers' modules is no softmax(q·K)·V, if its processor shows it."""
    processor = getattr(module, "processor", None)
    if getattr(processor, "to_k_ip", None) is not None:
        return "a second attention, to an image prompt, is added to its output (to_k_ip)"
    if "PAG" in type(processor).__name__:
        return "perturbed-attention guidance replaces its map for one part of the batch"
    return None


@looks_for("query", "q_proj")
def query_key_value(module: nn.Module) -> Site | None:
    """`query`, `key`, `value` or `q_proj`, `k_proj`, `v_proj`: the transformers library, and diffusers' old names.

    Some of these project their output themselves; others return it as it is.
    """
    triples = ("query", "key", "value"), ("q_proj", "k_proj", "v_proj")
    names = next((t for t in triples if all(isinstance(getattr(module, n, None), nn.Module) for n in t)), None)
    if names is None:
        return None
    projection = attribute(module, "proj_attn", "out_proj", "o_proj", "projection_layer", "dense")
    end = into(projection) if isinstance(projection, nn.Module) else Tap(module, first_result)
    return _site(module, names, end, heads_of(module), attribute(module, "scaling", "scale"))


@looks_for("q", "proj_q", "NIN_0")
def one_head_convolutions(module: nn.Module) -> Site | None:
    """One head, 1×1 convolutions for q, k and v: ports of Ho et al.'s `AttnBlock`, latent diffusion's autoencoder."""
    families = (
        ("q", "k", "v", "proj_out"),
        ("proj_q", "proj_k", "proj_v", "proj"),
        ("NIN_0", "NIN_1", "NIN_2", "NIN_3"),
    )
    family = next((f for f in families if all(isinstance(getattr(module, n, None), nn.Module) for n in f)), None)
    if family is None:
        return None
    *names, output = family
    taps = [out_of(getattr(module, name)) for name in names]
    end = into(getattr(module, output))
    if family[0] == "NIN_0":  # a matrix, not a convolution, but it takes (B, C, h, w), too
        taps = [Tap(tap.module, tap.read, channels_first=True) for tap in taps]
        end = Tap(end.module, end.read, before=True, channels_first=True)
    return Site(tuple(taps), end, (_reading(1, None, None, None),))


@looks_for("query_conv")
def sagan(module: Any) -> Site | None:
    """`query_conv`, `key_conv` of C/8 channels, `value_conv`, `gamma` (Zhang et al. 2019, "Self-Attention GANs").

    The module returns gamma·softmax(q·K)·V + x and does not scale the scores.
    """
    if not all(hasattr(module, name) for name in ("query_conv", "key_conv", "value_conv", "gamma")):
        return None
    names = "query_conv", "key_conv", "value_conv"

    def change(args: tuple, kwargs: dict, output: object) -> Tensor:
        return first_result(args, kwargs, output) - first_argument(args, kwargs)

    reading = Reading(
        scores=lambda q, k, v: (to_heads(q, 1), to_heads(k, 1)),
        values=lambda q, k, v: module.gamma * to_heads(v, 1),
        scale=1.0,
    )
    taps = tuple(out_of(getattr(module, name)) for name in names)
    end = Tap(module, change, channels_first=True, carried=lambda args, kwargs, _: first_argument(args, kwargs))
    return Site(taps, end, (reading,), module.gamma)


def _site(module: nn.Module, names: tuple[str, ...], end: Tap, heads: int, scale: float | None) -> Site:
    taps = tuple(out_of(getattr(module, name)) for name in names)
    norms = attribute(module, "norm_q", "q_norm", "query_norm"), attribute(module, "norm_k", "k_norm", "key_norm")
    return Site(taps, end, (_reading(heads, *norms, scale),))


def _reading(heads: int, norm_q: nn.Module | None, norm_k: nn.Module | None, scale: float | None) -> Reading:
    return Reading(
        scores=lambda q, k, v: (normed(q, heads, norm_q), normed(k, heads, norm_k)),
        values=lambda q, k, v: to_heads(v, heads),
        scale=float(scale) if isinstance(scale, (int, float)) else None,
    )


def normed(tokens: Tensor, heads: int, norm: nn.Module | None) -> Tensor:
    """(N, H·d) to (H, N, d), normalised over the channels of each head, or of all heads if the norm is that wide."""
    if norm is None:
        return to_heads(tokens, heads)
    weight = getattr(norm, "weight", None)
    across = heads > 1 and weight is not None and weight.numel() == tokens.shape[-1]
    return to_heads(norm(tokens), heads) if across else norm(to_heads(tokens, heads))
