"""Networks that are compiled before or while they are recorded."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.support.random_weights import numbers
from tests.support.strangers import FOREIGN, Odd, Pair
from viz import record


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def eager(network: nn.Module) -> Callable:
    """Compiled, by the backend that only traces."""
    return torch.compile(network, backend="eager")


def in_place(network: nn.Module) -> nn.Module:
    network.compile(backend="eager")
    return network


def in_blocks(network: nn.Module) -> nn.Module:
    """As diffusers' `compile_repeated_blocks` does it."""
    for block in network.children():
        block.compile(backend="eager")
    return network


WAYS = {"torch.compile": eager, "compile in place": in_place, "repeated blocks": in_blocks}


def step_of(network: Callable, step: int) -> torch.Tensor:
    return network(numbers(2, 16, 4, 6, seed=step), torch.tensor(900.0 - step))


@torch.no_grad()
@pytest.mark.parametrize("what", ["what was compiled", "what it wraps"])
@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_record_of_a_compiled_network_is_right_or_says_why_not(way, ran, what):
    network = Pair(Odd())
    plain = [step_of(network, step) for step in range(2)]
    compiled = WAYS[way](network)
    if ran:  # compiled for good by an earlier call
        step_of(compiled, 0)
    recorded, said, trace = [], "", None
    try:
        with record(compiled if what == "what was compiled" else network) as trace:
            for step in range(2):
                recorded.append(step_of(compiled, step))
    except ValueError as error:
        said = str(error)
    assert len(recorded) == 2, f"the run was stopped: {said}"
    for before, after in zip(plain, recorded, strict=True):
        assert (before - after).abs().max() < 1e-5
    if said:
        assert "compile" in said and not FOREIGN.search(said)
        return
    names = {name.removeprefix("_orig_mod.") for name in (*trace.layers, *trace.skipped)}
    assert {"plain", "odd"} <= names
    assert all("compile" in reason for reason in trace.skipped.values())
    assert all(error < 1e-5 for error in trace.verify().values())


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_record_lets_a_network_be_compiled_while_it_is_recorded(way):
    network = Pair(Odd())
    plain = [step_of(network, step) for step in range(3)]
    recorded, said = [], ""
    try:
        with record(network) as trace:
            compiled = network
            for step in range(3):
                compiled = WAYS[way](network) if step == 1 else compiled
                recorded.append(step_of(compiled, step))
    except ValueError as error:
        said = str(error)
    assert len(recorded) == 3, f"the run was stopped: {said}"
    assert all((a - b).abs().max() < 1e-5 for a, b in zip(plain, recorded, strict=True))
    assert not FOREIGN.search(said)
    if not said:
        assert 0 in trace.timesteps and all(trace.steps_of(name)[0] == 0 for name in trace.layers)
        reasons = (*trace.skipped.values(), *(r for gaps in trace.gaps.values() for r in gaps.values()))
        assert not any(FOREIGN.search(reason) for reason in reasons)
    torch.compiler.reset()
    assert (step_of(network, 0) - plain[0]).abs().max() < 1e-5  # what was compiled works after the recording, too
