"""Ending a call between two layers, and the opening of a model between two parameters; nothing else changes."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from viz.page.interrupt import interruptible, interruptible_opening
from viz.page.line import Stopped

SAMPLE = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
WORDS = torch.linspace(-1, 1, 4 * 64).reshape(1, 4, 64)


def call(unet: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return unet(SAMPLE, 3, encoder_hidden_states=WORDS).sample


def test_call_ends_before_the_next_layer(tiny_unet):
    """Stopped in the first block, the last one is never called."""
    stopped, called = threading.Event(), []
    tiny_unet.down_blocks[0].resnets[0].register_forward_hook(lambda *_: stopped.set())
    tiny_unet.down_blocks[0].register_forward_hook(lambda *_: called.append("the block"))
    tiny_unet.mid_block.register_forward_hook(lambda *_: called.append("the middle"))
    with pytest.raises(Stopped), interruptible(tiny_unet, stopped):
        call(tiny_unet)
    assert called in ([], ["the block"])


def test_stops_are_close_together(tiny_unet):
    """No layer with a tenth of the network's weights lies between two places where a call can end."""
    whole = sum(parameter.numel() for parameter in tiny_unet.parameters())
    stopped, passed, seen = threading.Event(), [0], set()

    class Counting(threading.Event):
        def is_set(self) -> bool:
            passed.append(0)
            return False

    def count(module: nn.Module, arguments: object) -> None:
        seen.add(module)
        passed[-1] += sum(parameter.numel() for parameter in module.parameters(recurse=False))

    with interruptible(tiny_unet, Counting()):
        for module in tiny_unet.modules():
            module.register_forward_pre_hook(count)
        call(tiny_unet)
    assert len(passed) > 20 and len(seen) > 50 and sum(passed) > 0.9 * whole
    assert max(passed) < 0.2 * whole and not stopped.is_set()


def test_picture_is_the_same_to_the_bit_and_no_hook_remains(tiny_unet):
    before = call(tiny_unet)
    with interruptible(tiny_unet, threading.Event()):
        assert torch.equal(call(tiny_unet), before)
    assert not any(module._forward_pre_hooks for module in tiny_unet.modules())


def test_fused_encoder_layers_stay_fused():
    """PyTorch computes such a layer as one operation unless something in it is hooked; that changes the last bits."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    network = nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)).eval()
    inside = [module for layer in network[0].layers for module in layer.modules()]
    with interruptible(network, threading.Event()):
        assert not any(module._forward_pre_hooks for module in inside)


def test_nothing_begins_when_already_stopped(tiny_unet):
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Stopped), interruptible(tiny_unet, stopped):
        raise AssertionError("it began")


def test_opening_ends_before_the_next_parameter_but_not_that_of_another_thread():
    stopped, built, others = threading.Event(), [], []

    def build_elsewhere() -> None:
        others.append(nn.Linear(2, 2))

    with interruptible_opening(stopped), pytest.raises(Stopped):
        built.append(nn.Linear(2, 2))
        stopped.set()
        thread = threading.Thread(target=build_elsewhere)
        thread.start()
        thread.join()
        built.append(nn.Linear(2, 2))
    assert len(built) == 1 and len(others) == 1
    assert nn.Linear(2, 2) is not None  # the hook is gone
