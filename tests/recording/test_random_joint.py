"""Random joint attention, changed at random steps: what is recorded is what ran, and the rest is named."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor

from tests.support.faults import Watched, picture_of, reason_or_layer, watch, weights_of
from tests.support.joint import joint_calls, mmdit

SEEDS = 48
ORDER = ("unconditional", "conditional")
CHANGES = ("nothing", "mask", "temperature", "keys elsewhere", "words elsewhere", "other words", "halved")
Heads = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Drawn:
    """A random network, and what changes in one of its layers from one step on, for some of its pictures."""

    seed: int
    words: int
    options: dict
    layer: str
    change: str
    first: int
    pictures: tuple[int, ...]
    words_first: bool
    written: bool


def draw(seed: int) -> Drawn:
    random = Random(seed)
    blocks = random.choice([2, 3, 4])
    options = {
        "num_layers": blocks,
        "num_attention_heads": (heads := random.choice([1, 2, 4])),
        "attention_head_dim": (width := random.choice([4, 8])),
        "caption_projection_dim": heads * width,
        "qk_norm": random.choice([None, "rms_norm"]),
        "dual_attention_layers": random.choice([(), (0,), (0, 1)]),
    }
    return Drawn(
        seed,
        random.choice([1, 3, 7, 16, 30]),
        options,
        f"transformer_blocks.{random.randrange(blocks)}.attn",
        random.choice(CHANGES),
        random.choice([0, 1, 2]),
        random.choice([(0, 1), (0,), (1,)]),
        random.random() < 0.5,
        random.random() < 0.5,
    )


class Joint:
    """Joint attention, in either order, fused or written out, with a change while `on`."""

    def __init__(self, drawn: Drawn, on: bool = False) -> None:
        self.drawn, self.on = drawn, on

    def __call__(self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, **more):
        words, count = encoder_hidden_states, encoder_hidden_states.shape[1]
        if self.on and self.drawn.change == "words elsewhere":
            words = self._changed(words, words.flip(0))
        own = self._heads(attn, hidden_states, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"))
        added = self._heads(attn, words, ("add_q_proj", "add_k_proj", "add_v_proj"), ("norm_added_q", "norm_added_k"))
        first, second = (added, own) if self.drawn.words_first else (own, added)
        joined: Heads = tuple(torch.cat(pair, dim=2) for pair in zip(first, second, strict=True))  # type: ignore
        out = self._attend(*joined, count).transpose(1, 2).flatten(2)
        sizes = [count, -1] if self.drawn.words_first else [hidden_states.shape[1], -1]
        sizes[1] = out.shape[1] - sizes[0]
        parts = out.split(sizes, dim=1)
        pixels, text = reversed(parts) if self.drawn.words_first else parts
        if not attn.context_pre_only:
            text = attn.to_add_out(text)
        return attn.to_out[1](attn.to_out[0](pixels)), text

    def _heads(self, attn: Attention, tokens: Tensor, names: tuple, norms: tuple) -> Heads:
        q, k, v = (attn.get_submodule(name)(tokens).unflatten(-1, (attn.heads, -1)).transpose(1, 2) for name in names)
        norm_q, norm_k = (getattr(attn, norm) or (lambda x: x) for norm in norms)
        return norm_q(q), norm_k(k), v

    def _changed(self, before: Tensor, after: Tensor) -> Tensor:
        chosen = torch.tensor([picture in self.drawn.pictures for picture in range(len(before))])
        return torch.where(chosen.view(-1, *[1] * (before.ndim - 1)), after, before)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, words: int) -> Tensor:
        change, mask = self.drawn.change if self.on else "nothing", torch.zeros(len(q), 1, q.shape[2], k.shape[2])
        text = slice(0, words) if self.drawn.words_first else slice(q.shape[2] - words, None)
        if change == "temperature":
            q = self._changed(q, q * 1.5)
        if change == "keys elsewhere":
            k, v = self._changed(k, k.flip(0)), self._changed(v, v.flip(0))
        if change == "mask":  # words see no pixels
            hidden = mask.clone()
            hidden[:, :, text] = -torch.inf
            hidden[:, :, text, text] = 0
            mask = self._changed(mask, hidden)
        if change == "other words":  # only the rows of words are otherwise
            other = q.clone()
            other[:, :, text] *= -1
            q = self._changed(q, other)
        if self.drawn.written:
            out = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5 + mask, dim=-1) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask if mask.any() else None)
        if change == "halved":
            half = out.clone()
            half[:, :, text] *= 0.5
            out = self._changed(out, half)
        return out


def run_of(drawn: Drawn) -> Watched:
    def make():
        network = mmdit(**drawn.options)
        network.get_submodule(drawn.layer).set_processor(Joint(drawn))
        return network

    def prepare(network, step):
        network.get_submodule(drawn.layer).processor.on = step >= drawn.first

    return watch(make, joint_calls(drawn.words, prepare=prepare), branch="both", guided=True)


def in_order(weights: Tensor, drawn: Drawn, name: str) -> Tensor:
    """The oracle's (H, N, M) with the words last, as they are recorded."""
    if name != drawn.layer or not drawn.words_first:
        return weights
    order = [*range(drawn.words, weights.shape[-1]), *range(drawn.words)]
    return weights[:, order][:, :, order]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_joint_attention_is_recorded_as_it_ran_or_named(seed):
    drawn = draw(seed)
    watched = run_of(drawn)
    trace, compared = watched.trace, 0
    for layer in trace:
        unknown = layer.name == drawn.layer and drawn.change == "words elsewhere" and drawn.first == 0
        kinds = [segment.kind for segment in layer.keys]
        assert kinds in (["pixels"], ["pixels", "words"]) or (unknown and kinds == ["pixels", "unknown"])
        for step in trace.steps_of(layer.name):
            for branch in ORDER:
                expected = watched.oracle.weights(layer.name, step, 2)[picture_of(branch, ORDER)]
                recorded = weights_of(trace, branch, layer.name, step)
                assert (recorded - in_order(expected, drawn, layer.name)).abs().max() < 1e-5, (layer.name, step, branch)
                compared += 1
    assert compared
    for path, call in watched.oracle.ran():
        assert reason_or_layer(trace, path, call), f"nothing is said of {path!r} at step {call}"
    changed = drawn.change != "nothing"
    steps = trace.steps_of(drawn.layer) if drawn.layer in trace.layers else []
    assert steps[: drawn.first] == list(range(drawn.first if changed else 3))[: drawn.first]
    if drawn.change == "words elsewhere" and steps[drawn.first :]:  # explained by q, k and v, but called no words
        assert drawn.first == 0 and [segment.kind for segment in trace.layers[drawn.layer].keys][1] == "unknown"
    else:
        assert len(steps) == (drawn.first if changed else 3), trace.gaps
