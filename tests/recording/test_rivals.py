"""Rows, and the maps of words, equal those of attention-map-diffusers, for the layers that both record."""

import pytest
import torch

from tests.bench import rivals as bench_rivals
from tests.bench import rivals_words
from tests.bench.figures import RIVALS, RIVALS_WORDS
from tests.support import rivals
from tests.support.joint import GRID, arguments, mmdit
from viz import record

pytestmark = pytest.mark.skipif(not rivals.installed(), reason="make test installs attention-map-diffusers")


@pytest.mark.parametrize("heads", ["all", "mean"])
def test_rows_agree_with_attention_map_diffusers(tiny_unet, heads):
    """A guided batch, whose second half is what we keep; and both kinds of hooks at once."""
    sample, words = torch.randn(1, 3, 64, 64), torch.randn(2, 7, 64)
    with torch.no_grad(), rivals.captured(tiny_unet, heads=heads) as capture, record(tiny_unet, guided=True) as trace:
        for timestep in (40, 20):
            tiny_unet(torch.cat([sample, sample]), timestep, words)
    theirs = [each for each in capture.compute() if each.relation == rivals.IMAGE]
    names = {layer.name for layer in trace if layer.kind == "self"}
    assert {rivals.layer_of(each) for each in theirs} == names and len(theirs) == 2 * len(names)
    for each in theirs:
        name, step = rivals.layer_of(each), each.step_index
        assert trace.timesteps[step] == each.timestep
        height, width = trace.layers[name].grid
        for query in ((0, 0), (height // 2, width // 3), (height - 1, width - 1)):
            ours = trace.rows(name, step=step, query=query).flatten(1)  # (H, N)
            found = each.data[1, :, query[0] * width + query[1]]  # (H, N), or (1, N)
            assert (found - (ours if heads == "all" else ours.mean(0, keepdim=True))).abs().max() < 1e-3 * ours.max()


@pytest.mark.parametrize("heads", ["all", "mean"])
@torch.no_grad()
def test_maps_of_words_agree_in_cross_attention(tiny_unet, heads):
    """Of every word at every pixel, at both timesteps. Nobody told us the caption, so the words are numbered."""
    sharpen(tiny_unet)
    sample, words = torch.randn(1, 3, 64, 64), torch.randn(2, 7, 64)
    given = torch.cat([sample, sample])
    with (
        rivals.captured(tiny_unet, rivals.WORDS, heads=heads) as capture,
        record(tiny_unet, guided=True) as trace,
    ):
        for timestep in (40, 20):
            tiny_unet(given, timestep, words)
    theirs = capture.compute()
    names = {layer.name for layer in trace if layer.kind == "cross"}
    assert {rivals.layer_of(each) for each in theirs} == names and len(theirs) == 2 * len(names) > 4
    for each in theirs:
        name = rivals.layer_of(each)
        ours = torch.stack([trace.word_map(name, str(word + 1), step=each.step_index) for word in range(7)])
        ours = ours.flatten(2).permute(1, 2, 0)  # (H, N, words)
        assert ours.std(2).mean() > 0.01  # words differ by far more than the tolerance
        agree(each.data[1], ours, heads)


@pytest.mark.parametrize("heads", ["all", "mean"])
@torch.no_grad()
def test_all_four_relations_agree_in_joint_attention(heads):
    """Stable Diffusion 3's network: pixels and words in one softmax, the later half of a guided batch."""
    relations = (rivals.IMAGE, rivals.WORDS, rivals.LOOKS, rivals.BETWEEN)
    network, count = mmdit(), 7
    with (
        rivals.captured(network, *relations, heads=heads) as capture,
        record(network, branch="conditional", branch_order=("unconditional", "conditional")) as trace,
    ):
        for step in range(2):
            network(**arguments(step, count), return_dict=False)
    theirs = capture.compute()
    assert len(theirs) == 2 * 3 * len(relations)
    texts = [str(word + 1) for word in range(count)]
    for each in theirs:
        name, step = rivals.layer_of(each), each.step_index
        if each.relation == rivals.IMAGE:
            rows = [trace.rows(name, step=step, query=divmod(pixel, GRID[1])) for pixel in range(GRID[0] * GRID[1])]
            ours = torch.stack(rows).flatten(2).transpose(0, 1)  # (H, N, N)
        elif each.relation == rivals.WORDS:
            ours = torch.stack([trace.word_map(name, text, step=step) for text in texts]).flatten(2).permute(1, 2, 0)
        elif each.relation == rivals.LOOKS:
            ours = torch.stack([trace.rows(name, step=step, query=text) for text in texts]).flatten(2).transpose(0, 1)
        else:
            ours = trace.word_matrix(name, step=step)
        assert ours.std() > 0.003
        agree(each.data[1], ours, heads)


def sharpen(network: torch.nn.Module) -> None:
    """Larger queries, so that wrong maps differ from right ones."""
    for name, weight in network.named_parameters():
        if name.endswith("to_q.weight"):
            weight.mul_(20)


def agree(theirs: torch.Tensor, ours: torch.Tensor, heads: str) -> None:
    """Maps (H, n, m), or their means over heads, agree to a thousandth of the largest weight."""
    ours = ours if heads == "all" else ours.mean(0, keepdim=True)
    assert theirs.shape == ours.shape
    assert (theirs - ours).abs().max() < 1e-3 * ours.max()


def test_bench_rivals_measures_both_on_a_small_network():
    config = {**bench_rivals.SD15, "block_out_channels": (32, 32, 32, 32)}
    figures = bench_rivals.figures(2, 1, config=config, side=16)
    assert set(figures) == set(RIVALS)
    assert figures["kept_mb"]["ours"] < figures["kept_mb"]["theirs"]
    assert figures["agree_to"] < 1e-3


def test_bench_rivals_words_measures_both_on_a_small_network():
    small = {"sample_size": 16, "attention_head_dim": 8, "num_attention_heads": 4, "joint_attention_dim": 16}
    small |= {"caption_projection_dim": 32, "pooled_projection_dim": 16, "pos_embed_max_size": 24}
    figures = rivals_words.figures(2, 1, config=rivals_words.SD3 | small, words=11)
    assert set(figures) == set(RIVALS_WORDS)
    assert figures["kept_mb"]["ours"] < figures["kept_mb"]["theirs"]
    assert max(figures["map_agree_to"], figures["row_agree_to"]) < 1e-3
