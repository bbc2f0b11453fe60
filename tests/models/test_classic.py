"""The papers' blocks: every equality that is claimed of them, in fp32."""

import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import classic
from models.classic import (
    AttentionClassifier,
    AttnBlock,
    ClassicUNet,
    CrossAttentionBlock,
    MultiheadBlock,
    QuadraticAttention,
    RelativeAttention,
    ResidualBlock,
    SelfAttention2d,
)
from viz import record

COPYABLE = {
    SelfAttention2d: ((16,), [(2, 16, 6, 5)]),
    AttnBlock: ((32,), [(2, 32, 6, 5)]),
    ResidualBlock: ((32, 64, 8), [(2, 32, 6, 5), (2, 8)]),
    MultiheadBlock: ((32,), [(2, 32, 6, 5)]),
    CrossAttentionBlock: ((32, 12), [(2, 32, 6, 5), (2, 7, 12)]),
    QuadraticAttention: ((4, 5, 9), [(2, 4, 6, 5)]),
    RelativeAttention: ((18, (6, 5), 3, 6), [(2, 30, 18)]),
}


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def awake(module: nn.Module, size: float = 0.3) -> nn.Module:
    """The module with every weight random: those that start at zero would hide what it computes."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
    return module.eval()


def watched(module: nn.Module, *inputs: torch.Tensor, **children: nn.Module) -> dict[str, torch.Tensor]:
    """What children of a module put out during one call, a child named "into_…" what came into it, and "output"."""
    seen = {}
    hooks = []
    for name, child in children.items():
        if name.startswith("into_"):
            hooks.append(child.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]})))
        else:
            hooks.append(child.register_forward_hook(lambda _, x, y, name=name: seen.update({name: y})))
    with torch.no_grad():
        seen["output"] = module(*inputs)
    for hook in hooks:
        hook.remove()
    return seen


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """softmax(q·k·scale)·v one query at a time, (N, H·d) from (N or M, H·d) each: no code shared with the blocks."""
    rows = []
    for query in q.unflatten(1, (heads, -1)):  # (H, d)
        scores = torch.stack(
            [key @ mine for key, mine in zip(k.unflatten(1, (heads, -1)).unbind(1), query, strict=True)]
        )
        weights = (scores * scale).exp() / (scores * scale).exp().sum(1, keepdim=True)  # (H, M)
        values = v.unflatten(1, (heads, -1)).unbind(1)
        rows.append(torch.cat([w @ value for w, value in zip(weights, values, strict=True)]))
    return torch.stack(rows)


def close(actual: torch.Tensor, expected: torch.Tensor, atol: float = 1e-5) -> None:
    assert actual.shape == expected.shape
    assert expected.abs().max() > 0.1, "zeros would agree with anything"
    difference = (actual - expected).abs().max().item()
    assert difference < atol, difference


@pytest.mark.parametrize("block", COPYABLE, ids=lambda block: block.__name__)
def test_block_copied_alone_into_a_notebook_computes_the_same(block):
    arguments, shapes = COPYABLE[block]
    notebook = {"torch": torch, "nn": nn}
    exec(inspect.getsource(block), notebook)
    ours, copied = block(*arguments), notebook[block.__name__](*arguments)
    copied.load_state_dict(awake(ours).state_dict())
    inputs = [numbers(*shape) for shape in shapes]
    assert torch.equal(copied.eval()(*inputs), ours(*inputs))
    close(copied(*(x[:1] for x in inputs)), ours(*inputs)[:1])  # a picture does not see its batch


def test_block_docstrings_name_paper_and_shapes():
    for name in classic.__all__:
        text = inspect.getdoc(getattr(classic, name))
        assert "(B, " in text, name
        assert name == "ClassicUNet" or "arXiv" in text, name


def test_sagan_equals_its_equations():
    block, x = awake(SelfAttention2d(16)), numbers(1, 16, 6, 5)
    seen = watched(block, x, q=block.query_conv, k=block.key_conv, v=block.value_conv)
    assert seen["q"].shape == seen["k"].shape == (1, 2, 6, 5) and seen["v"].shape == x.shape
    q, k, v = (seen[name][0].flatten(1).T for name in "qkv")
    o = attend(q, k, v, heads=1, scale=1).T.unflatten(1, (6, 5))
    close(seen["output"][0], block.gamma * o + x[0])
    assert torch.equal(SelfAttention2d(16)(x), x)  # gamma starts at 0


def test_ddpm_equals_its_equations():
    block, x = awake(AttnBlock(32)), numbers(1, 32, 6, 5)
    seen = watched(block, x, q=block.q, k=block.k, v=block.v, joined=block.proj_out)
    q, k, v = (seen[name][0].flatten(1).T for name in "qkv")
    joined = attend(q, k, v, heads=1, scale=32**-0.5).T.unflatten(1, (6, 5))
    close(seen["output"], x + block.proj_out(joined[None]))
    close(seen["q"], block.q(F.group_norm(x, 32, block.norm.weight, block.norm.bias)))
    assert torch.equal(AttnBlock(32)(x), x)  # the output projection starts at 0


def test_multihead_equals_its_equations():
    block, x = awake(MultiheadBlock(32, heads=4)), numbers(1, 32, 6, 5)
    seen = watched(block, x, qkv=block.qkv, into_out=block.proj_out)
    q, k, v = seen["qkv"][0].T.split(32, dim=1)
    joined = attend(q, k, v, heads=4, scale=8**-0.5)
    close(seen["into_out"][0].T, joined)
    close(seen["output"], x + block.proj_out(joined.T[None]).unflatten(2, (6, 5)))
    assert torch.equal(MultiheadBlock(32)(x), x)


def test_cross_attention_equals_its_equations():
    block, x, words = awake(CrossAttentionBlock(32, 12)), numbers(1, 32, 6, 5), numbers(1, 7, 12)
    seen = watched(block, x, words, q=block.to_q, k=block.to_k, v=block.to_v, into_out=block.to_out)
    joined = attend(seen["q"][0], seen["k"][0], seen["v"][0], heads=4, scale=8**-0.5)
    close(seen["into_out"][0], joined)
    close(seen["output"], x + block.to_out(joined).T.unflatten(1, (6, 5))[None])


def test_residual_block_scales_and_shifts_normalised_features_by_time():
    block, x, time = awake(ResidualBlock(32, 64, 8)), numbers(2, 32, 6, 5), numbers(2, 8)
    seen = watched(block, x, time, h=block.conv1, norm=block.norm2, into_conv2=block.conv2, conv2=block.conv2)
    scale, shift = F.linear(F.silu(time), block.time.weight, block.time.bias).split(64, dim=1)
    normal = F.group_norm(seen["h"], 32) * block.norm2.weight[:, None, None] + block.norm2.bias[:, None, None]
    moved = normal * (1 + scale)[..., None, None] + shift[..., None, None]
    close(seen["into_conv2"], F.silu(moved))
    close(seen["output"], F.conv2d(x, block.skip.weight, block.skip.bias) + seen["conv2"])
    assert (block(x, time) - block(x, time.flip(0))).abs().max() > 0.1
    assert torch.equal(ResidualBlock(32, 32, 8)(x, time), x)


def test_relative_attention_equals_its_equations():
    block, x = awake(RelativeAttention(18, (6, 5), heads=3, head_dim=6), 0.4), numbers(1, 30, 18)
    seen = watched(block, x, q=block.to_q, k=block.to_k, v=block.to_v, into_out=block.to_out)
    joined = attend(seen["q"][0], seen["k"][0], seen["v"][0], heads=3, scale=17**-0.5)
    close(seen["into_out"][0], joined)
    close(seen["output"][0], block.to_out(joined))


def test_relative_terms_sum_to_the_scores_behind_the_output():
    block, x = awake(RelativeAttention(18, (6, 5), heads=3, head_dim=6), 0.4), numbers(2, 30, 18)
    seen = watched(block, x, q=block.to_q, k=block.to_k, v=block.to_v, into_out=block.to_out)
    q, k, v = (seen[name].unflatten(2, (3, -1)).transpose(1, 2) for name in "qkv")
    terms = block.terms(x)
    assert list(terms) == ["content·content", "content·position", "position·content", "position·position"]
    assert all(part.abs().max() > 0.1 for part in terms.values())
    total = sum(terms.values())  # (B, H, N, N)
    close(total, q @ k.transpose(2, 3) * 17**-0.5)
    close(seen["into_out"], (total.softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_relative_terms_depend_on_content_and_position_as_named():
    block, x = awake(RelativeAttention(18, (6, 5), heads=3, head_dim=6), 0.4), numbers(1, 30, 18)
    terms, other = block.terms(x), block.terms(numbers(1, 30, 18, seed=5))
    assert torch.equal(terms["position·position"], other["position·position"])  # not on the picture
    assert not torch.equal(terms["content·position"], other["content·position"])
    by_key = terms["position·content"]
    assert torch.equal(by_key, by_key[:, :, :1].expand_as(by_key))  # on the key, whoever asks
    places = terms["position·position"][0].unflatten(1, (6, 5)).unflatten(3, (6, 5))  # (H, 6, 5, 6, 5)
    close(places[:, 1, 1, 2:4], places[:, 2, 1, 3:5])  # on how far the key is from the query, not on where both are


@pytest.mark.parametrize("size", [1, 3, 5])
def test_quadratic_attention_becomes_any_convolution_as_it_sharpens(size):
    torch.manual_seed(2)
    convolution, x = nn.Conv2d(4, 6, size), numbers(2, 4, 9, 7)
    reach = size // 2
    padded = F.pad(x, (reach,) * 4)
    expected = F.conv2d(x, convolution.weight, convolution.bias, padding=reach)
    gaps = []
    with torch.no_grad():
        for sharpness in (0.5, 2, 8, 20, 100, 1000):
            block = QuadraticAttention.from_convolution(convolution, sharpness)
            assert block.heads == size**2
            output = block(padded)[:, :, reach : reach + 9, reach : reach + 7]
            gaps.append((output - expected).abs().max().item())
    assert expected.abs().max() > 0.5 and max(gaps[3:]) < 1e-4
    if size > 1:
        assert gaps[0] > gaps[1] > gaps[2] > 1e-4  # blunt heads are not the convolution
    else:
        assert gaps[0] > 0.1


def test_quadratic_attention_repeats_the_nearest_pixel_at_the_border():
    convolution, x = nn.Conv2d(2, 3, 3), numbers(1, 2, 6, 6)
    with torch.no_grad():
        output = QuadraticAttention.from_convolution(convolution, 50)(x)
        repeated = F.conv2d(F.pad(x, (1,) * 4, mode="replicate"), convolution.weight, convolution.bias)
        zeros = F.conv2d(x, convolution.weight, convolution.bias, padding=1)
    close(output, repeated, 1e-4)
    assert (output - zeros).abs().max() > 0.1


@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": (3, 5)}, {"kernel_size": 3, "stride": 2}])
def test_from_convolution_refuses_even_oblong_and_strided_kernels(options):
    with pytest.raises(ValueError, match=r"expected an odd, square kernel .* got Conv2d\(2, 3"):
        QuadraticAttention.from_convolution(nn.Conv2d(2, 3, **options), 10)


def test_quadratic_scores_equal_the_papers():
    block, x = QuadraticAttention(4, 5, heads=3), numbers(1, 4, 6, 5)
    with torch.no_grad():
        block.to_q.sharpness.copy_(torch.tensor([0.2, 1, 3]))
    seen = watched(block, x, q=block.to_q, k=block.to_k, v=block.to_v, into_out=block.to_out)
    q, k = (seen[name][0].unflatten(1, (3, -1)).transpose(0, 1) for name in "qk")  # (H, N, 3)
    weights = torch.softmax(q @ k.transpose(1, 2) * 3**-0.5, dim=-1)
    close(weights, block.scores(6, 5).softmax(-1))
    place, centre = torch.cartesian_prod(torch.arange(6.0), torch.arange(5.0)), block.to_q.centres
    gaussian = torch.exp(
        -block.to_q.sharpness[:, None] * (place - torch.tensor([2.0, 3]) - centre[:, None]).square().sum(-1)
    )
    close(weights[:, 2 * 5 + 3], gaussian / gaussian.sum(1, keepdim=True))
    v = seen["v"][0].unflatten(1, (3, -1)).transpose(0, 1)
    close(seen["into_out"][0], (weights @ v).transpose(0, 1).flatten(1))


def permuted(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    return x.flatten(2)[:, :, order].unflatten(2, x.shape[2:]) if x.ndim == 4 else x[:, order]


@pytest.mark.parametrize(
    ("block", "blind"),
    [
        (lambda: SelfAttention2d(16), True),
        (lambda: AttnBlock(16, groups=4), True),
        (lambda: MultiheadBlock(16, groups=4), True),
        (lambda: nn.Conv2d(16, 16, 3, padding=1), False),
        (lambda: QuadraticAttention(16, 16, heads=4), False),
        (lambda: RelativeAttention(16, (6, 5), heads=2, head_dim=8), False),
    ],
    ids=["sagan", "ddpm", "multihead", "convolution", "quadratic", "relative"],
)
def test_attention_without_positions_commutes_with_permutations(block, blind):
    block = awake(block())
    x = numbers(1, 30, 16) if isinstance(block, RelativeAttention) else numbers(1, 16, 6, 5)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        gap = (block(permuted(x, order)) - permuted(block(x), order)).abs().max()
        assert (block(permuted(x, order)) - block(x)).abs().max() > 0.1
    assert gap < 1e-5 if blind else gap > 0.1


@pytest.mark.parametrize(
    ("attention", "block"), [("sagan", SelfAttention2d), ("ddpm", AttnBlock), ("multihead", MultiheadBlock)]
)
def test_classic_unet_has_attention_at_the_requested_levels(attention, block):
    unet = ClassicUNet(channels=(8, 8, 16), groups=4, heads=2, attention=attention, attention_levels=(1,))
    grids = {}
    for name, module in unet.named_modules():
        if isinstance(module, block):
            module.register_forward_hook(lambda _, x, y, name=name: grids.update({name: tuple(y.shape[2:])}))
    with torch.no_grad():
        output = unet(numbers(2, 3, 32, 48), torch.tensor([0, 999])).sample
        assert output.shape == (2, 3, 32, 48)
        assert torch.allclose(unet(numbers(2, 3, 32, 48)[:1], 0).sample, output[:1], atol=1e-5)
    assert grids == {"down.1.attention": (16, 24), "middle.attention": (8, 12), "up.1.attention": (16, 24)}


def test_classic_unet_reads_words_and_time():
    unet = awake(ClassicUNet(channels=(8, 16), groups=4, heads=2, attention_levels=(1,), word_channels=12))
    sample, words = numbers(1, 3, 16, 16), numbers(1, 5, 12)
    with torch.no_grad():
        output = unet(sample, 10, words).sample
        assert (unet(sample, 10, -words).sample - output).abs().max() > 1e-3
        assert (unet(sample, 700, words).sample - output).abs().max() > 1e-3


def test_classifier_has_six_layers_of_nine_heads_and_no_convolution():
    network = AttentionClassifier()
    attentions = [module for module in network.modules() if isinstance(module, RelativeAttention)]
    assert [module.heads for module in attentions] == [9] * 6
    assert not any(isinstance(module, nn.Conv2d) for module in network.modules())
    with torch.no_grad():
        answers = network(numbers(2, 3, 64, 64))
    assert {name: tuple(logits.shape) for name, logits in answers.items()} == {"eye_count": (2, 3), "crown": (2, 4)}


class Alone(nn.Module):
    """A network that is one block."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, sample: torch.Tensor, *words: torch.Tensor) -> torch.Tensor:
        if isinstance(self.block, RelativeAttention):
            return self.block(sample.flatten(2).transpose(1, 2))
        return self.block(sample, *words)


