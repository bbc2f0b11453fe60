"""Every family of attention modules: found by its structure, proved, and its maps compared with independent ones."""

import pytest
import torch
import transformers as hf
from torch import nn

from tests.support import families as f
from viz import Trace, record

PIXELS = torch.randn(2, 32, 6, 4, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def recorded(network, *arguments, **named) -> Trace:
    network.eval()
    plain = network(*arguments)
    with record(network, **named) as trace:
        watched = network(*arguments)
    plain, watched = (y if torch.is_tensor(y) else y[0] for y in (plain, watched))
    assert torch.equal(plain, watched)  # to the bit
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    return trace


def assert_proved(trace: Trace, names=("attention",), grid=(6, 4)) -> None:
    assert set(trace.layers) == set(names) and not trace.skipped
    assert max(trace.proved.values()) < 1e-5 and max(trace.verify().values()) < 1e-5
    assert {layer.grid for layer in trace} == {grid}


@pytest.mark.parametrize("family", f.FAMILIES)
def test_probe_finds_family_and_proof_holds(family):
    torch.manual_seed(1)
    make, tokens = f.FAMILIES[family]
    trace = recorded(f.Net(make(), tokens), PIXELS, torch.tensor([7, 7]), picture=1)
    assert_proved(trace)
    assert trace.layers["attention"].kind == "self" and trace.timesteps == {0: 7.0}


def test_trace_of_family_survives_its_file(tmp_path):
    for i, (make, tokens) in enumerate(f.FAMILIES.values()):
        trace = recorded(f.Net(make(), tokens), PIXELS, 7)
        again = Trace.load(trace.save(tmp_path / f"{i}.safetensors"))
        assert again.verify() == pytest.approx(trace.verify(), rel=1e-3) and again.layers == trace.layers


@pytest.mark.parametrize("legacy", [True, False])
def test_packed_probe_leaves_order_of_heads_to_the_proof(legacy):
    """Both orders have the same shapes; the wrong one gives other maps."""
    torch.manual_seed(2)
    block = f.OpenAIAttention(32, legacy=legacy)
    trace = recorded(f.Net(block), PIXELS, 7)
    with torch.no_grad():
        qkv = block.qkv(block.norm(PIXELS[:1].flatten(2)))[0]  # (3C, N)
    parts = qkv.view(4, 3, 8, 24) if legacy else qkv.view(3, 4, 8, 24).transpose(0, 1)
    expected = torch.softmax(parts[:, 0].transpose(1, 2) @ parts[:, 1] * 8**-0.5, dim=-1)  # (H, N, N)
    assert (trace.rows("attention", step=0, query=(2, 1)).flatten(1) - expected[:, 9]).abs().max() < 1e-6


def test_sagan_probe_gives_the_map_that_the_module_returns():
    torch.manual_seed(3)
    block = f.SAGANAttention(32)
    trace = recorded(f.Net(block), PIXELS, 7)
    own = block(PIXELS)[1][0]  # (N, N)
    assert trace.layers["attention"].scale == 1 and trace.layers["attention"].head_dim == 4
    assert (trace.rows("attention", step=0, query=(5, 3))[0].flatten() - own[23]).abs().max() < 1e-6
    assert (trace.columns("attention", step=0, key=(5, 3))[0].flatten() - own[:, 23]).abs().max() < 1e-6


def test_packed_probe_leaves_learned_keys_out_of_the_map():
    torch.manual_seed(4)
    block = f.ConvolutionalAttention(32, memory=3)
    trace = recorded(f.Net(block), PIXELS, 7)
    assert trace.layers["attention"].first_key == 3 and trace.layers["attention"].key_count == 27
    row = trace.rows("attention", step=0, query=(0, 0))
    assert row.shape == (4, 6, 4) and (row.flatten(1).sum(-1) < 1).all()
    columns = torch.stack([trace.columns("attention", step=0, key=(i, j))[:, 0, 0] for i in range(6) for j in range(4)])
    assert (columns.T - row.flatten(1)).abs().max() < 1e-6


# -- modules without a map ------------------------------------------------------------------------------------------


def refused(network, *arguments) -> dict[str, str]:
    with torch.no_grad(), pytest.raises(ValueError, match="no layer could be recorded"), record(network) as trace:
        network(*arguments)
    assert not trace.layers and not trace.queries
    return trace.skipped


@pytest.mark.parametrize("memory", [0, 3])
def test_record_names_linear_attention(memory):
    reasons = refused(f.Net(f.LinearAttention(32, memory=memory)).eval(), PIXELS, 7)
    assert "linear attention" in reasons["attention"] and "no map" in reasons["attention"]


def test_sagan_probe_proves_small_gamma_up_to_rounding():
    """Subtracting the residual leaves its rounding error; a wrong map would be far beyond that."""
    network = f.Net(f.SAGANAttention(32, gamma=0.01)).eval()
    trace = recorded(network, PIXELS, 7)
    assert not trace.skipped and 0 < trace.proved["attention"] < 5e-4
    reason = refused(f.Net(f.SAGANAttention(32, gamma=1e-5)).eval(), PIXELS, 7)["attention"]
    assert "too small to tell from rounding" in reason


def test_sagan_probe_cannot_prove_gamma_of_zero():
    assert "zero everywhere" in refused(f.Net(f.SAGANAttention(32, gamma=0.0)).eval(), PIXELS, 7)["attention"]


def test_record_names_attention_within_windows():
    reasons = refused(f.Net(f.Windows(32), tokens=True).eval(), PIXELS, 7)
    assert "within parts of a picture" in reasons["attention.inner"]


def test_packed_probe_cannot_prove_wrong_scale():
    block = f.TimmAttention(32)
    block.scale = 1.0  # its forward does not use it
    assert "is not softmax(QKᵀ)·V" in refused(f.Net(block, tokens=True).eval(), PIXELS, 7)["attention"]


# -- nn.MultiheadAttention -------------------------------------------------------------------------------------------


class Multihead(nn.Module):
    def __init__(self, *, cross=False, batch_first=True, heads=4, named=False, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(32, heads, batch_first=batch_first, **options)
        self.cross, self.named = cross, named

    def forward(self, x, words=None, sigma=1.0, **more):
        tokens = x.flatten(2).transpose(1, 2)
        words = words if self.cross else tokens
        if not self.attention.batch_first:
            tokens, words = tokens.transpose(0, 1), words.transpose(0, 1)
            words = words if self.cross else tokens
        if self.named:
            return self.attention(query=tokens, key=words, value=words, **more)[0]
        return self.attention(tokens, words, words, **more)[0]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("options", [{}, {"named": True}, {"bias": False}, {"heads": 1}])
def test_multihead_probe_gives_the_map_that_the_module_returns(batch_first, cross, options):
    torch.manual_seed(5)
    network = Multihead(cross=cross, batch_first=batch_first, **options).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    words = torch.randn(2, 5, 32)
    trace = recorded(network, PIXELS, words, 3.5, picture=1)
    assert_proved(trace)
    assert trace.layers["attention"].kind == ("cross" if cross else "self") and trace.timesteps == {0: 3.5}
    tokens = PIXELS.flatten(2).transpose(1, 2)
    inputs = [tokens, words if cross else tokens, words if cross else tokens]
    with torch.no_grad():
        _, own = network.attention(
            *(x if batch_first else x.transpose(0, 1) for x in inputs), average_attn_weights=False
        )
    row = trace.rows("attention", step=0, query=(3, 2)).flatten(1)
    assert (row - own[1][:, 14]).abs().max() < 1e-6


def test_multihead_probe_takes_keys_of_other_widths():
    torch.manual_seed(6)
    network = Multihead(cross=True, kdim=12, vdim=12).eval()
    assert_proved(recorded(network, PIXELS, torch.randn(2, 5, 12)))


def test_multihead_probe_refuses_masks_and_added_keys():
    hidden = torch.zeros(2, 24, dtype=torch.bool)
    with torch.no_grad(), pytest.raises(ValueError, match="called with a mask"), record(network := Multihead().eval()):
        network(PIXELS, key_padding_mask=hidden)
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match="add_bias_kv"),
        record(network := Multihead(add_bias_kv=True)),
    ):
        network(PIXELS)


