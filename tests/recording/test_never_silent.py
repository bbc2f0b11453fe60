"""Watching stops no run, and nothing is left out without a word."""

import re

import pytest
import torch
from diffusers.models.attention_processor import PAGCFGIdentitySelfAttnProcessor2_0, PAGIdentitySelfAttnProcessor2_0
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from tests.support import families as f
from tests.support.faults import MID, assert_right, calls, inputs, unet, watch
from tests.support.random_weights import numbers
from tests.support.strangers import FOREIGN, Eighth, Odd, Pair, Stranger, run_pair
from viz import record

LAYERS = 8  # of `unet()`


# -- a network that is not called, or not as a module -----------------------------------------------------------------


def test_record_says_that_the_network_was_never_called():
    with pytest.raises(ValueError, match="not called"), record(unet()):
        pass


@torch.no_grad()
def test_record_says_that_forward_was_called_instead_of_the_network():
    network = unet()
    plain = network(*inputs(0))[0]
    with pytest.raises(ValueError, match="forward"), record(network):
        watched = network.forward(*inputs(0))[0]
    assert torch.equal(plain, watched)


@torch.no_grad()
@pytest.mark.parametrize("way", [torch.jit.script, lambda small: torch.jit.trace(small, numbers(2, 16, 4, 6))])
def test_record_says_that_torchscript_calls_no_hooks(way):
    network = way(Small())
    with pytest.raises(ValueError, match=r"TorchScript|calls no hooks"), record(network):
        network(numbers(2, 16, 4, 6))


def test_record_says_that_no_call_was_among_the_steps():
    network = unet()
    with pytest.raises(ValueError, match="step"), record(network, steps=[7]), torch.no_grad():
        network(*inputs(0))


# -- parts that cannot be read -----------------------------------------------------------------------------------------


class Small(nn.Module):
    """Attention that TorchScript takes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.heads = 1
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        weights = torch.softmax(self.to_q(tokens) @ self.to_k(tokens).transpose(1, 2), -1)
        return self.to_out(weights @ self.to_v(tokens)).transpose(1, 2).reshape(x.shape)


ODD = {
    "torch.jit.trace": lambda: torch.jit.trace(Small(), numbers(2, 16, 4, 6), check_trace=False),
    "torch.jit.script": lambda: torch.jit.script(Small()),
    "no output projection": lambda: Odd(output=False),
    "grouped queries": lambda: Odd(heads=4, kv_heads=2),
    "one key head": lambda: Odd(heads=4, kv_heads=1),
    "γ on meta": lambda: with_gamma_on_meta(),
    "a stranger": Stranger,
    "a stranger in a stranger": lambda: nn.Sequential(nn.Identity(), Stranger()),
}


def with_gamma_on_meta() -> nn.Module:
    """SAGAN's block without its factor, which stayed on the meta device."""

    class Unscaled(f.SAGANAttention):
        def forward(self, x):
            B, C, h, w = x.shape
            q = self.query_conv(x).view(B, -1, h * w).permute(0, 2, 1)
            weights = torch.bmm(q, self.key_conv(x).view(B, -1, h * w)).softmax(dim=-1)
            return torch.bmm(self.value_conv(x).view(B, C, h * w), weights.permute(0, 2, 1)).view(B, C, h, w) + x

    torch.manual_seed(4)
    block = Unscaled(16)
    block.gamma = nn.Parameter(torch.empty(1, device="meta"))
    return block


@pytest.mark.parametrize("odd", ODD)
def test_record_names_what_it_cannot_read_and_goes_on(odd):
    watched = watch(lambda: Pair(ODD[odd]()), run_pair)
    trace = watched.trace
    assert trace.steps_of("plain") == [0, 1]
    assert_right(watched, batch=2)
    named = [reason for name, reason in trace.skipped.items() if name.startswith("odd")]
    recorded = [name for name in trace.layers if name.startswith("odd")]
    assert named or recorded
    assert not any(FOREIGN.search(reason) or not reason.strip() for reason in named), named


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("filtered", [None, "plain"])
def test_record_names_modules_in_which_attention_ran_that_no_probe_knows(nested, filtered):
    def make():
        return Pair(nn.Sequential(Block(), Stranger()) if nested else Stranger())

    class Block(nn.Module):
        """No attention, but a softmax over single numbers."""

        def forward(self, x):
            return x * torch.softmax(x.sum(1, keepdim=True), dim=1)

    plain = run_pair(make())
    network = make()
    with record(network, layers=filtered) as trace:
        watched = run_pair(network)
    assert all(torch.equal(one, other) for one, other in zip(plain, watched, strict=True))
    assert trace.skipped == {"odd": "attention ran in it, but no probe knows its parts"} and list(trace.layers) == [
        "plain"
    ]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_record_listens_no_longer_after_a_stranger_raises(error):
    class Raises(nn.Module):
        def forward(self, x):
            raise error

    network = Pair(Raises())
    with pytest.raises(error), record(network):
        run_pair(network)
    assert not _get_current_dispatch_mode_stack()


