"""The random attention networks and the truth that they state, tested against the oracle."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from tests.support.modules import Change, Net, Plan, draw
from tests.support.oracle import Oracle

BASE = Plan(seed=6, family="separate", batch=2, size=(4, 6))
PATH = "stages.0.block.attention"


def watched(network: Net) -> Oracle:
    with Oracle(network) as oracle:
        network.run()
    return oracle


@pytest.mark.parametrize("seed", range(60))
def test_net_runs_its_plan_and_states_as_many_tokens_as_its_softmax_has(seed):
    plan = draw(seed)
    network = Net(plan)
    plain = network.run()
    oracle = watched(network)
    again = Net(plan).run()
    for first, second in zip(plain, again, strict=True):
        assert torch.equal(first, second) and first.isfinite().all()
    for path, block in network.attention_blocks().items():
        assert sorted(block.truth) == [step for step in range(plan.steps) if not block.plan.gated(step)]
        for step, truth in block.truth.items():
            shapes = {tuple(entry.weights.shape[-2:]) for entry in oracle.find(path, step)}
            if len(truth.identity) == plan.batch:
                assert not shapes
            elif block.plan.arithmetic == "sliced queries":
                assert sum(n for n, _ in shapes) in (len(truth.queries), len(truth.queries) // 2)
            else:
                assert shapes == {(len(truth.queries), len(truth.keys))}


def test_draw_gives_every_family_change_and_oddity_and_many_plain_plans():
    plans = [draw(seed) for seed in range(1500)]
    counts = {
        "family": Counter(plan.family for plan in plans),
        "arithmetic": Counter(plan.arithmetic for plan in plans),
        "change": Counter(change.kind for plan in plans for change in plan.changes),
        "oddity": Counter(oddity for plan in plans for oddity in plan.oddities),
        "dtype": Counter(plan.dtype for plan in plans),
        "keys": Counter(plan.keys for plan in plans),
        "key map": Counter(plan.key_map for plan in plans),
    }
    assert {name: len(count) for name, count in counts.items()} == {
        "family": 7, "arithmetic": 9, "change": 12, "oddity": 14, "dtype": 4, "keys": 8, "key map": 4,
    }  # fmt: skip
    assert min(min(count.values()) for count in counts.values()) >= 5
    plain = sum(not plan.changes and not plan.oddities for plan in plans)
    assert 0.4 < plain / len(plans) < 0.6
    assert len(set(plans)) == len(plans) and [draw(seed) for seed in range(9)] == plans[:9]


# -- the truth about places ------------------------------------------------------------------------------------------

JOINED = ("words", "pixels", "learned")
# (keys, queries, map of the keys)
SEGMENTS = [
    *((("pixels",), ("pixels",), key_map) for key_map in ("same", "pooled", "convolved", "lower")),
    (("learned", "pixels", "words"), ("pixels",), "same"),
    (JOINED, JOINED, "same"),
]


def moved_token(before: torch.Tensor, after: torch.Tensor) -> int:
    """The index of the token that differs in two (N, C)."""
    (moved,) = (before - after).abs().amax(-1).nonzero().flatten().tolist()
    return moved


@torch.no_grad()
@pytest.mark.parametrize("flatten", ["rows", "columns"])
@pytest.mark.parametrize("flatten_at", ["stage", "network"])
@pytest.mark.parametrize(("keys", "queries", "key_map"), SEGMENTS)
def test_truth_says_which_cell_each_query_and_key_is(flatten, flatten_at, keys, queries, key_map):
    """Change one cell of the sample, and see which query and which key are changed."""
    plan = replace(BASE, flatten=flatten, flatten_at=flatten_at, keys=keys, queries=queries, key_map=key_map)
    network = Net(plan)
    (block,) = network.attention_blocks().values()
    tokens: dict[str, torch.Tensor] = {}
    for name in ("to_q", "to_k"):
        block.attention.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: tokens.__setitem__(name, output[0])
        )
    sample, timestep, words = network.inputs()[0]
    network(sample, timestep, words)
    before, truth = dict(tokens), block.truth[0]
    assert truth.key_grid == {"same": (4, 6), "lower": (2, 6)}.get(key_map, (2, 3))
    for row, column in [(0, 0), (2, 1), (3, 5), (1, 4)]:
        other = sample.clone()
        other[:, :, row, column] += 1
        network.step = 0
        network(other, timestep, words)
        assert truth.queries[moved_token(before["to_q"], tokens["to_q"])] == ("pixels", row, column)
        coarse = row * truth.key_grid[0] // 4, column * truth.key_grid[1] // 6
        assert truth.keys[moved_token(before["to_k"], tokens["to_k"])] == ("pixels", *coarse)
    network.step = 0
    if words is not None:
        other = words.clone()
        other[:, 3] += 1
        network(sample, timestep, other)
        assert truth.keys[moved_token(before["to_k"], tokens["to_k"])] == ("words", 3)


def test_truth_of_shuffled_pixels_is_in_their_order():
    network = Net(replace(BASE, oddities=frozenset({"shuffled"})))
    network.run()
    labels = network.attention_blocks()[PATH].truth[0].keys
    assert sorted(labels) != list(labels) and len(set(labels)) == 24


@pytest.mark.parametrize("oddity", ["merged", "frames", "windows", "lines"])
def test_truth_calls_nothing_a_pixel_that_is_none(oddity):
    network = Net(replace(BASE, batch=4, oddities=frozenset({oddity})))
    network.run()
    truth = network.attention_blocks()[PATH].truth[0]
    assert {label[0] for label in truth.queries + truth.keys} == {
        {"windows": "pieces", "lines": "pieces"}.get(oddity, oddity)
    }


# -- what changes at a step ------------------------------------------------------------------------------------------

CHANGES = ["padding", "box", "causal", "scattered", "bias", "temperature", "keys elsewhere", "tokens elsewhere"]


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("arithmetic", ["fused", "written", "folded", "einsum", "keys first", "both scaled", "upcast"])
def test_change_shows_at_its_steps_and_for_its_pictures_only(kind, arithmetic):
    change = Change(kind, frozenset({1}), frozenset({0}))
    if kind == "temperature":
        change = replace(change, amount=2.0)
    plan = replace(BASE, arithmetic=arithmetic)
    before, after = watched(Net(plan)), watched(Net(replace(plan, changes=(change,))))
    for step in range(3):
        moved = after.weights(PATH, step, 2) - before.weights(PATH, step, 2)
        assert [bool(picture.abs().max() > 1e-2) for picture in moved] == [step == 1, False]
    assert Net(replace(plan, changes=(change,))).plan.due_steps == [0]


@pytest.mark.parametrize("family", ["multihead", "diffusers"])
@pytest.mark.parametrize("kind", ["padding", "box", "causal", "scattered", "bias"])
@pytest.mark.parametrize("arithmetic", ["fused", "written"])
def test_mask_reaches_the_libraries_own_modules(family, kind, arithmetic):
    plan = replace(BASE, family=family, arithmetic=arithmetic)
    change = Change(kind, frozenset({1, 2}), frozenset({1}))
    before, after = watched(Net(plan)), watched(Net(replace(plan, changes=(change,))))
    for step in range(3):
        moved = after.weights(PATH, step, 2) - before.weights(PATH, step, 2)
        assert [bool(picture.abs().max() > 1e-2) for picture in moved] == [False, step > 0]


def test_source_is_the_picture_that_the_keys_were_made_of():
    changes = (
        Change("tokens elsewhere", frozenset({1}), frozenset({2})),
        Change("keys elsewhere", frozenset({1}), frozenset({1})),
    )
    network = Net(replace(BASE, batch=3, changes=changes))
    network.run()
    truths = network.attention_blocks()[PATH].truth
    assert truths[0].sources == (0, 1, 2) and truths[1].sources == (0, 0, 0)


def test_overwritten_queries_leave_the_run_as_it_was():
    change = Change("overwritten query", frozenset({0, 1, 2}), frozenset({0, 1}))
    plain, overwritten = Net(BASE).run(), Net(replace(BASE, changes=(change,))).run()
    assert all(torch.equal(a, b) for a, b in zip(plain, overwritten, strict=True))


def test_due_steps_end_at_the_first_change_and_leave_out_gates():
    gate = Change("gate", frozenset({1}), frozenset({0}))
    mask = Change("box", frozenset({3}), frozenset({0}))
    assert replace(BASE, steps=5, changes=(gate, mask)).due_steps == [0, 2]
    assert replace(BASE, steps=2, oddities=frozenset({"rotary"})).due_steps == []
    assert replace(BASE, steps=2, dtype=torch.float16).due_steps == [] and BASE.due_steps == [0, 1, 2]
