"""Layers whose softmax joins words to pixels: what is recorded is what ran, and each key and query has its name."""

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import JointAttnProcessor2_0

import viz
from tests.support.faults import DOWN, MID, assert_kept_until, assert_right, calls, unet, watch
from tests.support.joint import GRID, LAST, added_keys, arguments, joint_calls, mmdit, unet_calls
from tests.support.oracle import Oracle
from tests.support.processors import Processor
from viz import record
from viz.layer import Segment

ORDER = ("unconditional", "conditional")
BOTH = {"branch": "both", "guided": True}
JOINT = [f"transformer_blocks.{block}.attn" for block in range(3)]
PIXELS = Segment("pixels", 24, GRID)


def words(count: int = 7) -> Segment:
    return Segment("words", count)


@pytest.mark.parametrize("qk_norm", [None, "rms_norm"])
@pytest.mark.parametrize("dual", [(), (0, 1)])
@pytest.mark.parametrize("count", [1, 7, 40])
def test_joint_attention_is_recorded_as_it_ran(qk_norm, dual, count):
    watched = watch(lambda: mmdit(qk_norm=qk_norm, dual_attention_layers=dual), joint_calls(count), **BOTH)
    trace = watched.trace
    assert not trace.skipped and not trace.gaps
    second = [f"transformer_blocks.{block}.attn2" for block in dual]
    assert set(trace.layers) == {*JOINT, *second}
    assert assert_right(watched, batch=2, order=ORDER) == 2 * 3 * (3 + len(dual))
    for name in JOINT:
        assert trace.layers[name].queries == trace.layers[name].keys == (PIXELS, words(count))
        assert trace.layers[name].kind == "self"
    for name in second:
        assert trace.layers[name].queries == trace.layers[name].keys == (PIXELS,)
    assert max(trace.proved.values()) < 1e-5


def test_rows_of_words_are_proved_at_every_step():
    trace = watch(mmdit, joint_calls(), **BOTH).trace
    for name in JOINT:  # all cells of the small grid, and all words
        assert trace.proved_rows[name] == 2 * 3 * (24 + 7)
        assert set(range(24, 31)) <= set(trace.proofs[name].queries.tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_joint_attention_is_recorded_in_half_precision(dtype):
    watched = watch(lambda: mmdit(qk_norm="rms_norm").to(dtype), joint_calls(), **BOTH)
    assert assert_right(watched, batch=2, order=ORDER, tolerance=None) > 0


@torch.no_grad()
def test_each_query_and_key_of_joint_attention_has_its_name():
    """Change one word, or one patch of the sample, and see which query and which key of the first layer change."""
    network, given = mmdit(), arguments(0)

    def changed(**other) -> tuple[set[int], set[int]]:
        traces = []
        for call in (given, given | other):
            with record(network, guided=False, picture=1, layers=JOINT[0]) as trace:
                network(**call)
            traces.append(trace)
        q, k = (
            (getattr(traces[0], store)[key] - getattr(traces[1], store)[key]).abs().amax((0, 2)).nonzero().flatten()
            for store, key in (("queries", ("conditional", JOINT[0], 0)), ("keys", ("conditional", JOINT[0], 0)))
        )
        return set(q.tolist()), set(k.tolist())

    for word in (0, 3, 6):
        text = given["encoder_hidden_states"].clone()
        text[1, word] += 1
        assert changed(encoder_hidden_states=text) == ({24 + word},) * 2
    for row, column in ((0, 0), (2, 5), (3, 1)):
        sample = given["hidden_states"].clone()
        sample[1, :, 2 * row, 2 * column] += 1
        assert changed(hidden_states=sample) == ({row * 6 + column},) * 2


class Hides(JointAttnProcessor2_0):
    """Joint attention in which, from one step on, some queries do not see some keys."""

    def __init__(self, queries: slice, keys: slice) -> None:
        self.queries, self.keys, self.on = queries, keys, False

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **more):
        if not self.on or encoder_hidden_states is None:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, **more)

        def heads(own, added):
            both = torch.cat([own(hidden_states), added(encoder_hidden_states)], 1)
            return both.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        q, k, v = (
            heads(attn.to_q, attn.add_q_proj),
            heads(attn.to_k, attn.add_k_proj),
            heads(attn.to_v, attn.add_v_proj),
        )
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool)
        mask[self.queries, self.keys] = False
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        pixels, text = out[:, : hidden_states.shape[1]], out[:, hidden_states.shape[1] :]
        return attn.to_out[1](attn.to_out[0](pixels)), text if attn.context_pre_only else attn.to_add_out(text)


