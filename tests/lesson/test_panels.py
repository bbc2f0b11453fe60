"""The lesson's numbers: those of the trace, of the module itself, and of what is claimed about pixels and places."""

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn
from torch.nn import functional as F

from models.classic import (
    AttnBlock,
    ClassicUNet,
    CrossAttentionBlock,
    MultiheadBlock,
    QuadraticAttention,
    RelativeAttention,
    SelfAttention2d,
)
from viz.layer import Layer
from viz.lesson.experiments import (
    centre_and_spread,
    convolution_gap,
    how_far,
    on_pixels,
    places,
    score_terms,
    shuffle,
    where_heads_look,
)
from viz.lesson.panels import feature_colors, flatten, layers_needed, lesson, receptive_field, unflatten, watch
from viz.lesson.watch import Call, replay, watch_call
from viz.recipe import Recipe
from viz.recording.run import perform

SELF = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
CROSS = "down_blocks.1.attentions.0.transformer_blocks.0.attn2"
RECIPE = Recipe("a green monster with two yellow eyes", seed=3, steps=3)


@pytest.fixture(scope="module")
def seen(shared_pipeline):
    return watch(shared_pipeline, RECIPE, SELF, step=1)


def awake(network: nn.Module) -> nn.Module:
    """Random weights everywhere: what starts at zero would leave nothing to see."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network.eval()


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("step", [0, 2])
def test_what_is_watched_is_what_the_trace_kept(shared_pipeline, guidance, step):
    recipe = Recipe(RECIPE.caption, seed=5, steps=3, guidance=guidance)
    trace = perform(recipe, shared_pipeline)
    calls = replay(shared_pipeline, recipe)
    assert len(calls) == 3
    for name, layer in trace.layers.items():
        seen = watch_call(shared_pipeline.unet, calls[step], name)
        assert seen.layer == layer
        assert torch.equal(seen.query, trace.queries["conditional", name, step])
        assert torch.equal(seen.key, trace.keys["conditional", name, step])
        row = trace.rows(name, step=step, query=(3, 5), head=1)
        assert (lesson(seen, (3, 5), 1).row - row).abs().max() < 1e-6


def test_the_pipeline_is_left_as_it_was(shared_pipeline):
    watch(shared_pipeline, RECIPE, SELF, step=0)
    hooks = [m for m in shared_pipeline.unet.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooks == []


@pytest.mark.parametrize("layer", [SELF, CROSS, "mid_block.attentions.0.transformer_blocks.0.attn1"])
def test_in_a_transformer_block_the_panels_end_in_the_blocks_own_output(shared_pipeline, layer):
    seen = watch(shared_pipeline, RECIPE, layer, step=1)
    assert seen.residual and seen.gamma is None and seen.out_weight is not None
    assert (seen.features - seen.given).abs().max() > 0.1  # before and after the norm
    for head in range(seen.layer.heads):
        panels = lesson(seen, (2, 7), head)
        assert panels.difference < 1e-5 < (panels.output - seen.features[:, 2, 7]).abs().max()
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


def classic_unet(**options) -> ClassicUNet:
    return ClassicUNet(channels=(16, 16), groups=4, heads=4, attention_levels=(1,), **options)


@pytest.mark.parametrize(
    ("network", "layer", "residual"),
    [
        (diffusers_unet, "down_blocks.1.attentions.0", True),
        (lambda: classic_unet(attention="sagan"), "up.1.attention", True),
        (lambda: classic_unet(attention="ddpm"), "up.1.attention", True),
        (lambda: classic_unet(attention="multihead"), "down.1.attention", True),
    ],
    ids=["diffusers", "sagan", "ddpm", "multihead"],
)
def test_in_each_family_the_panels_end_in_the_blocks_own_output(network, layer, residual):
    torch.manual_seed(0)
    network = awake(network())
    seen = watch_call(network, Call((numbers(1, 3, 16, 16), 10), {}), layer)
    assert seen.residual == residual and seen.layer.grid == (8, 8)
    module = network.get_submodule(layer)
    assert seen.gamma == (pytest.approx(module.gamma.item()) if hasattr(module, "gamma") else None)
    with torch.no_grad():
        assert torch.allclose(module(seen.given[None])[0].flatten(1).T, seen.output, atol=1e-5)
    for head in range(seen.layer.heads):
        panels = lesson(seen, (2, 5), head)
        assert panels.difference < 1e-5 and panels.query_difference < 1e-5
        assert (panels.output - seen.features[:, 2, 5]).abs().max() > 1e-3


class _OnPixels(nn.Module):
    """A network that is one block between pixels."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.attention = block

    def forward(self, sample):
        block = self.attention
        return on_pixels(block, sample.shape[2:])(sample) if isinstance(block, RelativeAttention) else block(sample)


