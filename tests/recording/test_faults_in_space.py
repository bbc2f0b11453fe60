"""The wrong cells: masks of a region, tokens that are no grid, segments in another order, frames, a pooled text."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from diffusers.models.unets.unet_stable_cascade import SDCascadeAttnBlock
from torch import nn

from tests.support import processors
from tests.support.faults import DOWN, MID, WORDS, assert_right, calls, unet, watch, weights_of
from tests.support.random_weights import numbers, randomize


class OneLayer(nn.Module):
    """A network of one attention module, `attention`, which takes (B, N, C)."""

    def __init__(self, channels=16, heads=2, **options):
        super().__init__()
        torch.manual_seed(5)
        self.attention = Attention(channels, heads=heads, dim_head=channels // heads, **options)
        with torch.no_grad():
            self.attention.to_q.weight.mul_(4)
            self.attention.to_k.weight.mul_(4)

    def forward(self, sample, timestep, encoder_hidden_states=None):
        return self.attend(sample)

    def attend(self, x, **named):
        tokens = x.flatten(2).transpose(1, 2)
        return self.attention(tokens, **named).transpose(1, 2).unflatten(2, x.shape[2:])


def one_call(*shape, steps=1, words=None):
    @torch.no_grad()
    def run(network):
        return [network(numbers(*shape, seed=step), 500, words) for step in range(steps)]

    return run


# -- 2: a mask of a region -------------------------------------------------------------------------------------------


class Region(OneLayer):
    """The cells of a box may look only into the box."""

    def __init__(self, grid, box):
        super().__init__(channels=4, heads=1)
        cells = grid[0] * grid[1]
        rows, columns = torch.arange(cells) // grid[1], torch.arange(cells) % grid[1]
        inside = (rows >= box[0]) & (rows < box[1]) & (columns >= box[2]) & (columns < box[3])
        self.register_buffer("mask", torch.zeros(cells, cells))
        self.mask[inside[:, None] & ~inside[None, :]] = -torch.inf

    def forward(self, sample, timestep, encoder_hidden_states=None):
        return self.attend(sample, attention_mask=self.mask.expand(len(sample), -1, -1))


@pytest.mark.parametrize("box", [(10, 30, 35, 55), (0, 20, 44, 64)])
def test_record_finds_the_mask_of_a_box_of_a_64x64_grid(box):
    """400 of 4096 rows, none of which is on the diagonal: 64 scattered places miss them once in 700 steps."""
    watched = watch(lambda: Region((64, 64), box), one_call(1, 4, 64, 64))
    assert assert_right(watched, batch=1) == 0
    assert "mask" in watched.trace.skipped["attention"] and "attention" in watched.error


@pytest.mark.parametrize("cell", range(0, 24, 5))
def test_every_row_of_a_small_grid_is_compared_at_first(cell):
    """One row of 24 is masked: fewer than are compared at a layer's first step."""
    row, column = cell // 6, cell % 6
    watched = watch(lambda: Region((4, 6), (row, row + 1, column, column + 1)), one_call(1, 4, 4, 6))
    assert assert_right(watched, batch=1) == 0


def test_record_finds_a_small_box_over_a_run():
    """9 of 256 cells: each step visits other places, and misses them once in ten times."""
    watched = watch(lambda: Region((16, 16), (3, 6, 9, 12)), one_call(1, 4, 16, 16, steps=6))
    assert assert_right(watched, batch=1, tolerance=2.0) < 6, "every step was taken for right"


# -- 5: what is no grid ----------------------------------------------------------------------------------------------


@torch.no_grad()
def processed(processor, part="attn1"):
    network = unet()
    for name, module in network.named_modules():
        if name.endswith(part):
            module.processor = processor()
    return network


def test_record_draws_no_merged_tokens():
    """Of 8×8 cells a quarter is left: as many tokens as a 4×4 map has cells."""
    watched = watch(lambda: processed(processors.MergedTokens), calls())
    assert assert_right(watched, batch=2) == 3 * 4
    assert all(name.endswith("attn2") for name in watched.trace.layers)
    assert {name for name in watched.trace.skipped} >= {f"{DOWN}.attn1", f"{MID}.attn1"}
    assert "16 tokens" in watched.trace.skipped[f"{DOWN}.attn1"]


