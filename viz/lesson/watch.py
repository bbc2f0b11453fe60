"""One attention layer in one call of its network: its inputs, its outputs and its weights.

    layer_call = watch_recipe(pipeline, recipe, "up_blocks.2.attentions.1.transformer_blocks.0.attn1", step=12)
    layer_call.features, layer_call.query, layer_call.value, layer_call.output

A trace keeps Q and K only. To get the rest, the network is called once more with the arguments it had at that step.
These are small; `replay` collects them for all steps by following the recipe once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from models.protocol import Pipeline
from viz.layer import Layer
from viz.probes import Site, Tap, find_sites, into
from viz.probes.site import attribute, first_result, weights_of
from viz.recipe import Recipe
from viz.recording.branches import PictureChoice
from viz.recording.call import find_sample, find_timestep, timestep_number
from viz.recording.recorder import record
from viz.recording.run import perform
from viz.trace import Trace

# In a transformer block the norm and the residual lie outside the attention module: {its name: (the norm before it,
# the norms after it, of which the first that exists is given the sum)}.
NORMS_AROUND = {
    "attn1": ("norm1", ("norm2", "norm3")),
    "attn2": ("norm2", ("norm3",)),
    "attention": ("norm1", ("norm2",)),
}


@dataclass(frozen=True)
class Call:
    """The arguments of one call of a network, and the picture of its batch to watch."""

    args: tuple
    kwargs: dict = field(default_factory=dict)
    index: int = 0

    @property
    def sample(self) -> torch.Tensor:
        """The noisy pictures, (B, C, h, w)."""
        return find_sample(self.args, self.kwargs)

    def timestep(self, network: nn.Module) -> float | None:
        """The timestep among these arguments of `network`."""
        return timestep_number(find_timestep(network, self.args, self.kwargs))


class Replay(NamedTuple):
    """The calls of the network in one run, one per step, and the picture (h, w, 3) uint8 that it drew."""

    calls: list[Call]
    picture: np.ndarray


@dataclass(frozen=True)
class LayerCall:
    """One attention layer in one call of its network, for one picture. Shapes as in `viz.trace`; C channels.

    Attributes:
        features: (C, h, w), the block's input, before any norm; the residual connection carries it past the attention.
        given: (C, h, w), the input of the attention module itself: in a transformer block, normalised features.
        tokens: (N, C), the input of W_q, row i for cell i.
        query, key, value: (H, N, d), (H, M, d), (H, M, dv).
        query_weight, query_bias: W_q, (H, d, C), and (H, d); None where q is more than a projection of its cell.
        out_weight, out_bias: W_out, (C, H·dv), and (C,); None where heads are not projected.
        gamma: the learned factor of the attention's contribution; None if there is none.
        rescale: the sum is divided by this at the end; 1 nearly everywhere.
        residual: whether `features` are added.
        output: (N, C), the block's own output, with the features where it adds them.
        other_args, other_kwargs: the attention module's other arguments, such as the words of cross-attention.
    """

    layer: Layer
    timestep: float | None
    features: torch.Tensor
    given: torch.Tensor
    tokens: torch.Tensor
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    query_weight: torch.Tensor | None
    query_bias: torch.Tensor | None
    out_weight: torch.Tensor | None
    out_bias: torch.Tensor | None
    gamma: float | None
    rescale: float
    residual: bool
    output: torch.Tensor
    other_args: tuple = ()
    other_kwargs: dict = field(default_factory=dict)

    def project(self, joined: torch.Tensor) -> torch.Tensor:
        """The attention's contribution (…, C): joined heads (…, H·dv) through W_out and times gamma."""
        if self.out_weight is not None:
            joined = nn.functional.linear(joined, self.out_weight, self.out_bias)
        return joined if self.gamma is None else self.gamma * joined


def watch_recipe(pipeline: Pipeline, recipe: Recipe, layer: str, step: int) -> LayerCall:
    """Follow a recipe again and watch one layer at one step.

    To watch several, keep the result of `replay` and call `watch_layer`: each then costs one call of the network.

    Raises:
        IndexError: for a step that the recipe does not have.
        KeyError, ValueError: as `watch_layer`.
    """
    return watch_layer(pipeline.unet, replay(pipeline, recipe).calls[step], layer)