@pytest.mark.parametrize(
    "block",
    [RelativeAttention(12, (6, 5), heads=3, head_dim=4), QuadraticAttention(12, 12, heads=3, head_dim=4)],
    ids=["relative", "quadratic"],
)
def test_blocks_with_positions_are_watched_like_any_other(block):
    network = _OnPixels(awake(block))
    seen = watch_call(network, Call((numbers(1, 12, 6, 5),), {}), "attention")
    assert seen.layer.kind == "self" and seen.layer.heads == 3 and not seen.residual
    assert seen.query_weight is None  # q is more than a projection: it knows where its pixel is
    panels = lesson(seen, (4, 1), 2)
    assert panels.difference < 1e-5 and panels.query_difference is None
    if isinstance(block, RelativeAttention):
        terms = score_terms(block, seen.tokens, (4, 1), 2)
        assert len(terms) == 4 and (sum(terms.values()) - panels.scores).abs().max() < 1e-5


def test_the_cross_attention_block_is_watched_over_words():
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cross = awake(CrossAttentionBlock(16, 8, heads=2, groups=4))

        def forward(self, sample, words):
            return self.cross(sample, words)

    seen = watch_call(Network(), Call((numbers(1, 16, 6, 5), numbers(1, 7, 8)), {}), "cross")
    panels = lesson(seen, (1, 2), 1)
    assert panels.row.shape == panels.scores.shape == (7,) and panels.keys.shape == (7, 8)
    assert panels.difference < 1e-5 and seen.residual
    assert [entry.place for entry in panels.top] == [None] * 5


def test_the_panels_of_a_query(seen):
    place, head = (6, 9), 1
    panels = lesson(seen, place, head)
    layer = seen.layer
    assert panels.index == 6 * layer.grid[1] + 9 and torch.equal(panels.query, seen.query[head, panels.index])
    assert torch.equal(panels.pixel, seen.given[:, 6, 9])  # row i of the list is the cell's channels
    assert panels.scores.shape == panels.row.shape == layer.grid
    for key in [(0, 0), (6, 9), (15, 30)]:
        k = panels.keys[flatten(layer.grid, key)]
        assert panels.scores[key].item() == pytest.approx((panels.query @ k).item() * layer.head_dim**-0.5, abs=1e-5)
        expected = panels.scores[key].exp() / panels.scores.exp().sum()
        assert panels.row[key].item() == pytest.approx(expected.item(), abs=1e-6)
    assert panels.total == pytest.approx(1, abs=1e-6)


def test_the_largest_entries_and_what_they_contribute(seen):
    panels = lesson(seen, (6, 9), 1)
    assert [entry.weight for entry in panels.top] == panels.row.flatten().sort(descending=True).values[:5].tolist()
    for entry, part in zip(panels.top, panels.contributions, strict=True):
        assert panels.row[entry.place].item() == entry.weight
        assert torch.allclose(part, entry.weight * seen.value[1, entry.index])
    everything = lesson(seen, (6, 9), 1, top=10_000)
    assert len(everything.top) == seen.layer.tokens
    assert (everything.contributions.sum(0) - panels.attended).abs().max() < 1e-5
    d = seen.value.shape[2]
    assert torch.equal(panels.joined[d : 2 * d], panels.attended)


