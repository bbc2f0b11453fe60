"""Rows equal those of attention-map-diffusers, for the layers that both record."""

import pytest
import torch

from tests.bench import rivals as bench_rivals
from tests.bench.figures import RIVALS
from tests.support import rivals
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


def test_bench_rivals_measures_both_on_a_small_network():
    config = {**bench_rivals.SD15, "block_out_channels": (32, 32, 32, 32)}
    figures = bench_rivals.figures(2, 1, config=config, side=16)
    assert set(figures) == set(RIVALS)
    assert figures["kept_mb"]["ours"] < figures["kept_mb"]["theirs"]
    assert figures["agree_to"] < 1e-3
