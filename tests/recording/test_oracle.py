"""The oracle that the recorder is tested against, itself tested against the formulas written out."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.support import oracle as oracle_module
from tests.support.oracle import Oracle, Softmax
from tests.support.random_weights import numbers, randomize

B, H, N, M, D = 2, 3, 6, 5, 4
Q, K, V = numbers(B, H, N, D, seed=1), numbers(B, H, M, D, seed=2), numbers(B, H, M, D, seed=3)
HIDDEN = numbers(N, M, seed=4) > 0.5
BIAS = numbers(B, 1, N, M, seed=5)


def formula(q, k, scale=D**-0.5, hidden=None, bias=None) -> np.ndarray:
    """exp(s) / Σ exp(s), in NumPy, for q (…, N, d) and k (…, M, d)."""
    q, k = (x.detach().double().numpy() for x in (q, k))
    scores = np.einsum("...nd,...md->...nm", q, k) * scale
    if bias is not None:
        scores = scores + bias.double().numpy()
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    if hidden is not None:
        exponentials = np.where(hidden.numpy(), 0, exponentials)
    return exponentials / exponentials.sum(-1, keepdims=True)


class Calls(nn.Module):
    """Calls a function as the forward of a submodule, `inner`."""

    def __init__(self, function, *modules):
        super().__init__()
        self.inner = nn.Module()
        self.inner.forward = function
        self.modules_inside = nn.ModuleList(modules)

    def forward(self, *arguments):
        return self.inner(*arguments)


@torch.no_grad()
def softmax_of(function) -> Softmax:
    network = Calls(function)
    with Oracle(network) as oracle:
        network()
    (entry,) = oracle.softmaxes
    assert (entry.path, entry.call) == ("inner", 0) and entry.weights.dtype == torch.float64
    return entry


def error(weights: torch.Tensor, expected: np.ndarray) -> float:
    assert weights.shape == expected.shape
    return float(np.abs(weights.numpy() - expected).max())


FUSED = {
    "plain": ({}, {}),
    "scale": ({"scale": 0.9}, {"scale": 0.9}),
    "mask": ({"attn_mask": ~HIDDEN}, {"hidden": HIDDEN}),
    "bias": ({"attn_mask": BIAS}, {"bias": BIAS}),
    "causal": ({"is_causal": True}, {"hidden": ~torch.ones(N, M, dtype=torch.bool).tril()}),
}


@pytest.mark.parametrize("case", FUSED)
@pytest.mark.parametrize("width", [D, 7])  # values of another width take another kernel
def test_oracle_reads_fused_attention(case, width):
    options, expected = FUSED[case]
    values = numbers(B, H, M, width)
    weights = softmax_of(lambda: F.scaled_dot_product_attention(Q, K, values, **options)).weights
    tolerance = 1e-14 if width == D else 2e-7  # that kernel makes its scores in single precision
    assert error(weights, formula(Q, K, **expected)) < tolerance


def test_oracle_repeats_keys_of_grouped_queries():
    weights = softmax_of(lambda: F.scaled_dot_product_attention(Q, K[:, :1], V[:, :1], enable_gqa=True)).weights
    assert error(weights, formula(Q, K[:, :1].expand(B, H, M, D))) < 1e-14


@pytest.mark.parametrize("kernel", ["fused", "written out"])
def test_oracle_gives_zeros_for_a_query_without_keys(kernel):
    allowed = ~HIDDEN
    allowed[2] = False
    values = V if kernel == "fused" else numbers(B, H, M, 7)
    weights = softmax_of(lambda: F.scaled_dot_product_attention(Q, K, values, attn_mask=allowed)).weights
    assert weights[:, :, 2].abs().max() == 0 and (weights[:, :, 3].sum(-1) - 1).abs().max() < 1e-12


def test_oracle_shows_what_is_not_a_number():
    broken = Q.clone()
    broken[0, 0, 1, 0] = torch.nan
    weights = softmax_of(lambda: F.scaled_dot_product_attention(broken, K, V)).weights
    assert weights[0, 0, 1].isnan().all() and not weights[0, 0, 0].isnan().any()


SPELLINGS = {
    "method": lambda s: s.softmax(-1),
    "function": lambda s: torch.softmax(s, dim=-1),
    "functional": lambda s: F.softmax(s, dim=3, dtype=torch.float64),
    "module": lambda s: nn.Softmax(dim=-1)(s),
    "logarithm": lambda s: F.log_softmax(s, dim=-1).exp(),
    "keys before queries": lambda s: s.transpose(-1, -2).softmax(-2),
    "written over afterwards": lambda s: s.softmax(-1).zero_(),
    "scores written over afterwards": lambda s: (s.softmax(-1), s.zero_()),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_oracle_reads_every_spelling_of_softmax(spelling):
    scores = Q @ K.transpose(-1, -2) * D**-0.5
    weights = softmax_of(lambda: SPELLINGS[spelling](scores.clone())).weights
    assert error(weights, formula(Q, K)) < 2e-7


def test_oracle_does_not_see_an_exponential_and_a_division():
    network = Calls(lambda s: s.exp() / s.exp().sum(-1, keepdim=True))
    with Oracle(network) as oracle:
        network(Q @ K.mT)
    assert not oracle.softmaxes


def test_per_picture_unfolds_heads_from_the_batch():
    folded = softmax_of(lambda: torch.bmm(Q.flatten(0, 1), K.flatten(0, 1).mT).mul(D**-0.5).softmax(-1))
    assert error(folded.per_picture(B), formula(Q, K)) < 2e-7
    assert folded.per_picture(1).shape == (1, B * H, N, M)
    with pytest.raises(ValueError, match="batch of 4"):
        folded.per_picture(4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_oracle_computes_in_double_precision_from_any_other(dtype):
    q, k, v = Q.to(dtype), K.to(dtype), V.to(dtype)
    assert error(softmax_of(lambda: F.scaled_dot_product_attention(q, k, v)).weights, formula(q, k)) < 1e-14


# -- PyTorch's own modules -------------------------------------------------------------------------------------------

ATTENTION_MASK = HIDDEN.new_zeros(N, N).bitwise_or(torch.ones(N, N, dtype=torch.bool).triu(1))
PADDING = torch.tensor([[False] * 4 + [True] * 2, [False] * 6])
MASKS = {
    "none": {},
    "attention": {"attn_mask": ATTENTION_MASK},
    "padding": {"key_padding_mask": PADDING},
    "both": {"attn_mask": ATTENTION_MASK, "key_padding_mask": PADDING},
    "bias": {"attn_mask": numbers(N, N, seed=6)},
}


@pytest.mark.parametrize("path", ["fast", "weights", "fused", "gradients"])
@pytest.mark.parametrize("masks", MASKS)
def test_oracle_reads_multihead_attention_on_all_its_paths(masks, path):
    module = randomize(nn.MultiheadAttention(8, 2, batch_first=True))
    tokens = numbers(B, N, 8)
    network = Calls(lambda: module(tokens, tokens, tokens, need_weights=path == "weights", **MASKS[masks]), module)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(path == "fast")
    try:
        with torch.set_grad_enabled(path == "gradients"), Oracle(network) as oracle:
            network()
        _, expected = module(tokens, tokens, tokens, average_attn_weights=False, **MASKS[masks])
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    assert (path == "fast" and masks != "bias") == ("native" in oracle.softmaxes[0].operation)
    assert error(oracle.weights("modules_inside.0", 0, B), expected.detach().double().numpy()) < 5e-7


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("padding", [None, PADDING])
def test_oracle_reads_the_fused_encoder_layer_and_leaves_it_fused(norm_first, padding):
    layer = randomize(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first))
    tokens = numbers(B, N, 8)
    network = Calls(lambda: layer(tokens, src_key_padding_mask=padding), layer)
    with torch.no_grad():
        with Oracle(network) as oracle:
            fused = network()
        (entry,) = oracle.softmaxes
        assert entry.operation.startswith("aten._transformer_encoder_layer_fwd")
        assert torch.equal(fused, layer(tokens, src_key_padding_mask=padding))
        inputs = layer.norm1(tokens) if norm_first else tokens
        _, expected = layer.self_attn(
            inputs, inputs, inputs, key_padding_mask=padding, average_attn_weights=False, need_weights=True
        )
    assert error(oracle.weights("modules_inside.0", 0, B), expected.double().numpy()) < 5e-7


# -- diffusers' attention, paths and calls ----------------------------------------------------------------------------


class Blocks(nn.Module):
    """Two of diffusers' attention modules; the first is called in every call, the second twice in all but the first."""

    def __init__(self, processor):
        super().__init__()
        self.first = Attention(12, heads=H, dim_head=D, processor=processor)
        self.second = Attention(12, cross_attention_dim=10, heads=H, dim_head=D, processor=processor)
        self.times = 0

    def forward(self, tokens, words, mask=None):
        tokens = self.first(tokens, attention_mask=mask)
        for _ in range(self.times):
            tokens = self.second(tokens, words)
        self.times = 2
        return tokens


