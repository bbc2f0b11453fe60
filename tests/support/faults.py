"""Runs of a network watched by `record` and by the oracle, for tests of what may go wrong in a recording."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from tests.support.oracle import Oracle
from tests.support.pipelines import conditional
from tests.support.random_weights import numbers
from viz import Trace, record

Run = Callable[[nn.Module], Sequence[Tensor]]

DOWN = "down_blocks.0.attentions.0.transformer_blocks.0"  # 8×8
MID = "mid_block.attentions.0.transformer_blocks.0"  # 4×4
WORDS = 5


@dataclass(frozen=True)
class Watched:
    """A recorded run. `error` is what `record` raised at its end, if it did."""

    trace: Trace
    oracle: Oracle
    error: str


def watch(make: Callable[[], nn.Module], run: Run, **options) -> Watched:
    """Run a network plainly, with the oracle, and recorded; the outputs must be the same to the bit.

    Args:
        make: returns the same network each time.
        run: makes the calls, and returns their outputs.
        options: of `record`.
    """
    plain, network = run(make()), make()
    with Oracle(network) as oracle:
        run(network)
    network, recorded, error = make(), None, ""
    try:
        with record(network, **options) as trace:
            recorded = run(network)
    except ValueError as raised:
        assert recorded is not None, f"the recording stopped the run: {raised}"
        error = str(raised)
    assert len(plain) == len(recorded) > 0
    assert all(torch.equal(before, after) for before, after in zip(plain, recorded, strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    return Watched(trace, oracle, error)


def picture_of(branch: str, order: Sequence[str] = ()) -> int:
    """The index in its batch of the picture that a branch is called after."""
    match = re.fullmatch(r"picture (\d+) of \d+", branch)
    return int(match[1]) - 1 if match else list(order).index(branch)


def weights_of(trace: Trace, branch: str, name: str, step: int) -> Tensor:
    """(H, N, M) of what was recorded."""
    q, k = (store[branch, name, step].double() for store in (trace.queries, trace.keys))
    return torch.softmax(q @ k.transpose(-1, -2) * trace.layers[name].scale, dim=-1)


def assert_right(
    watched: Watched, batch: int, order: Sequence[str] = (), tolerance: float | None = 1e-5, steps: int | None = None
) -> int:
    """What is recorded is what the oracle saw, and every softmax that it saw is recorded or named.

    Args:
        order: the names of the pictures of a batch, where they are known.
        tolerance: of the weights; None for what the trace states.
        steps: number of calls, if not all that the oracle saw.

    Returns:
        How many layers × steps × branches were compared.
    """
    trace, compared = watched.trace, 0
    for name in trace.layers:
        for step in trace.steps_of(name):
            for branch in trace.branches:
                expected = watched.oracle.weights(name, step, batch)[picture_of(branch, order)]
                recorded = weights_of(trace, branch, name, step)
                assert recorded.shape == expected.shape, name
                error = (recorded - expected).abs().max().item()
                assert error <= (trace.proved[name] if tolerance is None else tolerance), (name, step, branch, error)
                compared += 1
    for path, call in watched.oracle.ran():
        if call is not None and (steps is None or call < steps):
            assert reason_or_layer(trace, path, call), f"nothing is said of {path!r} at step {call}"
    return compared


def reason_or_layer(trace: Trace, path: str, step: int) -> str:
    """Why a module is not recorded at a step, or the layer that it is recorded as; "" if nothing is said."""
    for name in (name for name in trace.layers if path == name or path.startswith(f"{name}.")):
        return name if step in trace.steps_of(name) else trace.gaps.get(name, {}).get(step, "").strip()
    related = (n for n in trace.skipped if n == path or path.startswith(f"{n}.") or n.startswith(f"{path}."))
    return next((trace.skipped[name].strip() for name in related), "")


def assert_kept_until(watched: Watched, name: str, first_wrong: int, steps: int = 3) -> str:
    """A layer keeps the steps before a fault, and is named from there on; returns the reason."""
    trace = watched.trace
    if first_wrong == 0:
        assert name not in trace.layers
        reason = trace.skipped[name]
    else:
        assert trace.steps_of(name) == list(range(first_wrong)), name
        missing = trace.gaps[name]
        assert sorted(missing) == list(range(first_wrong, steps))
        reason = missing[first_wrong]
    assert reason.strip()
    return reason


def unet(**options) -> UNet2DConditionModel:
    """A U-Net with sharp attention, so that wrong maps differ from right ones by a lot."""
    network = conditional(**options)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, module in network.named_modules():
            if name.endswith(("to_q", "to_k")):
                deviation = 2.0 * module.in_features**-0.5
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * deviation)
    return network


def inputs(step: int, batch: int = 2) -> tuple[Tensor, int, Tensor]:
    """The arguments of one call of `unet()`."""
    sample, words = numbers(batch, 4, 8, 8, seed=10 + step), numbers(batch, WORDS, 16, seed=20 + step)
    return sample, 900 - 250 * step, words


def calls(
    prepare: Callable[[nn.Module, int], dict | None] = lambda network, step: None, steps: int = 3, batch: int = 2
) -> Run:
    """A run of some calls of `unet()`.

    Args:
        prepare: called before each with the network and the step; may return more arguments.
    """

    @torch.no_grad()
    def run(network: nn.Module) -> list[Tensor]:
        outputs = []
        for step in range(steps):
            more = prepare(network, step) or {}
            output = network(*inputs(step, batch), **more)
            outputs.append(output if torch.is_tensor(output) else output[0])
        return outputs

    return run
