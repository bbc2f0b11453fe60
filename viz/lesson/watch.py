"""Watching one attention layer at one step: everything it was given, made and put out, with its own weights.

    seen = watch(pipeline, recipe, "up_blocks.2.attentions.1.transformer_blocks.0.attn1", step=12)
    seen.features, seen.query, seen.value, seen.output

A trace keeps Q and K only. What else the lesson shows is had by showing the network once more what it was shown at
that step. What it was shown at each step is small, and `replay` finds it by following the recipe again, once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn

from viz.layer import Layer
from viz.recipe import Recipe
from viz.recording.recorder import record
from viz.recording.run import perform

QUERY_PROJECTIONS = ("to_q", "q", "query_conv", "qkv", "to_qkv", "query", "q_proj", "proj_q")
OUTPUT_PROJECTIONS = ("to_out", "proj_out", "proj", "proj_attn", "out_proj", "o_proj")

# In a transformer block the norm and the residual lie outside the attention module: {its name: (the norm before it,
# the norms after it, of which the first that is there is given the sum)}.
IN_TRANSFORMER = {
    "attn1": ("norm1", ("norm2", "norm3")),
    "attn2": ("norm2", ("norm3",)),
    "attention": ("norm1", ("norm2",)),
}


@dataclass(frozen=True)
class Call:
    """What the network was called with at one step."""

    args: tuple
    kwargs: dict

    @property
    def sample(self) -> torch.Tensor:
        """(B, C, h, w), the noisy pictures."""
        return next(v for v in (*self.args, *self.kwargs.values()) if isinstance(v, torch.Tensor) and v.ndim == 4)

    @property
    def timestep(self) -> float:
        return float(self.kwargs["timestep"] if "timestep" in self.kwargs else self.args[1])


@dataclass(frozen=True)
class Watched:
    """One attention layer in one call of its network, for one picture. Letters as in `viz.trace`; C channels.

    Attributes:
        features: (C, h, w), what came in, before any norm; what the residual connection carries past the attention.
        given: (C, h, w), what the attention module itself was given: in a transformer block, normalised features.
        tokens: (N, C), what W_q is applied to, row i for pixel i.
        query, key, value: (H, N, d), (H, M, d), (H, M, dv).
        query_weight, query_bias: W_q, (H, d, C), and (H, d); None where q is more than a projection of its pixel.
        out_weight, out_bias: W_out, (C, H·dv), and (C,); None where heads are not projected.
        gamma: the learned factor of the attention's contribution; None where there is none.
        rescale: what the sum is divided by at the end; 1 nearly everywhere.
        residual: whether `features` are added.
        output: (N, C), what the block itself put out, features added where it adds them.
        beside: the other arguments of the attention module, positional and named: the words, for cross-attention.
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
    beside: tuple[tuple, dict] = ((), {})

    def projected(self, joined: torch.Tensor) -> torch.Tensor:
        """Joined heads (…, H·dv) through W_out, and times gamma: the attention's contribution, (…, C)."""
        if self.out_weight is not None:
            joined = nn.functional.linear(joined, self.out_weight, self.out_bias)
        return joined if self.gamma is None else self.gamma * joined


def watch(pipeline, recipe: Recipe, layer: str, step: int) -> Watched:
    """Follow a recipe again, and watch one layer at one step.

    Raises:
        IndexError: for a step that the recipe does not have.
        KeyError, ValueError: for a layer that is not there or whose output cannot be proved.

    To watch many, keep what `replay` gives and use `watch_call`: one call of the network each.
    """
    return watch_call(pipeline.unet, replay(pipeline, recipe)[step], layer)


def replay(pipeline, recipe: Recipe) -> list[Call]:
    """What the network is called with at each step of a recipe."""
    return rerun(pipeline, recipe)[0]


