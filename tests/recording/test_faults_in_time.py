"""Wrong from some step on, in one half of the batch, or at some steps not at all: recorded only where it is right."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from diffusers.models.attention_processor import AttnProcessor, IPAdapterAttnProcessor2_0
from torch import nn

from tests.support import processors
from tests.support.faults import DOWN, MID, WORDS, assert_kept_until, assert_right, calls, unet, watch, weights_of
from tests.support.pipelines import unconditional
from tests.support.random_weights import numbers
from viz import record

LAYERS = 8  # of `unet()`, self- and cross-attention


def with_processors(make_processor, part="attn1"):
    def make():
        network = unet()
        for name, module in network.named_modules():
            if name.endswith(part):
                module.processor = make_processor()
        return network

    return make


def switch(network, step):
    """The processors change what they do at step 1."""
    for module in network.modules():
        if isinstance(getattr(module, "processor", None), processors.Processor):
            module.processor.on = step >= 1


# -- 1: what begins after the first step ------------------------------------------------------------------------------


def test_record_keeps_all_of_a_plain_run():
    watched = watch(unet, calls(), picture=1)
    assert not watched.trace.skipped and not any(watched.trace.gaps.values()) and not watched.error
    assert watched.trace.branches == ("picture 2 of 2",)
    assert assert_right(watched, batch=2) == 3 * LAYERS
    assert {layer.grid for layer in watched.trace} == {(8, 8), (4, 4)}
    cross = watched.trace.layers[f"{MID}.attn2"]
    assert [(s.kind, s.tokens) for s in cross.keys] == [("words", WORDS)] and cross.kind == "cross"


@pytest.mark.parametrize("processor", [processors.MutualAttention, processors.Temperature, processors.Identity])
def test_record_ends_a_layer_at_the_step_at_which_its_attention_changes(processor):
    watched = watch(with_processors(processor), calls(switch), picture=1)
    assert assert_right(watched, batch=2) == 4 * 1 + 4 * 3
    for name in (f"{DOWN}.attn1", f"{MID}.attn1"):
        assert_kept_until(watched, name, 1)


def test_record_keeps_the_picture_that_lends_its_keys():
    watched = watch(with_processors(processors.MutualAttention), calls(switch), picture=0)
    assert assert_right(watched, batch=2) == 3 * LAYERS


@pytest.mark.parametrize("processor", [None, AttnProcessor])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_record_ends_a_layer_at_the_step_at_which_a_padding_mask_appears(processor, first):
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])

    def make():
        return unet() if processor is None else with_processors(processor, ("attn1", "attn2"))()

    run = calls(lambda network, step: {"encoder_attention_mask": mask} if step >= first else {})
    watched = watch(make, run, picture=1)
    assert assert_right(watched, batch=2) == 4 * first + 4 * 3
    assert "mask" in assert_kept_until(watched, f"{MID}.attn2", first)
    assert assert_right(watch(make, run, picture=0), batch=2) == 3 * LAYERS  # nothing of it is masked


def test_record_ends_a_layer_whose_scale_is_changed():
    def prepare(network, step):
        network.get_submodule(f"{MID}.attn1").scale = 1.0 if step >= 1 else 8**-0.5

    watched = watch(with_processors(AttnProcessor), calls(prepare))
    assert assert_right(watched, batch=2) == 3 * LAYERS - 2
    assert_kept_until(watched, f"{MID}.attn1", 1)


def test_record_ends_a_layer_whose_number_of_heads_is_changed():
    def prepare(network, step):
        network.get_submodule(f"{MID}.attn1").heads = 1 if step >= 1 else 2

    watched = watch(unet, calls(prepare))
    assert assert_right(watched, batch=2) == 3 * LAYERS - 2
    assert_kept_until(watched, f"{MID}.attn1", 1)


class Adapted(nn.Module):
    """A linear layer with an adapter of rank 1, as LoRA adds it."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.low = nn.Parameter(numbers(1, base.in_features, seed=1))
        self.high = nn.Parameter(numbers(base.out_features, 1, seed=2))

    def forward(self, x):
        return self.base(x) + x @ self.low.T @ self.high.T


