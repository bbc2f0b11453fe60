"""Proofs and copies that are made beside the network keep what those that make it wait keep."""

import threading

import pytest
import torch

from tests.support import processors
from tests.support.faults import DOWN, MID, unet
from tests.support.oracle import Oracle
from tests.support.random_weights import numbers
from viz import record
from viz.recording import deferred
from viz.trace import Trace

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]
NETWORK_DTYPES = [torch.float32, torch.float16]


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch) -> str:
    """Both devices are taken to run behind."""
    monkeypatch.setattr(deferred, "runs_behind", lambda device: device.type != "meta")
    return request.param


def recorded(network, run, monkeypatch, waits: bool, **options) -> Trace:
    """A trace made beside the network, or one for which it waits."""
    with monkeypatch.context() as patched:
        if waits:
            patched.setattr(deferred, "runs_behind", lambda device: False)
        with record(network, **options) as trace:
            run(network)
    return trace


def run_of(device: str, dtype: torch.dtype, prepare=lambda network, step: None, steps: int = 4):
    """A run of some calls of `unet()`."""

    @torch.no_grad()
    def run(network):
        for step in range(steps):
            prepare(network, step)
            sample = numbers(2, 4, 8, 8, seed=10 + step).to(device, dtype)
            network(sample, 900 - 200 * step, numbers(2, 5, 16, seed=20 + step).to(device, dtype))

    return run


def assert_same(trace: Trace, expected: Trace) -> None:
    """What a trace says, and its Q and K to the bit; how exact its proofs were may differ by rounding."""
    for name in ("layers", "timesteps", "branches", "skipped", "gaps", "proved_rows", "size", "calls", "kept_queries"):
        assert getattr(trace, name) == getattr(expected, name), name
    assert trace.proved.keys() == expected.proved.keys() and trace.proofs.keys() == expected.proofs.keys()
    for name in trace.proved:
        assert trace.proved[name] == pytest.approx(expected.proved[name], rel=0.5, abs=1e-5)
    for store in ("queries", "keys"):
        mine, other = getattr(trace, store), getattr(expected, store)
        assert list(mine) == list(other)
        for key, tensor in mine.items():
            assert tensor.device.type == "cpu" and not tensor.is_pinned() and tensor.dtype == other[key].dtype
            assert torch.equal(tensor, other[key]), key


def both(network, run, monkeypatch, **options) -> Trace:
    """A trace that was made beside its network, after it was compared with one for which the network waited."""
    traces = []
    for waits in (False, True):
        torch.manual_seed(0)
        traces.append(recorded(network, run, monkeypatch, waits, **options))
    assert_same(*traces)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("recording")]
    return traces[0]