def test_record_reads_weights_of_eight_bits():
    def make():
        odd = Odd()
        odd.to_q, odd.to_k = Eighth(16), Eighth(16)
        return Pair(odd)

    assert assert_right(watch(make, run_pair), batch=2) == 4


def test_record_reads_a_network_with_layerwise_casting():
    def make():
        network = unet()
        network.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
        return network

    @torch.no_grad()
    def run(network):
        return [network(*inputs(step))[0] for step in range(2)]

    with_hooks = make()
    plain, recorded = run(with_hooks), []
    with record(with_hooks) as trace:
        recorded = run(with_hooks)
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True))
    assert len(trace.layers) == LAYERS and not trace.skipped and max(trace.verify().values()) < 1e-5


def test_record_raises_only_at_its_own_end():
    """A network of which nothing can be recorded runs to its end first."""

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.odd = Odd(output=False)

        def forward(self, sample, timestep):
            return self.odd(sample)

    watched = watch(Alone, run_pair)
    assert "odd" in watched.error and watched.trace.skipped["odd"] in watched.error


def test_record_survives_a_network_that_is_given_no_picture():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = f.TimmAttention(16)

        def forward(self, tokens, timestep):
            return self.attention(tokens)

    @torch.no_grad()
    def run(network):
        return [network(numbers(2, 24, 16, seed=step), 5) for step in range(2)]

    torch.manual_seed(0)
    network = Tokens()
    plain, recorded = run(network), []
    with pytest.raises(ValueError, match="picture"), record(network):
        recorded = run(network)
    assert all(torch.equal(a, b) for a, b in zip(plain, recorded, strict=True)) and len(recorded) == 2


# -- gradient checkpointing, fused projections, perturbed attention ---------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_a_checkpoint_that_runs_again_is_no_step(training):
    def make():
        network = unet()
        network.enable_gradient_checkpointing()
        return network.train(training)

    def run(network):
        outputs = []
        for step in range(2):
            output = network(*inputs(step))[0]
            output.square().mean().backward()
            outputs.append(output.detach())
        return outputs

    watched = watch(make, run)
    assert list(watched.trace.timesteps) == [0, 1] and not watched.trace.skipped
    assert assert_right(watched, batch=2) == 2 * LAYERS
    assert any(call is None for _, call in watched.oracle.ran()), "no block ran again"


def test_record_does_not_believe_the_flag_that_unfusing_leaves_behind():
    def make():
        network = unet()
        network.fuse_qkv_projections()
        network.unfuse_qkv_projections()
        return network

    assert assert_right(watch(make, calls()), batch=2) == 3 * LAYERS


def test_record_says_that_projections_are_fused():
    def make():
        network = unet()
        network.fuse_qkv_projections()
        return network

    watched = watch(make, calls())
    assert_right(watched, batch=2)
    for name in watched.trace.skipped:
        assert "fuse" in watched.trace.skipped[name]
    assert len(watched.trace.skipped) + len(watched.trace.layers) == LAYERS


@pytest.mark.parametrize("guided", [False, True])
def test_record_says_what_perturbed_attention_does(guided):
    def make():
        network = unet()
        processor = PAGCFGIdentitySelfAttnProcessor2_0 if guided else PAGIdentitySelfAttnProcessor2_0
        network.get_submodule(f"{MID}.attn1").processor = processor()
        return network

    watched = watch(make, calls(batch=3 if guided else 2))
    reason = watched.trace.skipped[f"{MID}.attn1"]
    assert "window" not in reason and "frame" not in reason
    assert re.search(r"perturbed|identity|part of the batch|some of the pictures", reason), reason
    assert len(watched.trace.layers) == LAYERS - 1