@pytest.mark.parametrize("projection", ["to_q", "to_k"])
def test_record_ends_a_layer_that_gets_an_adapter_between_two_steps(projection):
    def prepare(network, step):
        if step == 1:
            attention = network.get_submodule(f"{MID}.attn1")
            setattr(attention, projection, Adapted(getattr(attention, projection)))

    watched = watch(unet, calls(prepare))
    compared = assert_right(watched, batch=2)
    assert compared in (3 * LAYERS, 3 * LAYERS - 2)  # read through the adapter, or ended
    if compared < 3 * LAYERS:
        assert_kept_until(watched, f"{MID}.attn1", 1)


class ImageTokens(nn.Module):
    """Stands for an IP-Adapter's projection of image embeddings to tokens."""

    def forward(self, embeddings):
        return [embeddings]


def with_image_prompt(scale):
    network = unet()
    network.encoder_hid_proj = ImageTokens()
    network.register_to_config(encoder_hid_dim_type="ip_image_proj")
    torch.manual_seed(7)
    for name, module in network.named_modules():
        if name.endswith("attn2"):
            width = module.to_q.in_features
            module.processor = IPAdapterAttnProcessor2_0(width, cross_attention_dim=16, num_tokens=(4,), scale=scale)
    return network


@pytest.mark.parametrize("first", [0, 1])
def test_record_says_that_an_image_prompt_is_added(first):
    """Also where a callback turns it on after some steps, as Stable Diffusion's `set_ip_adapter_scale` does."""

    def prepare(network, step):
        for module in network.modules():
            if isinstance(module, IPAdapterAttnProcessor2_0):
                module.scale = [0.7 if step >= first else 0.0]
        return {"added_cond_kwargs": {"image_embeds": numbers(2, 4, 16, seed=30)}}

    watched = watch(lambda: with_image_prompt(0.0), calls(prepare))
    trace, name = watched.trace, f"{MID}.attn2"
    for step in range(3):
        expected = watched.oracle.find(name, step)[0].per_picture(2)[0]  # the first softmax is that over the words
        if name in trace.layers and step in trace.steps_of(name):
            assert step < first
            assert (weights_of(trace, trace.branches[0], name, step) - expected).abs().max() < 1e-5
    reason = trace.gaps[name][first] if name in trace.layers else trace.skipped[name]
    assert "image prompt" in reason and "to_k_ip" in reason and "window" not in reason
    assert trace.steps_of(f"{MID}.attn1") == [0, 1, 2]


# -- 3 and 4: one half only, and its name ------------------------------------------------------------------------------

HALVES = ("unconditional", "conditional")


@pytest.mark.parametrize("masked", HALVES)
def test_record_proves_every_half(masked):
    mask = torch.ones(2, WORDS, dtype=torch.long)
    mask[HALVES.index(masked), 2:] = 0
    run = calls(lambda network, step: {"encoder_attention_mask": mask} if step >= 1 else {})
    watched = watch(unet, run, branch="both", branch_order=HALVES)
    assert assert_right(watched, batch=2, order=HALVES) == 2 * (4 * 1 + 4 * 3)
    assert_kept_until(watched, f"{MID}.attn2", 1)


def test_two_pictures_from_one_noise_are_no_halves():
    @torch.no_grad()
    def run(network):
        sample = numbers(1, 4, 8, 8).repeat(2, 1, 1, 1)
        return [network(sample, t, numbers(2, WORDS, 16, seed=t))[0] for t in (900, 500)]

    watched = watch(unet, run, picture=0)
    assert watched.trace.branches == ("picture 1 of 2",)
    assert assert_right(watched, batch=2) == 2 * LAYERS


# -- 9: timesteps ------------------------------------------------------------------------------------------------------


def test_timestep_is_the_one_that_the_network_used():
    network: UNet2DModel = unconditional()
    used = []
    network.time_proj.register_forward_pre_hook(lambda module, args: used.append(float(args[0][0])))
    with torch.no_grad(), record(network) as trace:
        for timestep in (500, 7.9, torch.tensor(0.25), torch.tensor([3.5])):
            network(numbers(1, 3, 16, 16), timestep)
    assert list(trace.timesteps.values()) == used == [500, 7, 0.25, 3.5]