class Shuffled(OneLayer):
    """Each projection has a norm of its own, and the cells come in an order of their own."""

    def __init__(self, seed):
        super().__init__()
        self.attention = Separate()
        self.order = torch.randperm(16, generator=torch.Generator().manual_seed(seed))

    def attend(self, x, **named):
        tokens = x.flatten(2).transpose(1, 2)[:, self.order]
        return self.attention(tokens)[:, self.order.argsort()].transpose(1, 2).unflatten(2, x.shape[2:])


class Separate(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = 1
        self.before_q, self.before_k, self.before_v = (nn.LayerNorm(16) for _ in range(3))
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x):
        q, k, v = self.to_q(self.before_q(x)), self.to_k(self.before_k(x)), self.to_v(self.before_v(x))
        return self.to_out(torch.softmax(q @ k.transpose(1, 2) / 4, dim=-1) @ v)


def test_pixels_in_an_order_of_their_own_are_put_right_or_left_out():
    for seed in range(40):
        watched = watch(lambda seed=seed: Shuffled(seed), one_call(1, 16, 4, 4))
        for layer in watched.trace:
            order = Shuffled(seed).order.argsort()
            expected = watched.oracle.weights(layer.name, 0, 1)[0][:, order][:, :, order]
            recorded = weights_of(watched.trace, watched.trace.branches[0], layer.name, 0)
            assert (recorded - expected).abs().max() < 1e-5, f"drawn in another order, seed {seed}"


class Stretched(OneLayer):
    """A stem with another stride in each direction: 32×128 to 16×16, where halving would give 8×32."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, (2, 8), stride=(2, 8))

    def forward(self, sample, timestep, encoder_hidden_states=None):
        return self.attend(self.stem(sample))


def test_grid_is_that_of_the_feature_map():
    watched = watch(Stretched, one_call(2, 3, 32, 128))
    assert assert_right(watched, batch=2) == 1
    assert watched.trace.layers["attention"].grid == (16, 16)


class ByColumns(OneLayer):
    def attend(self, x, **named):
        return super().attend(x.transpose(2, 3)).transpose(2, 3)


def test_pixels_that_were_flattened_by_columns_lie_by_rows():
    watched = watch(ByColumns, one_call(1, 16, 4, 6))
    trace, (layer,) = watched.trace, watched.trace.layers.values()
    assert layer.grid == layer.key_grid == (4, 6)
    expected = watched.oracle.weights("attention", 0, 1)[0].unflatten(2, (6, 4)).unflatten(1, (6, 4))
    expected = expected.transpose(1, 2).transpose(3, 4)  # (H, h, w, h, w)
    for query in [(0, 0), (1, 4), (3, 2)]:
        row = trace.rows("attention", step=0, query=query)
        assert (row - expected[:, query[0], query[1]]).abs().max() < 1e-5


# -- 6: segments ------------------------------------------------------------------------------------------------------


def kinds(segments):
    return [(segment.kind, segment.tokens, segment.grid) for segment in segments]


def test_objects_of_gligen_come_after_the_pixels():
    objects = 3

    def make():
        network = unet(attention_type="gated")
        torch.manual_seed(6)
        for name, parameter in network.named_parameters():
            if "alpha_attn" in name or "alpha_dense" in name:
                nn.init.constant_(parameter, 0.7)
        return network

    gligen = {
        "boxes": torch.rand(2, objects, 4, generator=torch.Generator().manual_seed(1)),
        "masks": torch.ones(2, objects),
        "positive_embeddings": numbers(2, objects, 16, seed=2),
    }
    watched = watch(make, calls(lambda network, step: {"cross_attention_kwargs": {"gligen": dict(gligen)}}))
    assert assert_right(watched, batch=2) >= 3 * 8
    layer = watched.trace.layers[f"{DOWN}.fuser.attn"]
    for segments in (layer.queries, layer.keys):
        (pixels, others) = kinds(segments)
        assert pixels == ("pixels", 64, (8, 8)) and others[0] in ("objects", "unknown") and others[1] == objects


class Cascade(nn.Module):
    """Stable Cascade's block: the keys are pixels and words."""

    def __init__(self, self_attn=True):
        super().__init__()
        self.block = randomize(SDCascadeAttnBlock(16, 12, nhead=2, self_attn=self_attn))

    def forward(self, sample, timestep, encoder_hidden_states):
        return self.block(sample, encoder_hidden_states)


