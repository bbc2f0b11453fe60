"""What pixels and words spend on words and pixels, against the plain softmax in double precision."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.traces import trace_of_segments
from tests.support.word_traces import Case, cases
from viz import Caption, Trace, Word
from viz.layer import Layer, Segment

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}


def close(found: torch.Tensor, expected: np.ndarray) -> bool:
    assert found.dtype == torch.float32 and found.shape == expected.shape
    return bool(np.allclose(found.numpy(), expected, **CLOSE))


def words_of(case: Case) -> list[tuple[list[int], Word]]:
    """The words of the caption, in the order of the keys, each with its keys."""
    words = [(case.of_word(case.keys, word.encoder, word.tokens), word) for word in case.caption.words]
    order = {e: case.keys.index(("encoding", e, 0)) for e in range(len(case.caption.encodings))}
    return sorted(words, key=lambda each: order[each[1].encoder])


@given(cases(), st.data())
def test_word_map_is_the_sum_of_the_columns_of_a_words_tokens(case, data):
    attention, pixels = case.attention(), case.pixels(case.queries)
    for keys, word in words_of(case):
        column = attention[:, pixels][..., keys].sum(-1).reshape(-1, *case.layer.grid)
        assert close(case.trace.word_map("a", word, step=0), column)
        head = data.draw(st.integers(0, case.layer.heads - 1))
        assert close(case.trace.word_map("a", word, step=0, head=head), column[head])
        relative = case.trace.word_map("a", word, step=0, relative=True)
        assert close(relative, column / column.mean((1, 2), keepdims=True))
        tokens = case.trace.token_maps("a", word, step=0)
        singles = np.stack([attention[:, pixels, key].reshape(-1, *case.layer.grid) for key in keys])
        assert close(tokens, singles)


@given(cases(), st.data())
def test_word_shares_are_the_parts_of_a_row(case, data):
    attention, pixels = case.attention(), case.pixels(case.queries)
    height, width = case.layer.grid
    cell = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    weights = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=height * width, max_size=height * width)))
    row = attention[:, pixels[cell[0] * width + cell[1]]]
    places = [(cell, row)]
    if weights.any():
        region = weights.reshape(height, width).float()
        places.append((region, np.einsum("n,hnm->hm", (weights / weights.sum()).numpy(), attention[:, pixels])))
    found = {word: index for index, word in enumerate(case.trace.words_of("a"))}
    for place, expected in places:
        shares = case.trace.word_shares("a", query=place, step=0)
        assert shares.shape == (case.layer.heads, len(found))
        for keys, word in words_of(case):
            assert np.allclose(shares[:, found[word]], expected[:, keys].sum(-1), **CLOSE)
        others = [i for i, label in enumerate(case.keys) if label[0] in ("pixels", "registers", "frames")]
        assert np.allclose(shares.sum(-1), 1 - expected[:, others].sum(-1), **CLOSE)
        each = case.trace.key_shares("a", query=place, step=0, head=0)
        assert close(each, expected[0, [i for i in range(len(case.keys)) if i not in others]].astype(np.float32))


@given(cases())
def test_words_of_gives_each_word_of_the_caption_once_and_numbers_the_rest(case):
    words = case.trace.words_of("a")
    known = [word for word in words if word.kind not in ("image prompt", "number")]
    assert sorted(known, key=repr) == sorted(case.caption.words, key=repr)
    prompts = [label for label in case.keys if label[0] == "image prompt"]
    assert len(words) - len(known) == len(prompts) and len(set(words)) == len(words)


@given(cases(joint=True))
def test_rows_of_a_word_are_the_mean_of_its_tokens_rows(case):
    attention, pixels = case.attention(), case.pixels(case.keys)
    for _, word in words_of(case):
        queries = case.of_word(case.queries, word.encoder, word.tokens)
        rows = attention[:, queries][..., pixels].mean(1).reshape(-1, *case.layer.grid)
        assert close(case.trace.rows("a", query=word, step=0), rows)
        assert close(case.trace.rows("a", query=word, step=0, head=0), rows[0])


@given(cases(joint=True))
def test_word_matrix_is_what_words_spend_on_words(case):
    attention, matrix = case.attention(), case.trace.word_matrix("a", step=0)
    found = {word: index for index, word in enumerate(case.trace.words_of("a"))}
    assert matrix.shape == (case.layer.heads, len(found), len(found))
    for _, word in words_of(case):
        queries = case.of_word(case.queries, word.encoder, word.tokens)
        shares = case.trace.word_shares("a", query=word, step=0)
        for keys, other in words_of(case):
            expected = attention[:, queries][..., keys].sum(-1).mean(-1)
            assert np.allclose(matrix[:, found[word], found[other]], expected, **CLOSE)
            assert np.allclose(shares[:, found[other]], expected, **CLOSE)
    silent = [found[word] for word in found if word.kind == "image prompt"]  # looked at, but they look at nothing
    assert (
        matrix[:, silent].isnan().all()
        and matrix[:, [i for i in range(len(found)) if i not in silent]].isfinite().all()
    )


@given(cases(joint=False))
def test_words_of_cross_attention_look_at_nothing(case):
    word = case.caption.words[0]
    for ask in (lambda: case.trace.rows("a", query=word, step=0), lambda: case.trace.word_matrix("a", step=0)):
        with pytest.raises(ValueError, match="words are no queries of 'a'"):
            ask()


@given(cases())
def test_words_survive_the_file_and_a_selection(tmp_path_factory, case):
    path = tmp_path_factory.mktemp("trace") / "run.safetensors"
    loaded = Trace.load(case.trace.select(dtype=torch.float32).save(path))
    assert loaded.words == case.trace.words and loaded.words_of("a") == case.trace.words_of("a")


def test_a_word_of_a_text_is_the_first_of_the_caption():
    trace, caption = two_layers()
    assert torch.equal(trace.word_map("fine", "red", step=0), trace.word_map("fine", caption.find("red"), step=0))
    second = caption.find("red", nth=1)
    assert not torch.equal(trace.word_map("fine", second, step=0), trace.word_map("fine", "red", step=0))


def two_layers() -> tuple[Trace, Caption]:
    """Cross-attention on two grids, of 2 and 3 heads, at three steps; the coarse one has a gap."""
    caption = Caption.build(
        "red red", [("", ["<", "red", "red"], [("red", "word", [1]), ("red", "word", [2]), ("start", "start", [0])])]
    )
    layers = [
        Layer("fine", (Segment("pixels", 16, (4, 4)),), (Segment("words", 3),), 2, 4, 0.5),
        Layer("coarse", (Segment("pixels", 4, (2, 2)),), (Segment("words", 3),), 3, 4, 0.5),
        Layer("self", (Segment("pixels", 4, (2, 2)),), (Segment("pixels", 4, (2, 2)),), 1, 4, 0.5),
    ]
    trace = Trace({layer.name: layer for layer in layers}, {0: 9.0, 1: 5.0, 2: 1.0}, ("u", "c"), size=(8, 8))
    trace.words["c"], trace.gaps = caption, {"coarse": {1: "it did not run"}}
    generator = torch.Generator().manual_seed(0)
    for branch in trace.branches:
        for layer in layers:
            for step in trace.steps_of(layer.name):
                for store, count in ((trace.queries, layer.query_count), (trace.keys, layer.key_count)):
                    store[branch, layer.name, step] = torch.randn(layer.heads, count, 4, generator=generator) * 2
    return trace, caption


def test_mean_word_map_is_the_mean_of_all_maps_and_says_of_which():
    trace, _ = two_layers()
    fine = [trace.word_map("fine", "red", step=step).numpy() for step in (0, 1, 2)]  # (2, 4, 4) each
    coarse = [trace.word_map("coarse", "red", step=step).numpy().repeat(2, 1).repeat(2, 2) for step in (0, 2)]
    mean = trace.mean_word_map("red")
    expected = np.concatenate([*fine, *coarse]).mean(0)  # each of the 12 maps counts once
    assert close(mean.map, expected) and mean.layers == ("fine", "coarse") and mean.branch == "c"
    assert mean.heads == {"fine": (0, 1), "coarse": (0, 1, 2)} and mean.steps == (0, 1, 2)
    assert mean.gaps == {"coarse": (1,)}
    assert mean.describe() == "mean of 2 layers, 5 heads in all, 3 steps; coarse has no map at step 1"
    used = trace.mean_word_map("red", relative=True)
    assert close(used.map, expected / expected.mean()) and used.describe().endswith(", relative to its own mean")


def test_mean_word_map_takes_layers_heads_and_steps():
    trace, caption = two_layers()
    second = caption.find("red", nth=1)
    one = trace.mean_word_map(second, layers=["fine"], heads=[1], steps=[2])
    assert close(one.map, trace.word_map("fine", second, step=2, head=1).numpy())
    assert one.describe() == "mean of 1 layer, 1 head, 1 step"
    few = trace.mean_word_map("red", heads={"coarse": [2, 0]}, steps=[0])
    assert few.layers == ("coarse",) and close(few.map, trace.word_map("coarse", "red", step=0)[[0, 2]].mean(0).numpy())
    small = trace.mean_word_map("red", layers=["fine"], size=(2, 1))  # each cell is the mean of its area
    whole = trace.mean_word_map("red", layers=["fine"]).map.numpy()
    assert close(small.map, whole.reshape(2, 2, 4, 1).mean((1, 2)))
    odd = trace.mean_word_map("red", layers=["coarse"], size=(3, 2)).map.numpy()
    plain = trace.mean_word_map("red", layers=["coarse"]).map.numpy()
    assert np.allclose(odd, [plain[0], plain.mean(0), plain[1]], **CLOSE)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda t: t.word_map("fine", "reed", step=0), KeyError, "no word 'reed'; the closest are 'red'"),
        (lambda t: t.word_map("fine", "red", step=0, branch="u"), KeyError, r"there are '1', '2', '3' \('fine', 'u'\)"),
        (lambda t: t.word_map("self", "red", step=0), KeyError, "there are no words here"),
        (lambda t: t.word_map("fin", "red", step=0), KeyError, "no layer 'fin'; the closest are 'fine'"),
        (lambda t: t.word_map("coarse", "red", step=1), KeyError, "'coarse' has no map at step 1: it did not run"),
        (lambda t: t.word_map("fine", "red", step=0, head=2), IndexError, "head 2 is outside the 2 heads of fine"),
        (lambda t: t.word_map("fine", "red", step=0, branch="x"), KeyError, "branch 'x' was not recorded"),
        (lambda t: t.words_of("fine", "x"), KeyError, "branch 'x' was not recorded"),
        (lambda t: t.word_shares("fine", query=(4, 0), step=0), IndexError, "outside the 4x4 grid"),
        (lambda t: t.word_shares("fine", query=torch.zeros(4, 4), step=0), ValueError, "not all zero"),
        (lambda t: t.word_shares("fine", query=torch.ones(2, 2), step=0), ValueError, "weights of the 4x4 grid"),
        (lambda t: t.rows("self", query="red", step=0), ValueError, "words are no queries of 'self'"),
        (lambda t: t.rows("fine", query="red", step=0), ValueError, "words are no queries of 'fine'"),
        (lambda t: t.mean_word_map("reed"), KeyError, "no word 'reed'; the closest are 'red'"),
        (lambda t: t.mean_word_map("red", layers=["self"]), KeyError, "there are no words here"),
        (lambda t: t.mean_word_map("red", heads=[2]), IndexError, "head 2 is outside the 2 heads of fine"),
        (lambda t: t.mean_word_map("red", steps=[7]), KeyError, "expected recorded steps"),
        (lambda t: t.mean_word_map("red", steps=[]), KeyError, "expected recorded steps"),
        (lambda t: t.mean_word_map("red", layers=["coarse"], steps=[1]), KeyError, "the layers have gaps there"),
        (lambda t: t.mean_word_map("red", layers=[]), ValueError, "at least one layer"),
    ],
)
def test_word_maps_refuse_what_is_not_there(ask, error, message):
    with pytest.raises(error, match=message):
        ask(two_layers()[0])


def test_words_without_a_caption_are_numbers():
    trace = trace_of_segments()
    assert [(word.text, word.kind) for word in trace.words_of("cross")] == [(str(i), "number") for i in range(1, 6)]
    assert torch.equal(
        trace.word_map("cross", "3", step=0), trace.word_map("cross", trace.words_of("cross")[2], step=0)
    )
    assert trace.words_of("plain") == () and trace.word_shares("plain", query=(0, 0), step=0).shape == (3, 0)
    shares = trace.word_shares("cross", query=(1, 2), step=4)
    assert torch.allclose(shares, trace.rows("cross", query=(1, 2), step=4))


def test_word_maps_of_damaged_numbers_are_refused():
    trace, _ = two_layers()
    trace.keys["c", "fine", 0] = torch.full_like(trace.keys["c", "fine", 0], torch.nan)
    for ask in (
        lambda: trace.word_map("fine", "red", step=0),
        lambda: trace.word_shares("fine", query=(0, 0), step=0),
        lambda: trace.token_maps("fine", "red", step=0),
    ):
        with pytest.raises(ValueError, match="the trace is damaged"):
            ask()


def test_relative_word_map_of_a_word_nobody_uses_is_one():
    trace, _ = two_layers()
    layer = trace.layers["fine"]
    trace.queries["c", "fine", 0] = torch.ones(2, layer.query_count, 4)
    trace.keys["c", "fine", 0] = torch.tensor([1e4, -1e4, 0])[None, :, None].expand(2, 3, 4)
    assert trace.word_map("fine", "red", step=0).max() == 0
    assert torch.equal(trace.word_map("fine", "red", step=0, relative=True), torch.ones(2, 4, 4))