def test_calls_at_one_timestep_are_told_apart():
    @torch.no_grad()
    def run(network):
        return [network(numbers(2, 4, 8, 8, seed=i), t, numbers(2, WORDS, 16))[0] for i, t in enumerate([9, 9, 9, 5])]

    trace = watch(unet, run).trace
    assert trace.timesteps == {0: 9, 1: 9, 2: 9, 3: 5}
    assert trace.calls == {0: (1, 3), 1: (2, 3), 2: (3, 3)}


# -- layers that are missing at some steps ---------------------------------------------------------------------------


def test_record_keeps_the_steps_of_layers_that_a_cache_leaves_out():
    """As in DeepCache (Ma et al. 2023): at some steps the deep blocks do not run."""

    def make():
        network = unet()
        network.cached = None
        mid = network.mid_block
        network.deep = mid.forward

        def forward(*arguments, **named):
            if not network.shallow:
                network.cached = network.deep(*arguments, **named)
            return network.cached

        mid.forward = forward
        return network

    def prepare(network, step):
        network.shallow = step == 1

    watched = watch(make, calls(prepare))
    assert assert_right(watched, batch=2) == 3 * LAYERS - 2
    for part in ("attn1", "attn2"):
        assert watched.trace.steps_of(f"{MID}.{part}") == [0, 2]
        assert "not called" in watched.trace.gaps[f"{MID}.{part}"][1]
        with pytest.raises(KeyError, match="not called"):
            watched.trace.rows(f"{MID}.{part}", step=1, query=(0, 0))


def test_record_keeps_the_steps_of_cross_attention_that_a_gate_leaves_out():
    """As in T-GATE (Zhang et al. 2024): from some step on, what cross-attention returned is used again."""

    class Gate(processors.Processor):
        def __call__(self, attn, hidden_states, *arguments, **named):
            if not self.on:
                self.kept = super().__call__(attn, hidden_states, *arguments, **named)
            return self.kept

    watched = watch(with_processors(Gate, "attn2"), calls(switch))
    assert assert_right(watched, batch=2) == 4 * 3 + 4 * 1
    for name in (f"{DOWN}.attn2", f"{MID}.attn2"):
        assert watched.trace.steps_of(name) == [0] and set(watched.trace.gaps[name]) == {1, 2}


# -- 11: half precisions -----------------------------------------------------------------------------------------------


class Words(nn.Module):
    """Cross-attention to words with hand-written or fused arithmetic, which may hide one of them."""

    def __init__(self, fused, hidden):
        super().__init__()
        torch.manual_seed(3)
        self.num_heads, self.fused, self.hidden = 2, fused, hidden
        self.query, self.key, self.value, self.proj_attn = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x, words):
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (
            part.unflatten(-1, (2, 8)).transpose(1, 2)
            for part in (self.query(tokens), self.key(words), self.value(words))
        )
        mask = torch.zeros(words.shape[1], dtype=x.dtype)
        if self.hidden:
            mask[3] = -torch.inf
        if self.fused:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.expand(len(x), 1, q.shape[2], -1))
        else:
            out = torch.softmax(q @ k.transpose(-1, -2) * 8**-0.5 + mask, dim=-1) @ v
        return self.proj_attn(out.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, x.shape[2:])


class WordsNet(nn.Module):
    def __init__(self, dtype, fused, hidden):
        super().__init__()
        self.attention = Words(fused, hidden)
        self.to(dtype)

    def forward(self, sample, timestep, encoder_hidden_states):
        return self.attention(sample, encoder_hidden_states)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
def test_half_precision_hides_no_masked_word(dtype, fused, hidden):
    for seed in range(3):

        @torch.no_grad()
        def run(network, seed=seed):
            words = numbers(1, 60, 16, seed=seed).to(dtype)
            return [network(numbers(1, 16, 6, 4, seed=i).to(dtype), 9, words) for i in range(2)]

        watched = watch(lambda: WordsNet(dtype, fused, hidden), run)
        compared = assert_right(watched, batch=1, tolerance=None)  # what is stated holds for the weights
        stated = watched.trace.proved.get("attention", 0.0)
        if hidden and dtype == torch.float16:
            assert compared == 0
        elif not hidden:
            assert compared == 2 and stated < {torch.float16: 1e-2, torch.bfloat16: 5e-2}[dtype]