def test_encoder_layer_probe_refuses_fused_layer_and_leaves_it_alone():
    torch.manual_seed(7)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    network = f.Net(nn.Sequential(f.TimmAttention(32), layer), tokens=True)
    trace = recorded(network, PIXELS, 7)  # bit-identical, which it is not with a hook in the layer
    assert set(trace.layers) == {"attention.0"}
    assert "fused operation" in trace.skipped["attention.1"]


def test_encoder_layer_probe_lets_unfused_layer_be_recorded():
    torch.manual_seed(8)
    unfused = f.Net(nn.TransformerEncoderLayer(32, 4, 64, batch_first=False, dropout=0.0), tokens=False)
    unfused.forward = lambda x, t: unfused.attention(x.flatten(2).permute(2, 0, 1))
    assert_proved(recorded(unfused, PIXELS, 7), ["attention.self_attn"])
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        network = f.Net(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True), tokens=True)
        assert_proved(recorded(network, PIXELS, 7), ["attention.self_attn"])
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


# -- networks of other libraries --------------------------------------------------------------------------------------

SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=48)
VISION = {
    "ViT": (hf.ViTModel, hf.ViTConfig(patch_size=16, **SMALL), (3, 3), 1),
    "DeiT": (hf.DeiTModel, hf.DeiTConfig(patch_size=16, **SMALL), (3, 3), 2),
    "DINOv2": (hf.Dinov2Model, hf.Dinov2Config(patch_size=12, **SMALL), (4, 4), 1),
    "DINOv2 with registers": (
        hf.Dinov2WithRegistersModel,
        hf.Dinov2WithRegistersConfig(patch_size=12, num_register_tokens=4, **SMALL),
        (4, 4),
        5,
    ),
    "CLIP": (hf.CLIPVisionModel, hf.CLIPVisionConfig(patch_size=8, **SMALL), (6, 6), 1),
    "SigLIP": (hf.SiglipVisionModel, hf.SiglipVisionConfig(patch_size=8, vision_use_head=False, **SMALL), (6, 6), 0),
    "BLIP (packed)": (hf.BlipVisionModel, hf.BlipVisionConfig(patch_size=8, **SMALL), (6, 6), 1),
    "BEiT": (hf.BeitModel, hf.BeitConfig(patch_size=16, **SMALL), (3, 3), 1),
}


