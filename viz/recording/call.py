"""One call of a denoiser: its sample, its timestep, which pictures of its batch to record, the grid of a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import nn

from viz.layer import Branch

BranchChoice = Literal["conditional", "unconditional", "both"]

# Names that denoisers give to the argument for the noise level of their input.
TIMESTEP_NAMES = ("timestep", "timesteps", "t", "time", "time_step", "noise_level", "noise_labels", "sigma", "sigmas")
# Names that denoisers give to other arguments of one number per picture.
OTHER_NAMES = ("y", "label", "labels", "class_labels", "classes", "class_label", "guidance", "guidance_scale", "scale")
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
        pictures: {branch: index in the batch} of the recorded pictures.
    """

    step: int
    batch: int
    size: tuple[int, int]
    pictures: dict[Branch, int]

    @property
    def last_picture(self) -> int:
        """Index in the batch of the picture that proofs and previews are made of: the conditional one, if recorded."""
        return list(self.pictures.values())[-1]


@dataclass
class PictureChoice:
    """Which pictures of each batch to record; the arguments are those of `viz.record`."""

    branch: BranchChoice = "conditional"
    guided: bool | None = None
    picture: int = 0
    _looked_guided: dict[int, bool] = field(default_factory=dict)  # {size of a batch: whether the first such batch did}

    def indices(self, sample: torch.Tensor, step: int) -> dict[Branch, int]:
        """{branch: index in the batch} for the call at `step`.

        Raises:
            ValueError: when the batch has no such picture or half, or when its halves are the same sample at some
                steps and different ones at others.
        """
        return picture_indices(len(sample), self._is_guided(sample, step), self.branch, self.picture)

    def _is_guided(self, sample: torch.Tensor, step: int) -> bool:
        if self.guided is not None:
            return self.guided
        guided = looks_guided(sample)
        if self._looked_guided.setdefault(len(sample), guided) != guided:
            before, now = ("the same sample", "different ones") if not guided else ("different", "the same sample")
            raise ValueError(
                f"the halves of the batch were {before} at earlier steps and are {now} at step {step}, which leaves "
                "open whether the batch is guided: pass guided=True or guided=False"
            )
        return guided


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
    """The noise level that a denoiser was called with, or None if there is none.

    An argument with one of `TIMESTEP_NAMES` comes first. Without one, the first number, or tensor of one number per
    picture, whose name is not among `OTHER_NAMES`.
    """
    arguments = _named_arguments(network, args, kwargs)
    timestep: object = next((arguments[name] for name in TIMESTEP_NAMES if arguments.get(name) is not None), None)
    if timestep is None:
        pictures = len(find_sample(args, kwargs))
        candidates = (value for name, value in arguments.items() if name.lower() not in OTHER_NAMES)
        timestep = next((value for value in candidates if _may_be_timestep(value, pictures)), None)
    return timestep  # type: ignore[return-value]


def _named_arguments(network: nn.Module, args: tuple, kwargs: dict) -> dict[str, object]:
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


def timestep_number(timestep: torch.Tensor | float | None) -> float | None:
    """A timestep as one number; None for a tensor on the meta device, which has none."""
    if timestep is None or (isinstance(timestep, torch.Tensor) and timestep.is_meta):
        return None
    return float(torch.as_tensor(timestep).flatten()[0])


def looks_guided(sample: torch.Tensor) -> bool:
    """Whether a batch looks like one of classifier-free guidance: the same pictures twice."""
    half, odd = divmod(len(sample), 2)
    return half > 0 and not odd and torch.equal(sample[:half], sample[half:])


def picture_indices(batch: int, guided: bool, branch: BranchChoice, picture: int) -> dict[Branch, int]:
    """{branch: index in a batch} of a picture. Guided batches are (unconditional, conditional), diffusers' order.

    Args:
        batch: number of pictures in the batch, both halves together.
        picture: index in each half of a guided batch, or in an unguided batch.

    Raises:
        ValueError: when the batch has no such picture or no such half.
    """
    half, odd = divmod(batch, 2)
    if guided and odd:
        raise ValueError(f"expected a guided batch, which has two equal halves, got {batch} pictures")
    available = half if guided else batch
    if not 0 <= picture < available:
        halves = " in each half; its halves are the same sample, so it counts as guided (guided=False if it is not)"
        raise ValueError(f"no picture {picture}: the batch holds {available}{halves if guided else ''}")
    if not guided:
        if branch != "conditional":
            raise ValueError(
                f"branch={branch!r} needs a guided batch, but the halves of this one are different samples: "
                "pass guided=True if it is one"
            )
        return {"conditional": picture}
    both: dict[Branch, int] = {"unconditional": picture, "conditional": half + picture}
    return both if branch == "both" else {branch: both[branch]}


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
