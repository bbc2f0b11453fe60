"""`plan`: the bytes of a recording are known before it is made."""

import pytest
import torch
from diffusers import UNet2DConditionModel

import viz
from models.sampling.order import Order, draw_picture
from tests.support import families
from tests.support.pipelines import PIPELINES
from viz import record
from viz.recording.plan import OverBudget

# The public configuration of runwayml/stable-diffusion-v1-5's U-Net; what is not named is diffusers' default.
SD15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}


@pytest.mark.parametrize("name", ["DDPM", "Stable Diffusion", "Stable Diffusion XL"])
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_plan_equals_the_bytes_that_record_keeps(tmp_path, name, dtype):
    pipeline = PIPELINES[name](tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    before = {n: p.device for n, p in pipeline.unet.named_parameters()}
    planned = viz.plan(pipeline, steps=3, size=(16, 24), dtype=dtype)
    assert {n: p.device for n, p in pipeline.unet.named_parameters()} == before
    with record(pipeline.unet, dtype=dtype, steps=range(3)) as trace:
        draw_picture(pipeline, Order("a red monster", steps=3, size=(16, 24), guidance=3.0))
    assert planned.layers == trace.layers
    proofs = sum(t.nbytes for p in trace.proofs.values() for t in (p.queries, p.value, p.output))
    assert planned.total == trace.kept_bytes + proofs
    for layer in trace:
        sizes = [s[trace.branches[0], layer.name, 0].nbytes for s in (trace.queries, trace.keys)]
        assert planned.by_layer[layer.name] == sum(sizes)


def test_plan_while_the_network_is_recorded_is_the_same_and_disturbs_nothing(tmp_path):
    """On the page, somebody changes a field during a run. What hooks the network has besides are called, as always."""
    pipeline, order, called = PIPELINES["DDPM"](tmp_path), Order(steps=2, size=(16, 16)), []
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.mid_block.register_forward_hook(lambda *_: called.append("mid"))
    planned, during = viz.plan(pipeline, steps=2, size=(16, 16)), []
    traces = []
    for on_step in (lambda step: None, lambda step: during.append(viz.plan(pipeline, steps=2, size=(16, 16)))):
        with record(pipeline.unet, steps=range(2)) as trace:
            draw_picture(pipeline, order, on_step)
        traces.append(trace)
    alone, disturbed = traces
    assert during == [planned, planned] and len(called) == 1 + 2 + 2 + 2
    assert disturbed.queries.keys() == alone.queries.keys() and not disturbed.gaps and not disturbed.skipped
    assert all(torch.equal(disturbed.queries[key], q) for key, q in alone.queries.items())


def test_plan_of_any_network():
    network = families.Net(families.ConvolutionalAttention(32, memory=3))
    planned = viz.plan(network, torch.zeros(1, 32, 6, 4), 7, steps=[0, 5])
    assert planned.by_layer == {"attention": 4 * (24 + 27) * 8 * 4} and planned.steps == (0, 5)


def test_plan_of_stable_diffusion_is_below_its_limit():
    """All self-attention of the conditional half, 10 steps, fp16: at most 0.45 GiB. Weights are not made for this."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15)
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964
    call = torch.zeros(2, 4, 64, 64), torch.tensor(1), torch.zeros(2, 77, 768)
    options = {"steps": 10, "dtype": torch.float16}
    planned = viz.plan(unet, *call, layers=lambda name: name.endswith("attn1"), **options)
    assert {layer.kind for layer in planned.layers.values()} == {"self"} and len(planned.layers) == 16
    assert viz.plan(unet, *call, **options).total < 1.6 * planned.total  # words cost half as much again
    assert planned.total < 0.45 * 2**30
    assert {layer.grid for layer in planned.layers.values()} == {(64, 64), (32, 32), (16, 16), (8, 8)}


@pytest.fixture(scope="module")
def planned():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15)
    call = torch.zeros(2, 4, 64, 64), torch.tensor(1), torch.zeros(2, 77, 768)
    return viz.plan(unet, *call, steps=50, dtype=torch.float16)


def test_fit_leaves_out_steps_before_layers(planned):
    assert planned.fit(planned.total) == planned
    half = planned.fit(planned.total // 2)
    assert half.layers == planned.layers and half.total <= planned.total // 2
    assert half.steps[0] == 0 and half.steps[-1] == 49 and half.total + half.step_bytes > planned.total // 2
    little = planned.fit(50_000_000)
    assert 0 < len(little.layers) < len(planned.layers) and little.total <= 50_000_000 and len(little.steps) >= 5
    assert planned.fit(10) is None


def test_plan_says_in_words_whether_it_fits_into_memory(planned, monkeypatch):
    monkeypatch.setattr("viz.recording.budget.free_memory", lambda: 8 * 10**9)
    assert planned.needs_disk() and str(planned) == (
        "3.6 GB: 32 layers at 50 steps, 71 MB a step. That is more than a quarter of the free memory (2.0 GB): "
        'record it into a file, with record(…, into="run.safetensors").'
    )
    some = planned.select(list(planned.layers)[:1], [0])
    assert not some.needs_disk() and str(some).startswith("6 MB: 1 layer at 1 step, ")
    assert str(some).endswith("It fits into memory (a quarter of what is free is 2.0 GB).")


def test_check_says_what_would_fit(planned):
    planned.check(planned.total)
    with pytest.raises(OverBudget, match=r"take 3\.6 GB; 1\.0 GB are allowed\. All 32 layers and \d+ of its 50 steps"):
        planned.check(10**9)
    with pytest.raises(OverBudget, match=r"of its 32 layers, those up to .*×.*, and \d+ of its 50 steps would fit"):
        planned.check(50_000_000)
    with pytest.raises(OverBudget, match="Not even one layer"):
        planned.check(1000)


def test_plan_needs_disk_beyond_the_memory_allowed(planned):
    assert planned.needs_disk(planned.total - 1) and not planned.needs_disk(planned.total)
    assert not planned.needs_disk()
