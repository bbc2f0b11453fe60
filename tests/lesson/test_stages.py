"""The stages of a network: its grids in order, with the attention layers on each."""

import torch

from models.classic import AttentionClassifier
from viz.lesson.stages import Stage, stages_of
from viz.lesson.watch import Call


def test_stages_are_grids_in_order_with_their_layers(tiny_unet):
    call = Call((torch.randn(1, 3, 48, 64), torch.tensor(5), torch.randn(1, 4, 64)))
    stages = stages_of(tiny_unet, call, {})
    assert [stage.grid for stage in stages] == [(48, 64), (24, 32), (12, 16), (24, 32), (48, 64)]
    assert stages[0].layers == stages[-1].layers == []
    prefixes = [{name.split(".attentions")[0] for name in stage.layers} for stage in stages]
    assert prefixes[1] == {"down_blocks.1"} and prefixes[3] == {"up_blocks.1"}
    assert prefixes[2] == {"down_blocks.2", "mid_block", "up_blocks.0"}
    attention = {name for name, _ in tiny_unet.named_modules() if name.endswith(("attn1", "attn2"))}
    assert {name for stage in stages for name in stage.layers} == attention
    assert sum(len(stage.layers) for stage in stages) == len(attention)


def test_stages_without_convolutions_are_the_layers_grids():
    torch.manual_seed(0)
    network = AttentionClassifier(patch=8, channels=18, depth=2)
    names = ["layers.0.attention", "layers.1.attention"]
    stages = stages_of(network, Call((torch.randn(1, 3, 64, 64),)), dict.fromkeys(names, (8, 8)))
    assert stages == [Stage((8, 8), names)]
