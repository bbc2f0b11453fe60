"""`record`: exact, invisible to the network, and honest about what it cannot prove."""

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0, FusedAttnProcessor2_0
from torch import nn

from viz import record
from viz.trace import Trace

CROSS = "down_blocks.1.attentions.0.transformer_blocks.0.attn2"
SELF = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"


class _EagerMaps(AttnProcessor):
    """diffusers' own eager attention, keeping the maps it computes: (B·H, N, M)."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, *arguments, **named):
        scores = attn.get_attention_scores

        def keep(*inputs):
            self.maps = scores(*inputs)
            return self.maps

        attn.get_attention_scores = keep
        try:
            return super().__call__(attn, hidden_states, encoder_hidden_states, *arguments, **named)
        finally:
            del attn.get_attention_scores


@torch.no_grad()
def eager_maps(network, *arguments) -> dict[str, torch.Tensor]:
    modules = {name: module for name, module in network.named_modules() if isinstance(module, Attention)}
    before = {name: module.processor for name, module in modules.items()}
    for module in modules.values():
        module.processor = _EagerMaps()
    network(*arguments)
    maps = {name: module.processor.maps for name, module in modules.items()}
    for name, module in modules.items():
        module.processor = before[name]
    return maps


@pytest.fixture
def ddpm_unet() -> UNet2DModel:
    torch.manual_seed(1)
    return UNet2DModel(
        sample_size=32,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
    ).eval()


@torch.no_grad()
def recorded(network, *arguments, **named):
    with record(network, **named) as trace:
        network(*arguments)
    return trace


def assert_equal_maps(trace, maps, index, step=0):
    assert set(trace.layers) == set(maps)
    for layer in trace:
        expected = maps[layer.name].unflatten(0, (-1, layer.heads))[index]  # (H, N, M)
        for query in {(0, 0), (layer.grid[0] - 1, layer.grid[1] // 2)}:
            row = trace.rows(layer.name, step=step, query=query)
            assert torch.allclose(row.flatten(1).sum(-1), torch.ones(layer.heads), atol=1e-5)
            token = query[0] * layer.grid[1] + query[1]
            assert (row.flatten(1) - expected[:, token]).abs().max() < 1e-6
            if layer.kind == "self":
                column = trace.columns(layer.name, step=step, key=query)
                assert (column.flatten(1) - expected[:, :, token]).abs().max() < 1e-6


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_rows_equal_eager_attention_unconditional(ddpm_unet, size):
    inputs = torch.randn(1, 3, *size), 500
    trace = recorded(ddpm_unet, *inputs)
    assert trace.timesteps == {0: 500.0} and trace.size == size
    assert {layer.grid for layer in trace} == {(size[0] // 2, size[1] // 2)}
    assert max(trace.verify().values()) < 1e-5
    assert_equal_maps(trace, eager_maps(ddpm_unet, *inputs), 0)


@pytest.mark.parametrize("size", [(64, 64), (32, 48)])
def test_rows_equal_eager_attention_conditional(tiny_unet, size):
    inputs = torch.randn(2, 3, *size), torch.tensor(40), torch.randn(2, 7, 64)
    trace = recorded(tiny_unet, *inputs, picture=1)
    assert {layer.kind for layer in trace} == {"self", "cross"}
    assert trace.layers[CROSS].key_count == 7
    assert max(trace.verify().values()) < 1e-5
    assert_equal_maps(trace, eager_maps(tiny_unet, *inputs), 1)


@torch.no_grad()
def test_rows_equal_eager_attention_at_every_step(tiny_unet):
    """Also where guidance is switched off at some steps, so that the picture lies elsewhere in memory."""
    single = [(torch.randn(1, 3, 64, 64), torch.tensor(t), torch.randn(1, 7, 64)) for t in (900, 500, 100)]
    guided = [(sample.repeat(2, 1, 1, 1), t, torch.randn(2, 7, 64)) for sample, t, _ in single]
    calls = [guided[0], guided[1], single[0], single[1], guided[2], single[2]]
    orders = {2: ("unconditional", "conditional"), 1: ("conditional",)}
    with record(tiny_unet, branch_order=orders.get) as trace:
        for call in calls:
            tiny_unet(*call)
    assert not trace.skipped
    for step, call in enumerate(calls):
        assert_equal_maps(trace, eager_maps(tiny_unet, *call), len(call[0]) - 1, step)


def test_record_keeps_the_chosen_parts_of_a_batch(tiny_unet):
    inputs = torch.randn(2, 3, 64, 64), 40, torch.randn(2, 7, 64)
    maps = eager_maps(tiny_unet, *inputs)
    assert_equal_maps(recorded(tiny_unet, *inputs, guided=True), maps, 1)
    assert_equal_maps(recorded(tiny_unet, *inputs, guided=True, branch="unconditional"), maps, 0)
    assert_equal_maps(recorded(tiny_unet, *inputs, branch="picture 2 of 2"), maps, 1)
    both = recorded(tiny_unet, *inputs, branch="both", branch_order=("conditional", "perturbed"))
    assert both.branches == ("perturbed", "conditional")
    rows = [both.rows(CROSS, step=0, query=(3, 4), branch=branch) for branch in both.branches]
    assert not torch.equal(*rows)
    assert torch.equal(both.rows(CROSS, step=0, query=(3, 4)), rows[1])


@torch.no_grad()
def test_record_raises_for_a_branch_or_picture_that_is_missing(tiny_unet):
    with pytest.raises(ValueError, match="needs a batch whose order is known"):
        recorded(tiny_unet, torch.randn(2, 3, 64, 64), 40, torch.randn(2, 7, 64), branch="unconditional")
    with pytest.raises(ValueError, match="the batch holds 1"):
        recorded(tiny_unet, torch.randn(1, 3, 64, 64), 40, torch.randn(1, 7, 64), picture=1)


def hooks_of(network) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_record_leaves_the_picture_identical_and_no_hook(tiny_pipeline):
    plain = tiny_pipeline("a red monster", seed=3, num_inference_steps=3).images[0]
    with record(tiny_pipeline.unet) as trace:
        watched = tiny_pipeline("a red monster", seed=3, num_inference_steps=3).images[0]
        assert hooks_of(tiny_pipeline.unet) > 0
    assert plain.tobytes() == watched.tobytes()
    assert trace.steps == [0, 1, 2] and hooks_of(tiny_pipeline.unet) == 0


def test_record_removes_hooks_after_an_exception(tiny_unet):
    with pytest.raises(RuntimeError, match="in the middle"), record(tiny_unet):
        raise RuntimeError("in the middle")
    assert hooks_of(tiny_unet) == 0


@torch.no_grad()
@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("fails_at", [0, 1])
def test_record_forgets_a_step_that_ends_in_an_exception(tiny_unet, tmp_path, fails_at, goes_on):
    inputs = torch.randn(1, 3, 64, 64), torch.tensor(7), torch.randn(1, 7, 64)

    def fail(*_):
        raise KeyboardInterrupt

    with record(tiny_unet) as trace:
        for step in range(2 + goes_on):
            late = tiny_unet.up_blocks[-1].register_forward_pre_hook(fail) if step == fails_at else None
            try:
                tiny_unet(*inputs)
            except KeyboardInterrupt:
                assert step == fails_at
            if late:
                late.remove()
    assert trace.steps == [step for step in range(2 + goes_on) if step != fails_at]
    assert {step for _, _, step in trace.queries} == {step for _, _, step in trace.keys} == set(trace.steps)
    loaded = Trace.load(trace.save(tmp_path / "run.safetensors"))
    assert max(loaded.verify().values()) < 1e-5 and set(loaded.proofs) == set(loaded.layers) == set(loaded.proved)
    assert len(loaded.layers) == len(record_once(tiny_unet, inputs).layers)


@torch.no_grad()
def test_trace_saved_after_an_exception_holds_finished_steps_only(tiny_unet, tmp_path):
    inputs = torch.randn(1, 3, 64, 64), torch.tensor(7), torch.randn(1, 7, 64)

    def fail(*_):
        raise RuntimeError("in the middle")

    with record(tiny_unet) as trace:
        tiny_unet(*inputs)
        late = tiny_unet.up_blocks[-1].register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            tiny_unet(*inputs)
        late.remove()
        saved = trace.save(tmp_path / "run.safetensors")
    loaded = Trace.load(saved)
    assert loaded.steps == [0] and max(loaded.verify().values()) < 1e-5


def record_once(network, inputs) -> Trace:
    with record(network) as trace:
        network(*inputs)
    return trace


@torch.no_grad()
def test_record_does_not_take_two_pictures_of_one_noise_for_a_guided_batch(tiny_unet):
    noise, words = torch.randn(1, 3, 64, 64).repeat(2, 1, 1, 1), torch.randn(2, 7, 64)
    later = torch.randn(2, 3, 64, 64)
    calls = [(noise, 900, words), (later, 500, words)]
    for options, branch, index in [({}, "picture 1 of 2", 0), ({"guided": False, "picture": 1}, "conditional", 1)]:
        with record(tiny_unet, **options) as trace:
            for call in calls:
                tiny_unet(*call)
        assert trace.branches == (branch,)
        for step, inputs in enumerate(calls):
            assert_equal_maps(trace, eager_maps(tiny_unet, *inputs), index, step)


def test_record_filters_layers_and_steps(tiny_pipeline):
    def draw(**filters):
        with record(tiny_pipeline.unet, **filters) as trace:
            tiny_pipeline("a red monster", num_inference_steps=4)
        return trace

    assert list(draw(layers=SELF).layers) == [SELF]
    assert set(draw(layers=[SELF, CROSS]).layers) == {SELF, CROSS}
    assert all(name.endswith("attn1") for name in draw(layers=lambda name: name.endswith("attn1")).layers)
    assert draw(steps=[0, 2]).steps == [0, 2]
    odd = draw(steps=lambda step: step % 2)
    assert odd.steps == [1, 3] and odd.timesteps[3] < odd.timesteps[1]
    with pytest.raises(ValueError, match="no attention layer 'attn9'; there are"):
        draw(layers="attn9")
    with pytest.raises(ValueError, match="matches no layer"):
        draw(layers=lambda name: False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_record_keeps_the_given_precision(tiny_unet, dtype):
    inputs = torch.randn(1, 3, 64, 64), 40, torch.randn(1, 7, 64)
    own = recorded(tiny_unet, *inputs)
    assert {tensor.dtype for tensor in own.queries.values()} == {torch.float32}
    told = recorded(tiny_unet, *inputs, dtype=dtype)
    assert {tensor.dtype for tensor in told.queries.values()} == {dtype}
    assert told.kept_bytes * 2 == own.kept_bytes
    half = recorded(tiny_unet.to(torch.bfloat16), *(x.to(torch.bfloat16) if torch.is_tensor(x) else x for x in inputs))
    assert {tensor.dtype for tensor in half.keys.values()} == {torch.bfloat16}


def test_record_skips_layer_with_numbers_too_large_for_dtype(tiny_unet):
    with torch.no_grad():
        tiny_unet.get_submodule(SELF).to_q.weight.mul_(1e7)
    inputs = torch.randn(1, 3, 64, 64), 40, torch.randn(1, 7, 64)
    assert SELF in recorded(tiny_unet, *inputs).layers
    assert "does not fit into torch.float16" in recorded(tiny_unet, *inputs, dtype=torch.float16).skipped[SELF]


def test_previews_are_the_predicted_clean_picture(tiny_pipeline):
    from viz.recording.run import previewer

    class Oracle(nn.Module):
        """Answers with the velocity that leads to one picture, and has attention for the recorder to find."""

        def __init__(self, unet, scheduler, picture):
            super().__init__()
            self.unet, self.scheduler, self.picture = unet, scheduler, picture

        def forward(self, sample, timestep):
            self.unet(sample, timestep, torch.zeros(len(sample), 3, 64))
            alpha = self.scheduler.alphas_cumprod[timestep]
            noise = (sample - alpha.sqrt() * self.picture) / (1 - alpha).sqrt()
            return (self.scheduler.get_velocity(self.picture, noise, torch.tensor([timestep])),)

    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    oracle = Oracle(tiny_pipeline.unet, tiny_pipeline.scheduler, picture)
    trace = recorded(oracle, torch.randn(1, 3, 64, 64), 300, preview=previewer(tiny_pipeline))
    expected = ((picture[0].permute(1, 2, 0) + 1) * 127.5).round()
    assert (torch.from_numpy(trace.previews[0]).float() - expected).abs().max() <= 1


def test_record_skips_layer_that_cannot_be_proved(tiny_unet):
    class Linear(AttnProcessor):
        """Linear attention in the place of softmax attention: there is no map to show."""

        def __call__(self, attn, hidden_states, encoder_hidden_states=None, *arguments, **named):
            keys = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            q, k, v = attn.to_q(hidden_states), attn.to_k(keys), attn.to_v(keys)
            return attn.to_out[0](q.softmax(-1) @ (k.softmax(-2).transpose(-1, -2) @ v))

    tiny_unet.get_submodule(SELF).processor = Linear()
    trace = recorded(tiny_unet, torch.randn(1, 3, 64, 64), 40, torch.randn(1, 7, 64))
    assert SELF not in trace.layers and "is not softmax(QKᵀ)·V" in trace.skipped[SELF]
    assert CROSS in trace.layers and max(trace.verify().values()) < 1e-5
    with pytest.raises(KeyError, match="found but not recorded"):
        trace.rows(SELF, step=0, query=(0, 0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_record_moves_tensors_off_the_gpu(tiny_pipeline):
    tiny_pipeline.to("cuda")
    try:
        plain = tiny_pipeline("a red monster", seed=3, num_inference_steps=3).images[0]
        with record(tiny_pipeline.unet) as trace:
            watched = tiny_pipeline("a red monster", seed=3, num_inference_steps=3).images[0]
    finally:
        tiny_pipeline.to("cpu")
    assert plain.tobytes() == watched.tobytes() and not trace.skipped
    assert {tensor.device.type for store in (trace.queries, trace.keys) for tensor in store.values()} == {"cpu"}
    assert max(trace.verify().values()) < 1e-4


def test_record_skips_fused_projections(tiny_unet):
    attention = tiny_unet.get_submodule(SELF)
    attention.fuse_projections()
    attention.processor = FusedAttnProcessor2_0()
    trace = recorded(tiny_unet, torch.randn(1, 3, 64, 64), 40, torch.randn(1, 7, 64))
    assert "fused" in trace.skipped[SELF] and SELF not in trace.layers


def test_record_does_not_believe_the_flag_that_fusing_leaves_behind(tiny_unet):
    attention = tiny_unet.get_submodule(SELF)
    attention.fuse_projections()
    attention.processor = AttnProcessor2_0()
    assert attention.fused_projections
    assert not recorded(tiny_unet, torch.randn(1, 3, 64, 64), 40, torch.randn(1, 7, 64)).skipped


def test_record_refuses_a_network_without_attention():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.SiLU())
    with pytest.raises(ValueError, match=r"in Sequential .*saw Conv2d, Sequential, SiLU"), record(network):
        pass


def test_record_keeps_normalised_queries_and_keys():
    """`qk_norm` acts after the projection; what is kept is what the scores are made of."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention(16, heads=2, dim_head=8, qk_norm="layer_norm")

        def forward(self, sample, t):
            return self.attention(sample.flatten(2).transpose(1, 2))

    torch.manual_seed(0)
    trace = recorded(Network(), torch.randn(1, 16, 6, 4), torch.tensor([7]))
    assert trace.timesteps == {0: 7.0} and trace.layers["attention"].grid == (6, 4)
    q = trace.queries[trace.branches[0], "attention", 0]
    assert q.mean(-1).abs().max() < 1e-5
    assert trace.verify()["attention"] < 1e-5