@pytest.mark.parametrize("first_wrong", [0, 1, 2])
@pytest.mark.parametrize("layer", [JOINT[1], LAST])
@pytest.mark.parametrize(
    ("queries", "keys"),
    [
        (slice(24, None), slice(0, 24)),  # words look at words only
        (slice(26, 27), slice(3, 9)),  # one word does not see some cells
        (slice(24, None), slice(29, None)),  # nor do words see the last words, as with padding
        (slice(0, 24), slice(30, 31)),
    ],
)
def test_a_mask_on_part_of_joint_attention_is_found(layer, queries, keys, first_wrong):
    def make():
        network = mmdit()
        network.get_submodule(layer).set_processor(Hides(queries, keys))
        return network

    def prepare(network, step):
        network.get_submodule(layer).processor.on = step >= first_wrong

    watched = watch(make, joint_calls(prepare=prepare), **BOTH)
    assert_kept_until(watched, layer, first_wrong)
    assert_right(watched, batch=2, order=ORDER)


def test_words_that_only_the_output_shows_are_never_called_pixels():
    """With as many words as cells, nothing says which of a block's two results is made of which of its two inputs."""
    watched = watch(mmdit, joint_calls(24), **BOTH)
    assert watched.trace.layers[JOINT[0]].keys == (PIXELS, words(24))
    for name, layer in watched.trace.layers.items():
        assert layer.keys == (PIXELS, words(24)), name
    assert_right(watched, batch=2, order=ORDER)


def test_joint_attention_without_words_is_named():
    class Alone(JointAttnProcessor2_0):
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **more):
            return super().__call__(attn, hidden_states), encoder_hidden_states

    def make():
        network = mmdit()
        network.get_submodule(JOINT[1]).set_processor(Alone())
        return network

    watched = watch(make, joint_calls(), **BOTH)
    assert "one of its projections was not called" in watched.trace.skipped[JOINT[1]]
    assert_right(watched, batch=2, order=ORDER)


def test_joint_attention_with_fused_projections_is_named():
    def make():
        network = mmdit()
        network.fuse_qkv_projections()
        return network

    watched = watch(make, joint_calls(), **BOTH)
    assert "fused" in watched.error


@pytest.mark.parametrize("options", [{}, {"cross_attention_norm": "group_norm", "cross_attention_dim": 32}])
def test_added_keys_are_recorded_in_their_order(options):
    watched = watch(lambda: added_keys(**options), unet_calls, **BOTH)
    trace = watched.trace
    assert not trace.skipped and assert_right(watched, batch=2, order=ORDER) == 2 * 3 * 4
    for layer in trace:
        assert [segment.kind for segment in layer.queries] == ["pixels"]
        assert [segment.kind for segment in layer.keys] == ["words", "pixels"]
        assert layer.key_grid == layer.grid and layer.first_key == 7
    assert trace.layers["mid_block.attentions.0"].grid == (4, 6)


def test_added_keys_alone_are_cross_attention():
    watched = watch(lambda: added_keys(only_cross_attention=True), unet_calls, **BOTH)
    assert not watched.trace.skipped and assert_right(watched, batch=2, order=ORDER) == 2 * 3 * 4
    assert {(layer.kind, layer.key_count) for layer in watched.trace} == {("cross", 7)}


def test_plan_knows_joint_attention():
    network, options = mmdit(dual_attention_layers=(0,)), {"steps": 2}
    planned = viz.plan(network, **arguments(0), **options)
    trace = watch(lambda: network, joint_calls(steps=2), guided=False).trace
    assert planned.layers == trace.layers
    proofs = sum(t.nbytes for p in trace.proofs.values() for t in (p.queries, p.value, p.output))
    assert planned.total == trace.kept_bytes + proofs


@torch.no_grad()
def test_oracle_sees_joint_attention_once_per_layer():
    network = mmdit()
    with Oracle(network) as oracle:
        network(**arguments(0))
    assert {path for path, _ in oracle.ran()} == set(JOINT)
    assert oracle.weights(LAST, 0, 2).shape == (2, 2, 31, 31)


class OtherWords(Processor):
    """From some step on, the keys of the second picture are made of the first one's words."""

    def prepare(self, hidden_states, context):
        return hidden_states, context[:1].expand_as(context) if self.on else context, lambda out: out


@pytest.mark.parametrize("first_wrong", [1, 2])
def test_words_of_another_picture_are_found_at_every_step(first_wrong):
    """Their q, k and v explain the output, so only following the words tells."""

    def make():
        network = unet()
        network.get_submodule(f"{MID}.attn2").set_processor(OtherWords())
        return network

    def prepare(network, step):
        network.get_submodule(f"{MID}.attn2").processor.on = step >= first_wrong

    watched = watch(make, calls(prepare), **BOTH)
    assert "words of its picture" in assert_kept_until(watched, f"{MID}.attn2", first_wrong)
    assert_right(watched, batch=2, order=ORDER)
    assert watched.trace.steps_of(f"{DOWN}.attn2") == [0, 1, 2]