def rerun(pipeline, recipe: Recipe) -> tuple[list[Call], np.ndarray]:
    """The same, and the picture (h, w, 3) uint8 that comes of it."""
    calls: list[Call] = []

    def keep(_, args: tuple, kwargs: dict) -> None:
        calls.append(Call(tuple(map(_copied, args)), {name: _copied(value) for name, value in kwargs.items()}))

    with pipeline.unet.register_forward_pre_hook(keep, with_kwargs=True):
        trace = perform(recipe, pipeline, record_steps=1)
    return calls, trace.picture


@torch.no_grad()
def watch_call(network: nn.Module, call: Call, layer: str) -> Watched:
    """Call the network once more and watch one layer of it. Errors as for `watch`."""
    try:
        module = network.get_submodule(layer)
    except AttributeError as error:
        raise KeyError(f"the network has no layer {layer!r}") from error
    projection, last = _first_of(module, QUERY_PROJECTIONS), _first_of(module, OUTPUT_PROJECTIONS)
    norm, end = _surroundings(network, layer)
    seen: dict[str, torch.Tensor] = {}
    beside: dict[str, tuple] = {}
    with ExitStack() as hooks:
        hooks.enter_context(module.register_forward_pre_hook(partial(_keep_others, beside), with_kwargs=True))
        hooks.enter_context(_keep_input(norm or module, seen, "features"))
        hooks.enter_context(_keep_input(module, seen, "given"))
        if projection is not None:
            hooks.enter_context(_keep_input(projection, seen, "tokens"))
        if end is not None:
            hooks.enter_context(_keep_input(end, seen, "output"))
        else:
            hooks.enter_context(
                module.register_forward_hook(lambda _, args, output: seen.update(output=_first(output)))
            )
        trace = hooks.enter_context(record(network, layers=layer, steps=(0,), proof_width=None))
        network(*call.args, **call.kwargs)
    found, index = trace.layers[layer], _index(call)
    one = {name: tensor[index].float() for name, tensor in seen.items()}
    watched = _watched(found, trace, module, projection, last, one)

    def of_one(value: object) -> object:
        batched = isinstance(value, torch.Tensor) and value.ndim and len(value) == len(call.sample)
        return value[index : index + 1] if batched else value

    positional, named = beside["others"]
    return replace(watched, beside=(tuple(map(of_one, positional)), {k: of_one(v) for k, v in named.items()}))


def _watched(
    layer: Layer, trace, module: nn.Module, projection: nn.Module | None, last: nn.Module | None, seen: dict
) -> Watched:
    where, gamma = (trace.branches[-1], layer.name, 0), getattr(module, "gamma", None)
    gamma = gamma.item() if isinstance(gamma, torch.Tensor) and gamma.numel() == 1 else None
    q, k, v = (x.float() for x in (trace.queries[where], trace.keys[where], trace.proofs[layer.name].value))
    given, features, output = (_pixels(seen[name], layer) for name in ("given", "features", "output"))
    tokens = given if "tokens" not in seen else _pixels(seen["tokens"], layer, _is_convolution(projection))
    weight, bias = _query_weights(projection, tokens, q)
    out_weight, out_bias = _weights(last)
    if out_weight is not None and out_weight.shape[1] != v.shape[0] * v.shape[2]:
        raise ValueError(f"{layer.name!r} gives its values already projected, so its heads cannot be taken apart")
    watched = Watched(
        layer=layer,
        timestep=trace.timesteps[0],
        features=_grid(features, layer),
        given=_grid(given, layer),
        tokens=tokens,
        query=q,
        key=k,
        value=v if gamma is None else v / gamma,  # a probe proves the output with gamma in the values
        query_weight=weight,
        query_bias=bias,
        out_weight=out_weight,
        out_bias=out_bias,
        gamma=gamma,
        rescale=float(getattr(module, "rescale_output_factor", 1.0)),
        residual=False,
        output=output,
    )
    return _with_residual(watched, features)


