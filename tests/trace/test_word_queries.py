"""Maps of words, and shares of words, as views ask for them: against the plain softmax in double precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import AREAS
from tests.support.traces import trace_of_segments
from tests.support.word_traces import cases
from viz import Caption, Trace, Word
from viz.areas import shares
from viz.layer import Segment
from viz.query import Maps, map_grid
from viz.view import Box, Pixel, View, ViewError, WordQuery
from viz.words import Entry

CLOSE: dict[str, Any] = {"rtol": 2e-4, "atol": 2e-5}
HEADS = st.sampled_from([-1, 0, 1, 9])


def asked(word: Word) -> WordQuery:
    return WordQuery(word.text, word.nth, word.kind, word.encoder)


def of_head(maps: np.ndarray, head: int) -> np.ndarray:
    return maps.mean(0) if head < 0 else maps[min(head, len(maps) - 1)]


@given(cases(), HEADS)
def test_one_is_what_pixels_spend_on_a_word_in_times_uniform(case, head):
    maps, attention = Maps(case.trace), case.attention()[:, case.pixels(case.queries)]
    for word in case.caption.words:
        keys = case.of_word(case.keys, word.encoder, word.tokens)
        column = attention[..., keys].sum(-1).reshape(-1, *case.layer.grid)
        spent = of_head(column, head) * len(case.keys) / len(keys)
        assert np.allclose(maps.one(asked(word), "a", 0, head=head), spent, **CLOSE)
        used = of_head(column, head) / of_head(column, head).mean()
        assert np.allclose(maps.one(asked(word), "a", 0, head=head, reading="used"), used, **CLOSE)
        assert np.allclose(maps.heads(asked(word), "a", 0), column, **CLOSE)
        relative = column / column.mean((1, 2), keepdims=True)
        assert np.allclose(maps.heads(asked(word), "a", 0, reading="used"), relative, **CLOSE)


@given(cases(joint=True), HEADS)
def test_one_is_what_a_word_looks_at_in_times_uniform(case, head):
    maps, pixels = Maps(case.trace), case.pixels(case.keys)
    for word in case.caption.words:
        queries = case.of_word(case.queries, word.encoder, word.tokens)
        rows = case.attention()[:, queries][..., pixels].mean(1).reshape(-1, *case.layer.grid)
        found = maps.one(asked(word), "a", 0, head=head, reading="looks")
        assert np.allclose(found, of_head(rows, head) * len(pixels), **CLOSE)
        assert found.shape == map_grid(case.layer, "column", asked(word), "looks")


@given(cases(), AREAS, HEADS)
def test_shares_of_a_place_are_the_parts_of_its_row(case, area, head):
    maps, attention = Maps(case.trace), case.attention()[:, case.pixels(case.queries)]
    row = of_head(np.einsum("n,hnm->hm", shares(area, case.layer.grid).ravel(), attention), head)
    found = maps.shares(area, "a", 0, head=head)
    assert found.words == case.trace.words_of("a") and found.layers == ("a",)
    for word, share in zip(found.words, found.shares, strict=True):
        if word in case.caption.words:
            assert np.allclose(share, row[case.of_word(case.keys, word.encoder, word.tokens)].sum(), **CLOSE)
    keys = [i for i, label in enumerate(case.keys) if label[0] not in ("pixels", "registers", "frames")]
    assert np.allclose(maps.key_shares(area, "a", 0, head=head), row[keys], **CLOSE)


def two_branches() -> Trace:
    """Cross-attention of 5 keys, joint and plain layers; both branches have the same caption."""
    trace = trace_of_segments()
    words: list[Entry] = [("red", "word", [1, 2]), ("eyes", "word", [3]), ("start", "start", [0]), ("end", "end", [4])]
    caption = Caption.build("red eyes", [("", list("abcde"), words)])
    return replace(trace, words={"picture 1 of 2": caption, "picture 2 of 2": caption})


RED, PLACE = WordQuery("red"), Pixel((0.4, 0.6))
COMPARED = [
    (RED, "cross", {}),
    (RED, "cross", {"reading": "used", "head": 1}),
    (PLACE, "plain", {"special": True}),
    (PLACE, "joint", {"mode": "column", "head": 0}),
    (Box((0, 0), (0.5, 1)), "joint", {}),
]


@pytest.mark.parametrize(("query", "layer", "options"), COMPARED)
def test_difference_is_that_of_the_numbers_of_two_branches(query, layer, options):
    maps = Maps(two_branches())
    first, last = (maps.one(query, layer, 0, branch=f"picture {i} of 2", **options) for i in (1, 2))
    assert not np.allclose(first, last)
    assert np.allclose(maps.one(query, layer, 0, branch="difference", **options), last - first, atol=1e-6)
    assert np.array_equal(maps.one(query, layer, 0, **options), last)
    options.pop("head", None)
    whole = [maps.heads(query, layer, 0, branch=f"picture {i} of 2", **options) for i in (1, 2)]
    assert np.allclose(maps.heads(query, layer, 0, branch="difference", **options), whole[1] - whole[0], atol=1e-6)


def test_shares_of_a_difference_are_those_of_words_that_both_captions_have():
    trace = two_branches()
    maps, first, last = Maps(trace), "picture 1 of 2", "picture 2 of 2"
    before, after = (maps.shares(PLACE, "cross", 0, branch=branch) for branch in (first, last))
    found = maps.shares(PLACE, "cross", 0, branch="difference")
    assert found.words == after.words and np.allclose(found.shares, after.shares - before.shares, atol=1e-6)
    keys = [maps.key_shares(PLACE, "cross", 0, branch=branch) for branch in (first, last, "difference")]
    assert np.allclose(keys[2], keys[1] - keys[0], atol=1e-6)
    words: list[Entry] = [("blue", "word", [1]), ("eyes", "word", [2, 3]), ("start", "start", [0]), ("x", "end", [4])]
    trace.words[first] = Caption.build("blue eyes", [("", list("abcde"), words)])
    other = Maps(trace).shares(PLACE, "cross", 0, branch=first)
    found = Maps(trace).shares(PLACE, "cross", 0, branch="difference")
    expected = {"eyes": after.shares[1] - other.shares[1], "start": after.shares[2] - other.shares[2]}
    assert [word.text for word in found.words] == ["red", "eyes", "start", "end"]
    assert np.allclose(found.shares, [np.nan, expected["eyes"], expected["start"], np.nan], equal_nan=True, atol=1e-6)
    assert Maps(trace).one(WordQuery("eyes"), "cross", 0, branch="difference").shape == (3, 4)
    with pytest.raises(ViewError, match="The two branches have different captions"):
        Maps(trace).key_shares(PLACE, "cross", 0, branch="difference")
    with pytest.raises(ViewError, match="looks at no such word as “red” in “picture 1 of 2”"):
        Maps(trace).one(RED, "cross", 0, branch="difference")


def test_shares_of_a_grid_are_the_mean_of_all_heads_of_its_layers():
    trace = two_branches()
    cross = trace.layers["cross"]
    trace.layers |= {"more": replace(cross, name="more", heads=1), "late": replace(cross, name="late")}
    trace.gaps["late"] = {0: "it did not run"}
    for branch in trace.branches:
        for step in (0, 4, 6):
            for store in (trace.queries, trace.keys):
                store[branch, "more", step] = store[branch, "cross", step][1:] * 2
                store[branch, "late", step] = store[branch, "cross", step]
    maps = Maps(trace)
    heads = [*trace.word_shares("cross", query=(1, 2), step=0), *trace.word_shares("more", query=(1, 2), step=0)]
    found = maps.shares(PLACE, "cross", 0, head=1, bars="grid")
    assert found.layers == ("cross", "more") and len(heads) == 3  # without "late", and without layers of other words
    assert np.allclose(found.shares, torch.stack(heads).mean(0), atol=1e-6)
    alone = maps.shares(PLACE, "cross", 0, head=1)
    assert np.allclose(alone.shares, heads[1], atol=1e-6)


def test_layers_are_those_that_can_show_pixels_or_words():
    trace = two_branches()
    maps = Maps(trace)
    assert [layer.name for layer in maps.layers] == ["joint", "plain", "cross"]
    assert [layer.name for layer in maps.pixel_layers] == ["joint", "plain"]
    assert [layer.name for layer in maps.layers_for(PLACE)] == ["joint", "plain"]
    assert [layer.name for layer in maps.layers_for(RED)] == ["cross"]
    assert [layer.name for layer in maps.layers_for(WordQuery("1", 0, "number", 1))] == ["joint"]
    assert maps.layers_for(RED, reading="looks") == [] == maps.layers_for(WordQuery("blue"))
    dull = replace(trace.layers["cross"], name="dull", keys=(Segment("registers", 5),))
    assert Maps(replace(trace, layers={"dull": dull})).layers == []


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda maps: maps.one(PLACE, "cross", 0), "In layer “cross” pixels look at words only, not at pixels."),
        (lambda maps: maps.one(RED, "plain", 0), "Layer “plain” looks at no such word as “red” in “picture 2 of 2”."),
        (lambda maps: maps.one(WordQuery("red", 1), "cross", 0), "looks at no such word as “red”"),
        (lambda maps: maps.one(WordQuery("red", encoder=1), "cross", 0), "looks at no such word as “red”"),
        (lambda maps: maps.one(WordQuery("red", of="start"), "cross", 0), "looks at no such word as “red”"),
        (lambda maps: maps.one(RED, "cross", 0, reading="looks"), "the word “red” is looked at, but looks at nothing"),
        (
            lambda maps: maps.one(WordQuery("1", 0, "number", 1), "joint", 0, reading="looks"),
            "the word “1” is looked at, but looks at nothing",
        ),
        (
            lambda maps: maps.one(RED, "cross", 0, branch="left"),
            "no branch “left”; it has picture 1 of 2",
        ),
        (lambda maps: maps.shares(PLACE, "plain", 0), "has no shares of words"),
        (lambda maps: maps.shares(RED, "cross", 0), "has no shares of words"),
    ],
)
def test_maps_refuse_what_a_layer_does_not_have(ask, message):
    with pytest.raises(ViewError, match=message):
        ask(Maps(two_branches()))
    trace = two_branches()
    lone = Maps(replace(trace, branches=trace.branches[:1]))
    with pytest.raises(ViewError, match="A difference needs two recorded branches; this trace has 1"):
        lone.one(RED, "cross", 0, branch="difference")


def test_maps_of_words_at_a_gap_raise_its_reason():
    maps = Maps(two_branches())
    with pytest.raises(KeyError, match="layer 'joint' has no map at step 6: its output could not be recomputed"):
        maps.one(WordQuery("1", 0, "number", 1), "joint", 6)


def test_of_view_takes_reading_and_branch():
    maps = Maps(two_branches())
    view = View((0, 0), "cross", 4, 1, (RED,), 0, reading="used", branch="picture 1 of 2")
    expected = maps.trace.word_map("cross", "red", step=4, head=1, branch="picture 1 of 2", relative=True)
    assert np.allclose(maps.of_view(view), expected, atol=1e-6)


def test_joint_layers_compute_what_words_and_columns_need_once():
    maps = Maps(two_branches())
    number = WordQuery("2", 0, "number", 1)
    for branch in ("picture 1 of 2", "picture 2 of 2", "difference"):
        maps.one(number, "joint", 0, branch=branch)
        maps.one(PLACE, "joint", 0, mode="column", branch=branch)
    assert len(maps.cache) == 2