def test_temperature_sharpens_and_flattens_and_says_what_it_changed(seen):
    cold, own, hot = (lesson(seen, (6, 9), 0, temperature=t) for t in (0.01, 1, 1000))
    assert cold.row.max() > own.row.max() > hot.row.max()
    assert torch.allclose(hot.row, torch.full_like(hot.row, 1 / seen.layer.tokens), rtol=1e-2)
    assert cold.row.argmax() == own.scores.argmax()
    assert all(panels.total == pytest.approx(1, abs=1e-6) for panels in (cold, own, hot))
    assert own.difference < 1e-5 < min(cold.difference, hot.difference)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((16, 99), 0), IndexError, r"\(16, 99\) is outside the 32x32 grid"),
        (((0, 0), 2), IndexError, "head 2 is outside the 2 heads of"),
    ],
)
def test_what_is_not_there_is_refused(seen, arguments, error, message):
    with pytest.raises(error, match=message):
        lesson(seen, *arguments)
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        lesson(seen, (0, 0), 0, temperature=0)


def test_an_unknown_layer_is_refused(shared_pipeline):
    with pytest.raises(KeyError, match=r"no layer 'up\.9'"):
        watch(shared_pipeline, RECIPE, "up.9", step=0)


def test_flattening_and_back():
    grid = (3, 5)
    cells = numbers(4, *grid)
    rows = cells.flatten(1).T  # (N, C)
    for index in range(15):
        place = unflatten(grid, index)
        assert flatten(grid, place) == index and torch.equal(rows[index], cells[:, place[0], place[1]])
    for wrong in (-1, 15):
        with pytest.raises(IndexError, match="outside a list of 15"):
            unflatten(grid, wrong)


def test_feature_colors_are_principal_components():
    ramp = torch.arange(12.0).reshape(3, 4) - 5.5
    features = torch.stack([10 * ramp, torch.zeros(3, 4), 0.1 * (ramp.square() - ramp.square().mean())])
    colors = feature_colors(features)
    assert colors.shape == (3, 4, 3)
    assert torch.allclose(colors[..., 0], (ramp - ramp.min()) / (ramp.max() - ramp.min()), atol=1e-5)
    assert colors[..., 1].min() == 0 and colors[..., 1].max() == 1
    assert (colors[..., 2] == 0.5).all()  # there is no third component
    assert (feature_colors(torch.ones(2, 3, 4)) == 0.5).all()