def replay(pipeline: Pipeline, recipe: Recipe) -> Replay:
    """Follow a recipe again and keep the arguments of the network's calls, as `replay_run` does."""

    def draw() -> np.ndarray:
        picture = perform(recipe, pipeline, record_steps=1).picture
        assert picture is not None  # every run draws one
        return picture

    return replay_run(pipeline.unet, draw)


def replay_run(network: nn.Module, draw: Callable[[], np.ndarray]) -> Replay:
    """Call `draw` and keep the arguments of the network's calls in it; `draw` returns its picture (h, w, 3) uint8.

    The picture to watch is the first conditional one, where the pipeline's order is known, otherwise the first.
    """
    calls: list[Call] = []

    def keep(network: nn.Module, args: tuple, kwargs: dict) -> None:
        pictures, _ = PictureChoice().indices(network, args, kwargs, len(find_sample(args, kwargs)))
        index = next(iter(pictures.values()), 0)
        calls.append(Call(tuple(map(_copy, args)), {name: _copy(value) for name, value in kwargs.items()}, index))

    with network.register_forward_pre_hook(keep, with_kwargs=True):
        return Replay(calls, draw())


def _copy(value: object) -> object:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


@torch.no_grad()
def watch_layer(network: nn.Module, call: Call, layer: str) -> LayerCall:
    """Call the network once more and watch one of its attention layers.

    Raises:
        KeyError: when the network has no such layer.
        ValueError: when its output cannot be proved, or its heads cannot be told apart.
    """
    site, module = _site_of(network, layer), network.get_submodule(layer)
    outer = _outer_taps(network, layer)
    taps = outer | {"tokens": site.tokens} | {f"tap {index}": tap for index, tap in enumerate(site.taps)}
    tensors: dict[str, torch.Tensor] = {}
    other_arguments: dict[str, Any] = {}
    with ExitStack() as hooks:
        for name, tap in taps.items():
            hooks.enter_context(tap.hook(partial(_keep_tensor, tensors, name, tap)))
        keep = partial(_keep_other_arguments, other_arguments, call)
        hooks.enter_context(module.register_forward_pre_hook(keep, with_kwargs=True))
        trace = hooks.enter_context(
            record(network, layers=layer, steps=(0,), proof_width=None, guided=False, picture=call.index)
        )
        network(*call.args, **call.kwargs)
    for name in outer:  # whole blocks take and return (B, C, h, w) or (B, N, C)
        taps[name] = replace(taps[name], channels_first=tensors[name].ndim == 4)
    tokens = {name: taps[name].picture(tensor, call.index) for name, tensor in tensors.items()}
    return replace(_layer_call(trace, layer, site, module, tokens), **other_arguments)


def _site_of(network: nn.Module, layer: str) -> Site:
    sites, skipped = find_sites(network)
    if layer in skipped:
        raise ValueError(f"layer {layer!r} cannot be watched: {skipped[layer]}")
    if layer not in sites:
        raise KeyError(f"the network has no layer {layer!r}; its attention layers are {', '.join(sites)}")
    return sites[layer]


def _outer_taps(network: nn.Module, layer: str) -> dict[str, Tap]:
    """Where the features enter, where the attention module's own input does, and where the block's output appears."""
    parent, _, own_name = layer.rpartition(".")
    module, block = network.get_submodule(layer), network.get_submodule(parent)
    before, after = NORMS_AROUND.get(own_name, ("", ()))
    norm, next_norm = getattr(block, before, None), attribute(block, *after)
    if norm is None or next_norm is None:
        return {"features": into(module), "given": into(module), "output": Tap(module, first_result)}
    return {"features": into(norm), "given": into(module), "output": into(next_norm)}


def _keep_tensor(
    tensors: dict[str, torch.Tensor], name: str, tap: Tap, _: nn.Module, args: tuple, kwargs: dict, output: Any = None
) -> None:
    tensors[name] = tap.read(args, kwargs, output)


def _keep_other_arguments(arguments: dict[str, Any], call: Call, _: nn.Module, args: tuple, kwargs: dict) -> None:
    """Keep all arguments but the first, of the watched picture alone."""

    def one_picture(value: Any) -> Any:
        batched = isinstance(value, torch.Tensor) and value.ndim and len(value) == len(call.sample)
        return value[call.index : call.index + 1] if batched else value

    named = list(kwargs.items()) if args else list(kwargs.items())[1:]
    arguments["other_args"] = tuple(map(one_picture, args[1:]))
    arguments["other_kwargs"] = {name: one_picture(value) for name, value in named}