@pytest.mark.parametrize("branch", ["unconditional", "both"])
@pytest.mark.parametrize("kept", [None, torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_record_keeps_the_same_beside_a_network(device, dtype, kept, branch, monkeypatch):
    network = unet().to(device, dtype)
    trace = both(network, run_of(device, dtype), monkeypatch, guided=True, branch=branch, dtype=kept)
    assert trace.steps_of(f"{MID}.attn1") == [0, 1, 2, 3] and not trace.skipped
    assert max(trace.verify().values()) < (1e-3 if dtype == torch.float16 or kept else 1e-5) * 20


def test_what_is_kept_beside_a_network_is_what_it_attended_to(device):
    network = unet().to(device)
    run = run_of(device, torch.float32)
    with Oracle(network) as oracle:
        run(network)
    with record(network, guided=True, branch="both") as trace:
        run(network)
    assert len(trace.queries) == 2 * 4 * len(trace.layers) == 64
    for (branch, name, step), q in trace.queries.items():
        picture = ("unconditional", "conditional").index(branch)
        expected = oracle.weights(name, step, 2)[picture]
        k, scale = trace.keys[branch, name, step].double(), trace.layers[name].scale
        weights = torch.softmax(q.double() @ k.transpose(-1, -2) * scale, dim=-1)
        assert (weights - expected).abs().max() < 1e-5, (branch, name, step)


def with_processors(make, part="attn1"):
    network = unet()
    for name, module in network.named_modules():
        if name.endswith(part):
            module.processor = make()
    return network


def from_step(first: int):
    """The processors change what they do from a step on."""

    def prepare(network, step):
        for module in network.modules():
            if isinstance(getattr(module, "processor", None), processors.Processor):
                module.processor.on = step >= first

    return prepare


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("processor", [processors.MutualAttention, processors.Temperature, processors.Identity])
def test_a_layer_is_left_out_from_the_step_on_at_which_its_proof_fails(device, processor, first, monkeypatch):
    network = with_processors(processor).to(device)
    run = run_of(device, torch.float32, from_step(first))
    trace = both(network, run, monkeypatch, guided=True, branch="both")
    for name in (f"{DOWN}.attn1", f"{MID}.attn1"):
        assert trace.steps_of(name) == list(range(first)) and "is not softmax" in trace.gaps[name][first]
        assert sorted(trace.gaps[name]) == list(range(first, 4))
    assert trace.steps_of(f"{MID}.attn2") == [0, 1, 2, 3]


def test_a_branch_whose_first_proof_fails_takes_its_layer_along(device, monkeypatch):
    network = with_processors(processors.MutualAttention).to(device)
    trace = both(network, run_of(device, torch.float32, from_step(0)), monkeypatch, guided=True, branch="both")
    assert f"{MID}.attn1" not in trace.layers and "is not softmax" in trace.skipped[f"{MID}.attn1"]


def test_numbers_that_do_not_fit_are_found_out_late(device, monkeypatch):
    network = unet().to(device)

    def grow(network, step):
        if step == 2:
            network.get_submodule(f"{MID}.attn1.to_k").weight.data.mul_(1e6)
            network.get_submodule(f"{MID}.attn1.to_q").weight.data.mul_(1e-6)

    def run(network):
        weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        run_of(device, torch.float32, grow)(network)
        network.load_state_dict(weights)

    trace = both(network, run, monkeypatch, guided=True, dtype=torch.float16)
    assert trace.steps_of(f"{MID}.attn1") == [0, 1] and "does not fit into" in trace.gaps[f"{MID}.attn1"][2]


def test_a_network_may_write_into_its_tensors_later(device, monkeypatch):
    """What was recorded is what the module used, not what is in the same memory afterwards."""
    network = unet().to(device)
    handles = []
    for name, module in network.named_modules():
        if name.endswith((".to_q", ".to_k", ".to_v")):
            handles.append(module.register_forward_hook(lambda module, args, output: setattr(module, "kept", output)))
        elif name.endswith((".attn1", ".attn2")):
            parts = [module.to_q, module.to_k, module.to_v]
            handles.append(
                module.register_forward_hook(lambda *_, parts=parts: [p.kept.fill_(7) for p in parts] and None)
            )
    trace = both(network, run_of(device, torch.float32), monkeypatch, guided=True)
    assert not any((q == 7).all() for q in trace.queries.values()) and len(trace.queries) == 32


def test_a_step_that_the_network_does_not_finish_is_forgotten(device, monkeypatch):
    network = unet().to(device)

    def run(network):
        def fail(*_):
            raise RuntimeError("stop")

        run_of(device, torch.float32, steps=2)(network)
        handle = network.conv_out.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="stop"):
            run_of(device, torch.float32, steps=1)(network)
        handle.remove()
        run_of(device, torch.float32, steps=1)(network)

    assert list(both(network, run, monkeypatch, guided=True).timesteps) == [0, 1, 3]


def test_record_into_a_file_beside_a_network(device, monkeypatch, tmp_path):
    network, run = unet().to(device), run_of(device, torch.float32)
    trace = recorded(network, run, monkeypatch, waits=False, guided=True, into=tmp_path / "run.safetensors")
    expected = recorded(network, run, monkeypatch, waits=True, guided=True)
    for other in (trace, Trace.load(tmp_path / "run.safetensors")):
        assert other.queries.keys() == expected.queries.keys() and other.proved_rows == expected.proved_rows
        assert all(torch.equal(other.keys[key], tensor) for key, tensor in expected.keys.items())


def test_small_batches_keep_the_same(device, monkeypatch):
    monkeypatch.setattr(deferred, "BATCH_BYTES", 1)
    monkeypatch.setattr(deferred, "MOST_SCORES", 1)
    both(unet().to(device), run_of(device, torch.float32), monkeypatch, guided=True, branch="both")


def test_too_little_memory_beside_a_network_leaves_layers_out(device, monkeypatch):
    def refuse(*_):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(deferred, "_measure", refuse)
    with record(network := unet().to(device), guided=True) as trace:
        run_of(device, torch.float32)(network)
    assert set(trace.gaps[f"{MID}.attn1"].values()) == {"there was not enough memory to record it"}
    assert trace.steps_of(f"{MID}.attn1") == [0]