@pytest.mark.parametrize(("layers", "kernel"), [(1, 3), (3, 3), (2, 5)])
def test_the_receptive_field_is_what_convolutions_really_see(layers, kernel):
    place, picture = (4, 1), torch.zeros(1, 1, 12, 9, requires_grad=True)
    x = picture
    for _ in range(layers):
        x = F.conv2d(x, torch.ones(1, 1, kernel, kernel), padding=kernel // 2)
    x[0, 0, *place].backward()
    field = receptive_field((12, 9), place, layers, kernel)
    assert torch.equal(field, picture.grad[0, 0] != 0)
    for key in [(0, 0), (4, 1), (4, 2), (11, 8), (9, 4)]:
        needed = layers_needed(place, key, kernel)
        assert receptive_field((12, 9), place, needed, kernel)[key]
        assert needed == 1 or not receptive_field((12, 9), place, needed - 1, kernel)[key]


@pytest.mark.parametrize("step", [0, 2])
def test_shuffled_pixels_come_out_of_the_bundled_kind_of_attention_shuffled(shared_pipeline, step):
    seen = watch(shared_pipeline, RECIPE, SELF, step=step)
    order = torch.randperm(seen.layer.tokens, generator=torch.Generator().manual_seed(0))
    module = shared_pipeline.unet.get_submodule(SELF)
    result = shuffle(on_pixels(module, seen.layer.grid), seen.given, order)
    assert (
        result.gap
        < 1e-5
        < 1e-2
        < (result.shuffled_after.flatten(1) - result.shuffled_after.flatten(1)[:, order]).abs().max()
    )
    convolution = nn.Conv2d(len(seen.given), 4, 3, padding=1)
    assert shuffle(convolution, seen.given, order).gap > 0.1


@pytest.mark.parametrize(
    ("function", "blind"),
    [
        (awake(SelfAttention2d(16)), True),
        (awake(AttnBlock(16, groups=4)), True),
        (awake(MultiheadBlock(16, groups=4)), True),
        (awake(nn.Conv2d(16, 16, 3, padding=1)), False),
        (awake(QuadraticAttention(16, 16, heads=4)), False),
        (on_pixels(awake(RelativeAttention(16, (6, 5), heads=2, head_dim=8)), (6, 5)), False),
    ],
    ids=["sagan", "ddpm", "multihead", "convolution", "quadratic", "relative"],
)
def test_convolutions_and_positions_know_where_things_are(function, blind):
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    result = shuffle(function, numbers(16, 6, 5), order)
    assert result.gap < 1e-5 if blind else result.gap > 0.05
    assert result.shuffled_first.shape == result.shuffled_after.shape == (16, 6, 5)


def test_nine_heads_become_a_convolution_of_real_features(seen):
    torch.manual_seed(0)
    convolution = nn.Conv2d(len(seen.given), 4, 3, padding=1)
    gaps = [convolution_gap(convolution, seen.given, sharpness) for sharpness in (1, 5, 25)]
    assert gaps[0] > gaps[1] > 1e-4 > gaps[2]


def test_a_heads_ellipse_is_where_it_looks():
    with torch.no_grad():
        block = QuadraticAttention(4, 4, heads=1)
        block.to_q.centres.copy_(torch.tensor([[2.0, -3.0]]))
        block.to_q.sharpness.fill_(0.5)
        query = (12, 14)
        row = block.scores(25, 27).softmax(-1)[0, flatten((25, 27), query)].unflatten(0, (25, 27))
    shift, covariance = centre_and_spread(row, query)
    assert torch.allclose(shift, torch.tensor([2.0, -3.0]), atol=1e-3)
    assert torch.allclose(covariance, torch.eye(2), atol=1e-2)  # 1/(2α)
    shift, covariance = centre_and_spread(F.one_hot(torch.tensor(7), 12).reshape(3, 4).float(), (1, 1))
    assert shift.tolist() == [0, 2] and covariance.abs().max() == 0


def test_where_every_head_looks_is_each_rows_centre_and_spread(shared_pipeline, seen):
    call = replay(shared_pipeline, RECIPE)[1]
    found = where_heads_look(shared_pipeline.unet, call)
    assert len(found) > 3 and all(layer.kind == "self" for layer, _ in found)
    where = dict((layer.name, where) for layer, where in found)[SELF]
    assert where.shape == (seen.layer.heads, seen.layer.tokens, 5)
    height, width = seen.layer.grid
    for query, head in (((0, 0), 0), ((5, 3), 1)):
        shift, spread = centre_and_spread(lesson(seen, query, head).row, query)
        down, right, dd, dr, rr = where[head, flatten(seen.layer.grid, query)].tolist()
        assert (down * height, right * width) == pytest.approx(shift.tolist(), abs=1e-4)
        wanted = spread[0, 0].item(), spread[0, 1].item(), spread[1, 1].item()
        assert (dd * height**2, dr * height * width, rr * width**2) == pytest.approx(wanted, abs=1e-3)


def test_how_far_heads_look():
    class Everywhere(nn.Module):
        """One head that looks where the query is, more or less sharply; not at all sharply is everywhere alike."""

        def __init__(self, sharpness: float) -> None:
            super().__init__()
            self.attention = QuadraticAttention(4, 4, heads=1)
            with torch.no_grad():
                self.attention.to_q.centres.zero_()
                self.attention.to_q.sharpness.fill_(sharpness)

        def forward(self, sample):
            return self.attention(sample)

    call = Call((numbers(1, 4, 16, 16),), {})
    (far,), (near,) = (how_far(Everywhere(sharpness), [call, call])["attention"] for sharpness in (0, 100))
    assert far == pytest.approx(3**-0.5, abs=0.02) and near < 1e-3


def test_keys_that_are_no_pixels_have_no_place():
    layer = Layer("layer", "self", (2, 2), heads=1, head_dim=2, scale=1.0, keys=5)
    query, key = numbers(1, 4, 2), numbers(1, 5, 2, seed=1)
    pixels = Layer("layer", "self", (2, 2), heads=1, head_dim=2, scale=1.0, keys=4)
    assert torch.equal(places(layer, query, key), places(pixels, query, key[:, 1:]))