def _layer_call(
    trace: Trace, layer_name: str, site: Site, module: nn.Module, tokens: dict[str, torch.Tensor]
) -> LayerCall:
    """Combine the recording with the captured tensors of one picture, (tokens, channels) each."""
    layer, proof, key = trace.layers[layer_name], trace.proofs[layer_name], (trace.branches[-1], layer_name, 0)
    heads, _, width = proof.value.shape
    if site.values_projected or proof.output.shape[1] != heads * width:
        raise ValueError(f"the values of layer {layer_name!r} are already projected, so its heads cannot be told apart")
    cells = {name: _cells(layer, tensor).float() for name, tensor in tokens.items()}
    gamma = None if site.gamma is None else float(site.gamma)
    query_weight, query_bias = _query_weights(site, tokens, trace.queries[key])
    out_weight, out_bias = _output_weights(site, layer_name)
    layer_call = LayerCall(
        layer=layer,
        timestep=trace.timesteps[0],
        features=cells["features"].T.unflatten(1, layer.grid),
        given=cells["given"].T.unflatten(1, layer.grid),
        tokens=cells["tokens"],
        query=trace.queries[key][:, layer.pixel_queries].float(),
        key=trace.keys[key].float(),
        value=proof.value.float() if gamma is None else proof.value.float() / gamma,
        query_weight=query_weight,
        query_bias=query_bias,
        out_weight=out_weight,
        out_bias=out_bias,
        gamma=gamma,
        rescale=float(getattr(module, "rescale_output_factor", 1.0)),
        residual=False,
        output=cells["output"],
    )
    return replace(layer_call, residual=_adds_features(layer_call))


def _cells(layer: Layer, tensor: torch.Tensor) -> torch.Tensor:
    """The part (N, C) of a tensor of all tokens that belongs to pixels; a feature map holds nothing else."""
    return tensor if len(tensor) == layer.tokens else tensor[layer.pixel_queries]


def _query_weights(
    site: Site, tokens: dict[str, torch.Tensor], query: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | tuple[None, None]:
    """W_q (H, d, C) and its bias (H, d) if they alone make `query` (H, n, d) from the tokens; else None and None."""
    weights, inputs = weights_of(site.query_projection), tokens["tokens"]
    if weights is None or weights[0].shape[1] != inputs.shape[1]:
        return None, None
    parts = [tokens[f"tap {index}"] for index in range(len(site.taps))]
    rows = torch.cat([weights[0].T, weights[1][None]])  # (C + 1, H·d), or three times as wide where q, k, v are packed
    for reading in site.readings:
        if not torch.equal(reading.scores(*parts)[0].cpu(), query):
            continue  # not the reading that was proved
        try:  # the reading splits the projection's rows into heads as it splits its output
            by_head = reading.scores(rows, *parts[1:])[0].float()  # (H, C + 1, d)
        except (RuntimeError, ValueError):  # it does more than split, and needs a certain number of tokens
            return None, None
        weight, bias = by_head[:, :-1].transpose(1, 2), by_head[:, -1]
        recomputed = inputs.float() @ weight.transpose(1, 2) + bias[:, None]
        if torch.allclose(recomputed.cpu(), query.float(), rtol=1e-4, atol=1e-4):  # not where q is normalised
            return weight, bias
    return None, None


def _output_weights(site: Site, layer: str) -> tuple[torch.Tensor, torch.Tensor] | tuple[None, None]:
    """W_out (C, H·dv) and its bias (C,); None and None where the attention module returns the joined heads."""
    projection = site.output_projection
    if projection is None:
        return None, None
    weights = weights_of(projection)
    if weights is None:
        raise ValueError(
            f"the output projection of layer {layer!r}, a {type(projection).__name__}, has no weight matrix; "
            "expected a linear layer or a 1×1 convolution"
        )
    return weights[0].float(), weights[1].float()


def _adds_features(layer_call: LayerCall) -> bool:
    """Whether the block adds its features to the attention's contribution: the sum is nearer to its output then."""
    features = layer_call.features.flatten(1).T
    if features.shape != layer_call.output.shape:
        return False
    scores = layer_call.query @ layer_call.key.transpose(1, 2) * layer_call.layer.scale
    heads = torch.softmax(scores, dim=-1) @ layer_call.value  # (H, N, dv)
    contribution = layer_call.project(heads.transpose(0, 1).flatten(1))
    output = layer_call.output * layer_call.rescale
    return bool((contribution + features - output).abs().max() < (contribution - output).abs().max())
