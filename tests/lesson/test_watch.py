"""What is known of one layer in one call: that of the trace, of the module itself, and of its weights."""

from itertools import product

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

from models.classic import ClassicUNet, CrossAttentionBlock, QuadraticAttention, RelativeAttention
from tests.support import families
from tests.support.random_weights import numbers, randomize
from viz.lesson.experiments import on_cells, score_terms
from viz.lesson.panels import compute_panels
from viz.lesson.watch import Call, replay, watch_layer, watch_recipe
from viz.recipe import Recipe
from viz.recording.run import perform


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_watch_layer_sees_what_the_trace_kept(shared_pipeline, guidance):
    recipe = Recipe("a green monster with two yellow eyes", seed=5, steps=3, guidance=guidance)
    trace = perform(recipe, shared_pipeline)
    calls, picture = replay(shared_pipeline, recipe)
    assert len(calls) == 3 and (picture == trace.picture).all()
    assert [call.timestep(shared_pipeline.unet) for call in calls] == list(trace.timesteps.values())
    for (name, layer), step in product(trace.layers.items(), (0, 2)):
        layer_call = watch_layer(shared_pipeline.unet, calls[step], name)
        assert layer_call.layer == layer and layer_call.timestep == trace.timesteps[step]
        assert torch.equal(layer_call.query, trace.queries["conditional", name, step])
        assert torch.equal(layer_call.key, trace.keys["conditional", name, step])
        row = trace.rows(name, step=step, query=(3, 5), head=1)
        assert (compute_panels(layer_call, (3, 5), 1).row - row).abs().max() < 1e-6


def test_watch_recipe_leaves_no_hooks(shared_pipeline, recipe, self_attention):
    watch_recipe(shared_pipeline, recipe, self_attention, step=0)
    assert not [m for m in shared_pipeline.unet.modules() if m._forward_hooks or m._forward_pre_hooks]


@pytest.mark.parametrize("block", ["down_blocks.1.attentions.0", "mid_block.attentions.0"])
@pytest.mark.parametrize("name", ["attn1", "attn2"])
def test_watch_layer_finds_norm_and_residual_around_attention_in_a_transformer_block(
    shared_pipeline, recipe, block, name
):
    layer_call = watch_recipe(shared_pipeline, recipe, f"{block}.transformer_blocks.0.{name}", step=1)
    assert layer_call.residual and layer_call.gamma is None and layer_call.out_weight is not None
    assert (layer_call.features - layer_call.given).abs().max() > 0.1  # before and after the norm
    for head in range(layer_call.layer.heads):
        panels = compute_panels(layer_call, (2, 7), head)
        assert panels.difference < 1e-5 < (panels.output - layer_call.features[:, 2, 7]).abs().max()
        assert panels.query_difference < 1e-5


def diffusers_unet() -> UNet2DModel:
    return UNet2DModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
    )


def classic_unet(attention: str) -> ClassicUNet:
    return ClassicUNet(channels=(16, 16), groups=4, heads=4, attention_levels=(1,), attention=attention)


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        (diffusers_unet, "down_blocks.1.attentions.0"),
        (lambda: classic_unet("sagan"), "up.1.attention"),
        (lambda: classic_unet("ddpm"), "up.1.attention"),
        (lambda: classic_unet("multihead"), "down.1.attention"),
    ],
    ids=["diffusers", "sagan", "ddpm", "multihead"],
)
def test_watch_layer_ends_in_the_output_of_each_unets_block(network, layer):
    torch.manual_seed(0)
    network = randomize(network())
    layer_call = watch_layer(network, Call((numbers(1, 3, 16, 16), 10)), layer)
    assert layer_call.residual and layer_call.layer.grid == (8, 8)
    module = network.get_submodule(layer)
    assert layer_call.gamma == (pytest.approx(module.gamma.item()) if hasattr(module, "gamma") else None)
    with torch.no_grad():
        assert torch.allclose(module(layer_call.given[None])[0].flatten(1).T, layer_call.output, atol=1e-5)
    for head in range(layer_call.layer.heads):
        panels = compute_panels(layer_call, (2, 5), head)
        assert panels.difference < 1e-5 and panels.query_difference < 1e-5
        assert (panels.output - layer_call.features[:, 2, 5]).abs().max() > 1e-3


