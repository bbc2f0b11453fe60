"""Attention with pixels and words in one softmax, as keys and often as queries, each with projections of their own.

The softmax does not depend on the order of its keys, so none can be told from a module's output. These probes put the
module's own tokens first, as Stable Diffusion 3 does, unless only the keys are joined.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from viz.probes.separate import hint_of, is_fused, normed
from viz.probes.site import (
    Reading,
    Site,
    Tap,
    Unprovable,
    attribute,
    first_of_sequence,
    heads_of,
    into,
    looks_for,
    out_of,
    to_heads,
)


@looks_for("add_k_proj")
def added_projections(module: Any) -> Site | None:
    """`to_q`, `to_k`, `to_v` for the pixels, `add_k_proj`, `add_v_proj` for the words: diffusers' `Attention`.

    With `add_q_proj` the words are queries, too (joint attention, the MM-DiT of Stable Diffusion 3: Esser et al. 2024,
    arXiv 2403.03206). Their part of the output goes into `to_add_out`; a block that needs it no more returns it as it
    is. Without, as in the U-Nets of DeepFloyd IF and Kandinsky, only pixels look, at words and pixels, or at words
    alone (`to_k` is None).
    """
    if not all(isinstance(getattr(module, name, None), nn.Module) for name in ("to_q", "add_k_proj", "add_v_proj")):
        return None
    if is_fused(module):
        raise Unprovable("its projections are fused, so to_q and to_k are never called; unfuse them before recording")
    projection = first_of_sequence(attribute(module, "to_out"))
    if not isinstance(projection, nn.Module):
        raise Unprovable("it has no output projection (to_out is None), so its output shows nowhere")
    if (getattr(module, "to_k", None) is None) != (getattr(module, "to_v", None) is None):
        raise Unprovable("it lacks one of to_k and to_v")
    if attribute(module, "add_q_proj") is not None:
        return _joint(module, projection)
    heads, end = heads_of(module), into(projection)
    added = out_of(module.add_k_proj), out_of(module.add_v_proj)
    if getattr(module, "to_k", None) is None:
        words_only = Reading(
            lambda q, k, v: (_query(module, q), _key(module, k, True)), lambda q, k, v: to_heads(v, heads)
        )
        return Site((out_of(module.to_q), *added), end, (words_only,), hint=lambda: hint_of(module))
    reading = Reading(
        scores=lambda q, k, v, ak, av: (_query(module, q), _joined(_key(module, ak, True), _key(module, k))),
        values=lambda q, k, v, ak, av: _joined(to_heads(av, heads), to_heads(v, heads)),
    )
    taps = out_of(module.to_q), out_of(module.to_k), out_of(module.to_v), *added
    return Site(
        taps, end, (reading,), hint=lambda: hint_of(module), key_taps=(3, 1), follow_always=_has_own_code(module)
    )


def _joint(module: Any, projection: nn.Module) -> Site:
    if getattr(module, "to_k", None) is None:
        raise Unprovable("it has no keys of its own (to_k is None), though its words are queries")
    heads = heads_of(module)
    reading = Reading(
        scores=lambda q, k, v, aq, ak, av: (
            _joined(_query(module, q), _query(module, aq, True)),
            _joined(_key(module, k), _key(module, ak, True)),
        ),
        values=lambda q, k, v, aq, ak, av: _joined(to_heads(v, heads), to_heads(av, heads)),
    )
    names = "to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"
    output = attribute(module, "to_add_out")
    words = into(output) if isinstance(output, nn.Module) else Tap(module, _second_result)
    return Site(
        tuple(out_of(getattr(module, name)) for name in names),
        into(projection),
        (reading,),
        hint=lambda: hint_of(module),
        more=(words,),
        query_taps=(0, 3),
        key_taps=(1, 4),
        follow_always=_has_own_code(module),
    )


def _has_own_code(module: Any) -> bool:
    """Whether a processor that is not diffusers' own, and may take other words at some steps, runs the module."""
    return not type(getattr(module, "processor", None)).__module__.startswith("diffusers.")


def _query(module: Any, tokens: Tensor, added: bool = False) -> Tensor:
    return normed(tokens, heads_of(module), attribute(module, "norm_added_q" if added else "norm_q"))


def _key(module: Any, tokens: Tensor, added: bool = False) -> Tensor:
    return normed(tokens, heads_of(module), attribute(module, "norm_added_k" if added else "norm_k"))


def _joined(first: Tensor, second: Tensor) -> Tensor:
    """(H, N, d) and (H, M, d) to (H, N + M, d)."""
    return torch.cat([first, second], dim=1)


def _second_result(args: tuple, kwargs: dict, output: Any) -> Tensor:
    if not isinstance(output, tuple) or len(output) < 2:
        raise Unprovable("it has no projection for the output of its words (to_add_out), and does not return it either")
    return output[1]