def test_keys_of_stable_cascade_are_pixels_and_words():
    words = numbers(2, WORDS, 12, seed=3)
    watched = watch(Cascade, one_call(2, 16, 4, 6, words=words))
    assert assert_right(watched, batch=2) == 1
    layer = watched.trace.layers["block.attention"]
    assert kinds(layer.keys)[0] == ("pixels", 24, (4, 6)) and kinds(layer.queries) == [("pixels", 24, (4, 6))]
    assert kinds(layer.keys)[1] in [("words", WORDS, None), ("unknown", WORDS, None)] and layer.kind == "self"


def test_keys_of_stable_cascade_without_pixels_are_no_pixels():
    words = numbers(2, 24, 12, seed=3)  # as many as there are cells
    watched = watch(lambda: Cascade(False), one_call(2, 16, 4, 6, words=words))
    assert assert_right(watched, batch=2) == 1
    assert watched.trace.layers["block.attention"].kind == "cross"


def test_keys_of_a_coarser_map_are_its_pixels():
    watched = watch(lambda: processed(processors.CoarserKeys), calls())
    compared = assert_right(watched, batch=2)
    layer = watched.trace.layers.get(f"{DOWN}.attn1")
    if layer is None:  # the code in between cannot be followed
        assert compared == 3 * 4 and watched.trace.skipped[f"{DOWN}.attn1"]
    else:
        assert kinds(layer.queries) == [("pixels", 64, (8, 8))]
        assert kinds(layer.keys) in ([("pixels", 16, (4, 4))], [("unknown", 16, None)])


def test_keys_of_pvt_are_the_pixels_of_a_coarser_map():
    config = hf.PvtConfig(
        image_size=32, depths=[1] * 4, hidden_sizes=[8] * 4, num_attention_heads=[1, 2, 2, 2], patch_sizes=[4, 2, 2, 2],
    )  # fmt: skip

    def make():
        torch.manual_seed(8)
        return hf.PvtModel(config).eval()

    @torch.no_grad()
    def run(network):
        return [network(numbers(1, 3, 32, 32)).last_hidden_state]

    watched = watch(make, run)
    assert assert_right(watched, batch=1) == len(watched.trace.layers)
    for layer in watched.trace:
        assert {segment.kind for segment in layer.keys} <= {"pixels", "registers", "unknown"}
        if layer.key_grid is not None and layer.grid == (8, 8):
            assert layer.key_grid == (1, 1)  # reduced by 8


# -- 8 and 10: frames, a pooled text -----------------------------------------------------------------------------------


class Video(nn.Module):
    """AnimateDiff's motion module: 16 frames of 4×4 cells."""

    def __init__(self, frames):
        super().__init__()
        torch.manual_seed(9)
        self.frames = frames
        self.motion = TransformerTemporalModel(2, 8, in_channels=16, norm_num_groups=4)
        self.space = OneLayer()

    def forward(self, sample, timestep, encoder_hidden_states=None):
        return self.motion(self.space(sample, timestep), num_frames=self.frames).sample


@pytest.mark.parametrize("frames", [16, 8])
def test_frames_are_named_and_not_drawn(frames):
    watched = watch(lambda: Video(frames), one_call(16, 16, 4, 4))
    temporal = [name for name in watched.trace.skipped if name.startswith("motion")]
    assert len(temporal) == 2 and list(watched.trace.layers) == ["space.attention"]
    for name in temporal:
        reason = watched.trace.skipped[name]
        assert "frames" in reason and "window" not in reason


def test_a_text_pooler_is_no_map():
    def make():
        network = unet(addition_embed_type="text", addition_embed_type_num_heads=2)
        return network

    watched = watch(make, calls())
    pooler = "add_embedding.pool"
    assert (pooler, 0) in watched.oracle.ran()
    assert pooler not in watched.trace.layers and watched.trace.skipped[pooler].strip()
    assert assert_right(watched, batch=2) == 3 * 8
    assert {layer.grid for layer in watched.trace} == {(8, 8), (4, 4)}


def test_attention_at_a_1x1_map_is_drawn():
    """The U-Net's own: its feature map is 1×1, too, and it is a map."""

    def make():
        torch.manual_seed(3)
        return UNet2DModel(
            sample_size=2, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        ).eval()  # fmt: skip

    @torch.no_grad()
    def run(network):
        return [network(numbers(1, 3, 2, 2), 5).sample]

    watched = watch(make, run)
    assert assert_right(watched, batch=1) == len(watched.trace.layers) > 0
    assert {layer.grid for layer in watched.trace} == {(1, 1)}
