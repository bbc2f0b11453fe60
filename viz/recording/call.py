"""One call of a denoiser: its sample, its timestep, the grid of a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import nn

from viz.layer import Branch

# Names that denoisers give to the argument for the noise level of their input.
TIMESTEP_NAMES = ("timestep", "timesteps", "t", "time", "time_step", "noise_level", "noise_labels", "sigma", "sigmas")
# Names that denoisers give to other arguments of one number per picture.
OTHER_NAMES = ("y", "label", "labels", "class_labels", "classes", "class_label", "guidance", "guidance_scale", "scale")
# Networks of diffusers that cut a timestep that is a Python number down to an integer.
CUTS_TIMESTEP = {"UNet2DModel", "UNet1DModel", "PriorTransformer"}
# The most tokens without a pixel (class and register tokens, learned keys) that a layer may have. If there are more,
# they must be something else.
MAX_EXTRA = 16

_SIGNATURES: WeakKeyDictionary[Callable, inspect.Signature] = WeakKeyDictionary()


@dataclass(frozen=True)
class RecordedCall:
    """One recorded call of a network.

    Attributes:
        step: index of the call in the run.
        batch: number of pictures in the batch.
        size: (height, width) of the sample.
        pictures: {branch: index in the batch} of the recorded pictures; none if the call has none of them.
        reason: why it has none.
        words: the network's arguments that are words, (B, M, C) each.
    """

    step: int
    batch: int
    size: tuple[int, int]
    pictures: dict[Branch, int]
    reason: str = ""
    words: tuple[torch.Tensor, ...] = field(default=(), compare=False)

    @property
    def last_picture(self) -> int:
        """Index in the batch of the picture that proofs and previews are made of: that of the last branch."""
        return list(self.pictures.values())[-1]


def find_sample(args: tuple, kwargs: dict) -> torch.Tensor:
    """The picture that a denoiser was called with, (B, C, h, w).

    Raises:
        ValueError: when no argument has that shape.
    """
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor) and value.ndim == 4:
            return value
    raise ValueError("the network was called without a picture: expected an argument of shape (B, C, h, w)")


def find_timestep(network: nn.Module, args: tuple, kwargs: dict) -> torch.Tensor | float | None:
    """The noise level that a denoiser was called with, as the network uses it, or None if there is none.

    An argument with one of `TIMESTEP_NAMES` comes first. Without one, the first number, or tensor of one number per
    picture, whose name is not among `OTHER_NAMES`.
    """
    arguments = named_arguments(network, args, kwargs)
    timestep: object = next((arguments[name] for name in TIMESTEP_NAMES if arguments.get(name) is not None), None)
    if timestep is None:
        pictures = len(find_sample(args, kwargs))
        candidates = (value for name, value in arguments.items() if name.lower() not in OTHER_NAMES)
        timestep = next((value for value in candidates if _may_be_timestep(value, pictures)), None)
    if isinstance(timestep, float) and CUTS_TIMESTEP & {base.__name__ for base in type(network).__mro__}:
        return int(timestep)
    return timestep  # type: ignore[return-value]


def named_arguments(network: nn.Module, args: tuple, kwargs: dict) -> dict[str, object]:
    """{argument: value} of a call; those without a name of their own are numbered."""
    try:
        signature = _signature(network)
        bound = signature.bind_partial(*args, **kwargs).arguments
    except TypeError:
        return {str(i): value for i, value in enumerate(args)} | kwargs
    named: dict[str, object] = {}
    for name, value in bound.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named |= {f"{name}.{i}": part for i, part in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        else:
            named[name] = value
    return named


def _signature(network: nn.Module) -> inspect.Signature:
    """The signature of `network.forward`, cached: inspecting it takes as long as everything else done per call."""
    function = getattr(network.forward, "__func__", network.forward)
    try:
        return _SIGNATURES[function]
    except KeyError:
        _SIGNATURES[function] = inspect.signature(network.forward)
    except TypeError:  # a callable without weak references
        return inspect.signature(network.forward)
    return _SIGNATURES[function]


def _may_be_timestep(value: object, pictures: int) -> bool:
    if isinstance(value, torch.Tensor):
        return value.dtype != torch.bool and not value.is_complex() and value.numel() in (1, pictures)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def timestep_number(timestep: torch.Tensor | float | None, picture: int = 0) -> float | None:
    """A timestep as one number; None for a tensor on the meta device, which has none.

    Args:
        picture: which picture's, where each has its own.
    """
    if timestep is None or (isinstance(timestep, torch.Tensor) and timestep.is_meta):
        return None
    numbers = torch.as_tensor(timestep).flatten()
    return float(numbers[picture if picture < len(numbers) else 0])


def calls_at(timesteps: Mapping[int, float | None]) -> dict[int, tuple[int, int]]:
    """{step: (i, n)}: the step is the i-th, counted from 1, of n > 1 calls in a row that were told one timestep.

    Args:
        timesteps: {step: timestep} of all calls of a run. Where steps are missing, a row ends.
    """
    rows: list[list[int]] = []
    for step in sorted(timesteps):
        last = rows[-1][-1] if rows else None
        if last == step - 1 and timesteps[step] is not None and timesteps[last] == timesteps[step]:
            rows[-1].append(step)
        else:
            rows.append([step])
    return {step: (i + 1, len(row)) for row in rows if len(row) > 1 for i, step in enumerate(row)}


def infer_grid(size: tuple[int, int], tokens: int) -> tuple[tuple[int, int], int]:
    """The grid (h, w) of a layer with `tokens` queries, and how many of those come before the pixels.

    U-Nets halve the sample, rounding up. If no halving fits, the sample may be cut into square patches, which a few
    tokens without a pixel (class, registers) may precede, as in vision transformers.

    Args:
        size: (height, width) of the sample.

    Raises:
        ValueError: when no grid fits.
    """
    height, width = size
    while height * width > tokens and (height, width) != (1, 1):
        height, width = -(-height // 2), -(-width // 2)
    if height * width == tokens:
        return (height, width), 0
    for extra in range(min(MAX_EXTRA + 1, tokens)):
        for patch in range(2, min(size) + 1):
            rows, columns = size[0] // patch, size[1] // patch
            if rows * columns == tokens - extra and rows * patch == size[0] and columns * patch == size[1]:
                return (rows, columns), extra
    raise ValueError(f"its {tokens} tokens fit no halving of the {size[0]}x{size[1]} sample and no patches of it")