def _with_residual(watched: Watched, features: torch.Tensor) -> Watched:
    """Whether the features are added is read off the numbers: one of the two sums is what the block put out."""
    if features.shape != watched.output.shape:
        return watched
    attention = torch.softmax(watched.query @ watched.key.transpose(1, 2) * watched.layer.scale, dim=-1)
    without = watched.projected((attention @ watched.value).transpose(0, 1).flatten(1))
    wanted = watched.output * watched.rescale
    added = (without + features - wanted).abs().max() < (without - wanted).abs().max()
    return replace(watched, residual=bool(added))


def _surroundings(network: nn.Module, layer: str) -> tuple[nn.Module | None, nn.Module | None]:
    parent, _, own = layer.rpartition(".")
    block, (before, after) = network.get_submodule(parent), IN_TRANSFORMER.get(own, ("", ()))
    norm, end = (
        getattr(block, before, None),
        next((m for n in after if (m := getattr(block, n, None)) is not None), None),
    )
    return (norm, end) if norm is not None and end is not None else (None, None)


def _first_of(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    found = next((child for name in names if isinstance(child := getattr(module, name, None), nn.Module)), None)
    return found[0] if isinstance(found, (nn.ModuleList, nn.Sequential)) else found


def _keep_input(module: nn.Module, seen: dict, name: str):
    def keep(_, args: tuple, kwargs: dict) -> None:
        seen[name] = args[0] if args else next(iter(kwargs.values()))

    return module.register_forward_pre_hook(keep, with_kwargs=True)


def _keep_others(beside: dict, _, args: tuple, kwargs: dict) -> None:
    beside["others"] = (args[1:], kwargs) if args else ((), dict(list(kwargs.items())[1:]))


def _first(output: object) -> torch.Tensor:
    return output if isinstance(output, torch.Tensor) else output[0]


def _copied(value: object) -> object:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _index(call: Call) -> int:
    """Which picture of the batch is recorded: the first of the conditional half, where the batch is guided."""
    sample = call.sample
    half, odd = divmod(len(sample), 2)
    return half if half and not odd and torch.equal(sample[:half], sample[half:]) else 0


def _pixels(tensor: torch.Tensor, layer: Layer, channels_first: bool = False) -> torch.Tensor:
    """(C, h, w), (C, N) or (N, C) to (N, C), without tokens that are no pixels."""
    tokens = tensor.flatten(1).T if channels_first or tensor.ndim == 3 else tensor
    return tokens[len(tokens) - layer.tokens :]


def _grid(pixels: torch.Tensor, layer: Layer) -> torch.Tensor:
    return pixels.T.unflatten(1, layer.grid)


def _is_convolution(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return weight is not None and weight.ndim > 2


def _weights(projection: nn.Module | None) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    weight = getattr(projection, "weight", None)
    if weight is None:
        return None, None
    return weight.detach().float().flatten(1), None if projection.bias is None else projection.bias.detach().float()


def _query_weights(
    projection: nn.Module | None, tokens: torch.Tensor, q: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """W_q (H, d, C) and its bias (H, d), if they make `q` of `tokens`; else None and None."""
    weight, bias = _weights(projection)
    if weight is None or weight.shape[1] != tokens.shape[1]:
        return None, None
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    (heads, _, d), rows = q.shape, len(weight)
    # Alone, or packed with k and v in one of the usual orders.
    if rows == heads * d:
        orders: list[Callable] = [lambda w: w.unflatten(0, (heads, d))]
    elif rows == 3 * heads * d:
        orders = [
            lambda w: w.unflatten(0, (3, heads, d))[0],
            lambda w: w.unflatten(0, (heads, 3, d))[:, 0],
            lambda w: w.unflatten(0, (heads, d, 3))[:, :, 0],
        ]
    else:
        orders = []
    for order in orders:
        if torch.allclose(tokens @ order(weight).transpose(1, 2) + order(bias)[:, None], q, rtol=1e-4, atol=1e-4):
            return order(weight), order(bias)
    return None, None