@torch.no_grad()
@pytest.mark.parametrize("processor", [AttnProcessor, AttnProcessor2_0])
def test_oracle_tells_paths_and_calls_apart(processor):
    network = randomize(Blocks(processor()))
    tokens, words = numbers(B, N, 12), numbers(B, M, 10)
    mask = numbers(B, 1, N, seed=7)
    with Oracle(network) as oracle:
        first = network(tokens, words)
        network.second(tokens, words)  # not in a call of the network
        network(tokens, words, mask)
    assert [(entry.path, entry.call) for entry in oracle.softmaxes] == [
        ("first", 0),
        ("second", None),
        ("first", 1),
        ("second", 1),
        ("second", 1),
    ]
    q, k = (
        project(tokens).unflatten(-1, (H, D)).transpose(1, 2) for project in (network.first.to_q, network.first.to_k)
    )
    assert error(oracle.weights("first", 0, B), formula(q, k)) < 2e-7
    assert error(oracle.weights("first", 1, B), formula(q, k, bias=mask[:, None])) < 2e-7
    with pytest.raises(KeyError, match="2 softmaxes ran in 'second' in call 1"):
        oracle.weights("second", 1, B)
    with pytest.raises(KeyError, match="0 softmaxes ran in 'second' in call 0"):
        oracle.weights("second", 0, B)
    k = network.second.to_k(words).unflatten(-1, (H, D)).transpose(1, 2)
    q = network.second.to_q(first).unflatten(-1, (H, D)).transpose(1, 2)
    assert error(oracle.find("second", 1)[0].per_picture(B)[:1], formula(q, k)[:1]) > 1e-3  # the mask changed its input
    network.times = 0
    assert torch.equal(network(tokens, words), first)


