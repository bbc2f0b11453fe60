"""Reading one call of a denoiser: its sample, its timestep, which picture of the batch is which, and the grids."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import nn

# What denoisers call the argument that says how noisy their input is.
TIMESTEP_NAMES = ("timestep", "timesteps", "t", "time", "time_step", "noise_level", "noise_labels", "sigma", "sigmas")
# What they call numbers, one a picture, that say something else.
OTHER_NAMES = ("y", "label", "labels", "class_labels", "classes", "class_label", "guidance", "guidance_scale", "scale")
_SIGNATURES: WeakKeyDictionary[Callable, inspect.Signature] = WeakKeyDictionary()
# Class and register tokens, or learned key-value pairs: more than this many are something else than a few of them.
MAX_EXTRA = 16


def sample_of(args: tuple, kwargs: dict) -> torch.Tensor:
    """The picture a denoiser was called with, (B, C, h, w).

    Raises:
        ValueError: when there is none.
    """
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor) and value.ndim == 4:
            return value
    raise ValueError("the network was called without a picture: expected an argument of shape (B, C, h, w)")


def timestep_of(network: nn.Module, args: tuple, kwargs: dict) -> torch.Tensor | float | None:
    """How noisy the denoiser was told its input is: by a name it is known under, or else by what it looks like.

    That is the first number, or (B,) numbers, after the sample, unless its name says that it is a class or the like.
    """
    named = _named(network, args, kwargs)
    known = next((named[name] for name in TIMESTEP_NAMES if named.get(name) is not None), None)
    if known is not None:
        return known
    pictures = len(sample_of(args, kwargs))
    candidates = (value for name, value in named.items() if name.lower() not in OTHER_NAMES)
    return next((value for value in candidates if _is_timestep(value, pictures)), None)


def _named(network: nn.Module, args: tuple, kwargs: dict) -> dict[str, object]:
    """{argument: value} of a call; arguments that have no name of their own are numbered."""
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
    """What `network.forward` takes; kept, as working it out takes as long as all else that is read from a call."""
    function = getattr(network.forward, "__func__", network.forward)
    try:
        return _SIGNATURES[function]
    except KeyError:
        _SIGNATURES[function] = inspect.signature(network.forward)
    except TypeError:  # a callable that cannot be remembered
        return inspect.signature(network.forward)
    return _SIGNATURES[function]


def _is_timestep(value: object, pictures: int) -> bool:
    if isinstance(value, torch.Tensor):
        return value.dtype != torch.bool and not value.is_complex() and value.numel() in (1, pictures)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(timestep: torch.Tensor | float | None) -> float | None:
    """A timestep as one number."""
    return None if timestep is None else float(torch.as_tensor(timestep).flatten()[0])


def is_guided(sample: torch.Tensor) -> bool:
    """Whether a batch looks like that of classifier-free guidance: the same pictures twice."""
    half, odd = divmod(len(sample), 2)
    return half > 0 and not odd and torch.equal(sample[:half], sample[half:])


def indices(pictures: int, guided: bool, branch: str, picture: int) -> dict[str, int]:
    """{branch: index in a batch of `pictures`}. Guided batches are (unconditional, conditional), diffusers' order.

    Raises:
        ValueError: when the batch has no such picture, or no such half.
    """
    half, odd = divmod(pictures, 2)
    if guided and odd:
        raise ValueError(f"a guided batch has two halves, but this one holds {pictures} pictures")
    held = half if guided else pictures
    if not 0 <= picture < held:
        halves = "; its two halves are the same sample, which counts as guided (guided=False if it is not)"
        raise ValueError(f"picture {picture} was asked for, but the batch holds {held}{halves if guided else ''}")
    if not guided:
        if branch != "conditional":
            raise ValueError(
                f"branch={branch!r} was asked for, but the batch is not guided: its halves are different samples"
            )
        return {"conditional": picture}
    both = {"unconditional": picture, "conditional": half + picture}
    return both if branch == "both" else {branch: both[branch]}


def grid_of(size: tuple[int, int], tokens: int) -> tuple[tuple[int, int], int]:
    """The (h, w) that a sample of `size` has where there are `tokens`, and how many more tokens than pixels those are.

    U-Nets halve with ceil and have no more. Where no halving fits, the sample may be cut into square patches, and
    a few tokens that belong to no pixel (class, registers) may come first, as in vision transformers.

    Raises:
        ValueError: when nothing fits.
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
    raise ValueError(f"its {tokens} tokens fit no halving of the {size[0]}x{size[1]} sample, and no patches of it")