# score_sde's block divides its sum by √2, which it does not tell.
@pytest.mark.parametrize("family", [name for name in families.FAMILIES if name != "score_sde"])
def test_watch_layer_finds_the_projections_of_every_family(family):
    torch.manual_seed(1)
    make, tokens = families.FAMILIES[family]
    network = families.Net(make(), tokens).eval()
    layer_call = watch_layer(network, Call((numbers(2, 32, 6, 4), 7)), "attention")
    for head in range(layer_call.layer.heads):
        panels = compute_panels(layer_call, (4, 1), head)
        assert panels.difference < 1e-5
        if family == "timm, normalised":  # its q is more than a projection
            assert panels.query_difference is None
        else:
            assert panels.query_difference < 1e-5


def test_watch_layer_reads_matrices_that_are_no_linear_layers():
    torch.manual_seed(1)
    network = families.Net(families.AttnBlockpp(32)).eval()
    layer_call = watch_layer(network, Call((numbers(1, 32, 6, 4), 7)), "attention")
    panels = compute_panels(layer_call, (4, 1), 0)
    own = network.attention
    assert panels.query_difference < 1e-5
    with torch.no_grad():
        expected = panels.joined @ own.NIN_3.W + own.NIN_3.b
    assert torch.allclose(panels.contribution, expected, atol=1e-5)
    assert torch.allclose((expected + layer_call.features[:, 4, 1]) / 2**0.5, layer_call.output[17], atol=1e-5)


def test_watch_layer_needs_nothing_but_the_documented_probe():
    torch.manual_seed(2)
    network = families.Net(families.YourAttention(32), tokens=True).eval()
    with families.with_documented_probe():
        layer_call = watch_layer(network, Call((numbers(1, 32, 6, 4), 7)), "attention")
    own = network.attention
    assert torch.equal(layer_call.query_weight.flatten(0, 1), own.wq.weight)
    assert torch.equal(layer_call.query_bias.flatten(), own.wq.bias)
    assert torch.equal(layer_call.out_weight, own.wo.weight) and torch.equal(layer_call.out_bias, own.wo.bias)
    for head in range(4):
        panels = compute_panels(layer_call, (4, 1), head)
        assert panels.difference < 1e-5 and panels.query_difference < 1e-5


class BlockOnCells(nn.Module):
    """A network that is one block on the cells of a grid."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.attention = block

    def forward(self, sample):
        block = self.attention
        return on_cells(block, sample.shape[2:])(sample) if isinstance(block, RelativeAttention) else block(sample)


@pytest.mark.parametrize(
    "block",
    [RelativeAttention(12, (6, 5), heads=3, head_dim=4), QuadraticAttention(12, 12, heads=3, head_dim=4)],
    ids=["relative", "quadratic"],
)
def test_watch_layer_knows_no_projection_of_queries_with_positions(block):
    network = BlockOnCells(randomize(block))
    layer_call = watch_layer(network, Call((numbers(1, 12, 6, 5),)), "attention")
    assert layer_call.layer.kind == "self" and layer_call.layer.heads == 3 and not layer_call.residual
    assert layer_call.query_weight is None
    panels = compute_panels(layer_call, (4, 1), 2)
    assert panels.difference < 1e-5 and panels.query_difference is None
    if isinstance(block, RelativeAttention):
        terms = score_terms(block, layer_call.tokens, (4, 1), 2)
        assert len(terms) == 4 and (sum(terms.values()) - panels.scores).abs().max() < 1e-5


def test_watch_layer_takes_cross_attention_to_words():
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cross = randomize(CrossAttentionBlock(16, 8, heads=2, groups=4))

        def forward(self, sample, words):
            return self.cross(sample, words)

    layer_call = watch_layer(Network(), Call((numbers(1, 16, 6, 5), numbers(1, 7, 8))), "cross")
    panels = compute_panels(layer_call, (1, 2), 1)
    assert panels.row.shape == panels.scores.shape == (7,) and panels.keys.shape == (7, 8)
    assert panels.difference < 1e-5 and layer_call.residual
    assert [key.cell for key in panels.top] == [None] * 5


def test_watch_layer_refuses_an_unknown_layer(shared_pipeline, recipe):
    with pytest.raises(KeyError, match=r"no layer 'up\.9'"):
        watch_recipe(shared_pipeline, recipe, "up.9", step=0)


@pytest.mark.parametrize("heads", [1, 4])
def test_watch_layer_refuses_values_that_are_already_projected(heads):
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(32, heads, batch_first=True)

        def forward(self, sample):
            tokens = sample.flatten(2).transpose(1, 2)
            return self.attention(tokens, tokens, tokens)[0]

    with pytest.raises(ValueError, match="already projected"):
        watch_layer(Network().eval(), Call((numbers(1, 32, 6, 4),)), "attention")