@pytest.mark.parametrize("name", VISION)
def test_probes_give_the_maps_of_transformers_vision_models(name):
    torch.manual_seed(9)
    make, config, grid, extra = VISION[name]
    config._attn_implementation = "eager"
    network = make(config).eval()
    pixels = torch.randn(2, 3, 48, 48)
    trace = recorded(network, pixels, picture=1)
    assert len(trace.layers) == 2 and not trace.skipped and max(trace.verify().values()) < 1e-5
    assert {(layer.grid, layer.first_key, layer.kind) for layer in trace} == {(grid, extra, "self")}
    with torch.no_grad():
        own = network(pixels, output_attentions=True).attentions  # (B, H, N, N) each
    for layer, map_ in zip(trace, own, strict=True):
        row = trace.rows(layer.name, step=0, query=(1, 2)).flatten(1)
        assert (row - map_[1][:, extra + grid[1] + 2, extra:]).abs().max() < 1e-6


def test_record_refuses_positions_added_to_the_scores():
    """SAM's relative positions change its maps, so q and k alone do not give them; without positions they do."""
    sizes = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, image_size=64, patch_size=16, mlp_dim=64)
    pixels = torch.randn(1, 3, 64, 64)
    for relative in (True, False):
        torch.manual_seed(10)
        config = hf.SamVisionConfig(use_rel_pos=relative, window_size=0, global_attn_indexes=[0], **sizes)
        network = hf.SamVisionModel(config).eval()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
        if relative:
            (reason,) = refused(network, pixels).values()
            assert "positions" in reason
        else:
            trace = recorded(network, pixels)
            assert [layer.grid for layer in trace] == [(4, 4)] and max(trace.verify().values()) < 1e-5


def test_record_refuses_shifted_windows():
    network = hf.SwinModel(hf.SwinConfig(image_size=32, patch_size=2, embed_dim=16, depths=[2], num_heads=[2])).eval()
    reasons = refused(network, torch.randn(1, 3, 32, 32)).values()
    assert reasons and all("within parts of a picture" in reason for reason in reasons)


def test_probes_find_attention_of_latent_diffusions_autoencoder():
    from diffusers import AutoencoderKL

    torch.manual_seed(11)
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).eval()
    trace = recorded(vae.decoder, torch.randn(1, 4, 6, 4))
    assert [layer.heads for layer in trace] == [1]
    assert_proved(trace, list(trace.layers))


# -- a module of your own --------------------------------------------------------------------------------------------


def test_documented_probe_is_short_and_proves_its_module():
    assert len(f.documented_probe().splitlines()) <= 16
    torch.manual_seed(12)
    with f.with_documented_probe():
        assert_proved(recorded(f.Net(f.YourAttention(32), tokens=True), PIXELS, 7))