@pytest.mark.parametrize("block", [b for b in COPYABLE if b is not ResidualBlock], ids=lambda block: block.__name__)
def test_record_proves_every_block(block):
    arguments, shapes = COPYABLE[block]
    channels = shapes[0][2] if block is RelativeAttention else shapes[0][1]
    inputs = [numbers(1, channels, 6, 5), *(numbers(*shape) for shape in shapes[1:])]
    network = Alone(awake(block(*arguments)))
    with record(network) as trace, torch.no_grad():
        network(*(x[:1] for x in inputs))
    assert trace.skipped == {} and list(trace.layers) == ["block"] and trace.proved["block"] < 1e-5
    layer = trace.layers["block"]
    assert layer.grid == (6, 5) and layer.kind == ("cross" if block is CrossAttentionBlock else "self")
    assert layer.heads == {SelfAttention2d: 1, AttnBlock: 1, QuadraticAttention: 9, RelativeAttention: 3}.get(block, 4)
    assert layer.scale == pytest.approx(1 if block is SelfAttention2d else layer.head_dim**-0.5)


def test_record_keeps_every_head_of_the_classifier():
    network = awake(AttentionClassifier(channels=18, depth=2), 0.1)
    with record(network) as trace, torch.no_grad():
        network(numbers(1, 3, 64, 64))
    assert trace.skipped == {} and list(trace.layers) == ["layers.0.attention", "layers.1.attention"]
    assert {(layer.heads, layer.grid, layer.kind) for layer in trace} == {(9, (16, 16), "self")}
    assert trace.rows("layers.1.attention", step=0, query=(3, 4)).shape == (9, 16, 16)