def test_oracle_puts_a_checkpoint_that_runs_again_outside_of_the_call():
    attention = randomize(Attention(12, heads=H, dim_head=D)).train()
    network = Calls(lambda x: checkpoint(attention, x, use_reentrant=False), attention)
    with Oracle(network) as oracle:
        network(numbers(B, N, 12)).sum().backward()
    assert [(entry.path, entry.call) for entry in oracle.softmaxes] == [
        ("modules_inside.0", 0),
        ("modules_inside.0", None),
    ]


def test_oracle_leaves_the_run_identical_and_no_hook_behind():
    network = randomize(Blocks(None))
    tokens, words = numbers(B, N, 12), numbers(B, M, 10)
    network.times = 2
    with torch.no_grad():
        plain = network(tokens, words)
        with Oracle(network):
            assert torch.equal(plain, network(tokens, words))
        with pytest.raises(RuntimeError), Oracle(network) as stopped:
            network(tokens[..., :5], words)
        network(tokens, words)
        assert not stopped.softmaxes and not stopped._running
        with Oracle(network, keep=lambda path: path == "second") as some:
            network(tokens, words)
    assert some.ran() == {("second", 0)}


def test_oracle_imports_nothing_of_what_it_judges():
    syntax = ast.parse(Path(oracle_module.__file__).read_text())
    names = {n.module for n in ast.walk(syntax) if isinstance(n, ast.ImportFrom)}
    names |= {alias.name for n in ast.walk(syntax) if isinstance(n, ast.Import) for alias in n.names}
    assert {name.split(".")[0] for name in names if name} <= {
        "__future__",
        "collections",
        "contextlib",
        "dataclasses",
        "torch",
    }
