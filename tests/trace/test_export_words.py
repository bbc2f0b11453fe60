"""Exports take words along; compared with the plain softmax over the recorded numbers."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.halves import attention, trace_of_halves
from tests.support.word_traces import cases
from viz import Trace
from viz.areas import coverage
from viz.export import rows_on_show, write_gif, write_npz
from viz.partners import rows_for
from viz.view import Box, Pixel, View, WordQuery

TEXT = "a red monster with red eyes"
WORDS = TEXT.split()
POINT = (0.3, 0.6)


@pytest.fixture(scope="module")
def trace(shared_pipeline) -> Trace:
    return trace_of_halves(shared_pipeline, TEXT, 2)


def crosses(trace: Trace) -> list[str]:
    return [layer.name for layer in trace if layer.key_grid is None]


def view(trace: Trace, *pins, **changes) -> View:
    chosen = next(layer.name for layer in trace if layer.name.endswith("attn1"))
    return View(POINT, chosen, 1, **{"pins": pins or None, "active": 0 if pins else -1, "head": 1} | changes)


def test_rows_on_show_of_a_word_are_what_pixels_spend_on_it(trace):
    rows = rows_on_show(trace, view(trace, WordQuery("red", 1)))
    assert list(rows["layers"]) == crosses(trace) == list(rows["word_layers"])
    for number, name in enumerate(crosses(trace)):
        spent = np.stack([attention(trace, name, step)[1, :, 4] for step in trace.steps])
        times = spent.reshape(rows[f"maps_{number:02}"].shape) * trace.layers[name].key_count
        assert np.abs(rows[f"maps_{number:02}"] - times).max() < 1e-4


def test_rows_on_show_of_where_a_word_is_used_are_relative_to_its_mean(trace):
    rows = rows_on_show(trace, view(trace, WordQuery("padding", of="padding"), reading="used", head=-1))
    name = crosses(trace)[0]
    spent = attention(trace, name, 1)[:, :, len(WORDS) :].sum(-1).mean(0)
    assert np.abs(rows["maps_00"][1].ravel() - spent / spent.mean()).max() < 1e-4


def test_rows_on_show_ask_every_pin_in_a_layer_that_can_answer(trace):
    shown = view(trace, Pixel(POINT), WordQuery("eyes"))
    rows = rows_on_show(trace, shown)
    partner = shown.layer.replace("attn1", "attn2")
    assert list(rows["layers_of_pins"]) == [shown.layer, partner]
    spent = attention(trace, partner, 1)[1, :, 5] * trace.layers[partner].key_count
    assert np.abs(rows["pin_2"][1].ravel() - spent).max() < 1e-4


def test_rows_on_show_hold_the_shares_of_a_pixel(trace):
    rows = rows_on_show(trace, view(trace))
    assert all(layer.endswith("attn1") for layer in rows["layers"])
    for number, name in enumerate(crosses(trace)):
        assert [*rows[f"words_{number:02}"]] == [*WORDS, "padding"]
        assert [*rows[f"word_kinds_{number:02}"]] == ["word"] * len(WORDS) + ["padding"]
        height, width = trace.layers[name].grid
        row = attention(trace, name, 1)[1, int(0.3 * height) * width + int(0.6 * width)]
        expected = [*row[: len(WORDS)], row[len(WORDS) :].sum()]
        assert np.abs(rows[f"word_shares_{number:02}"][1] - expected).max() < 1e-5
        assert np.allclose(rows[f"word_shares_{number:02}"].sum(1), 1, atol=1e-5)


def test_rows_on_show_hold_the_mean_shares_of_a_rectangle(trace):
    box = Box((0.1, 0.2), (0.7, 0.9))
    rows = rows_on_show(trace, view(trace, box, head=-1))
    name = crosses(trace)[0]
    covered = coverage(box, trace.layers[name].grid).ravel()
    expected = (covered / covered.sum()) @ attention(trace, name, 0).mean(0)
    assert np.abs(rows["word_shares_00"][0][: len(WORDS)] - expected[: len(WORDS)]).max() < 1e-5


def test_rows_on_show_of_a_difference_have_no_number_for_words_of_one_half_only(trace):
    rows = rows_on_show(trace, view(trace, branch="difference"))
    shares = rows["word_shares_00"]
    assert np.isnan(shares[:, :-1]).all() and [*rows["words_00"]] == [*WORDS, "padding"]
    cell = [int(place * side) for place, side in zip(POINT, trace.layers[crosses(trace)[0]].grid, strict=True)]
    at = cell[0] * trace.layers[crosses(trace)[0]].grid[1] + cell[1]
    last, first = (attention(trace, crosses(trace)[0], 1, name)[1, at] for name in ("conditional", "unconditional"))
    assert shares[1, -1] == pytest.approx(last[len(WORDS) :].sum() - first.sum(), abs=1e-5)
    assert np.isnan(rows_on_show(trace, view(trace, WordQuery("eyes"), branch="difference"))["maps_00"]).all()


def test_rows_on_show_of_a_word_that_the_caption_lacks_are_empty(trace, tmp_path):
    rows = np.load(write_npz(trace, tmp_path / "rows.npz", view(trace, WordQuery("horns"))))
    assert np.isnan(rows["maps_00"]).all() and not np.isnan(rows["word_shares_00"]).any()
    gif = Image.open(write_gif(trace, tmp_path / "horns.gif", view(trace, WordQuery("horns"))))
    assert gif.n_frames == 2


def test_exports_of_a_trace_without_words_have_no_map_of_a_word(trace, tmp_path):
    alone = trace.select(layers=[layer.name for layer in trace if layer.key_grid])
    rows = rows_on_show(alone, view(alone, Pixel(POINT), WordQuery("eyes")))
    assert [*rows["layers_of_pins"]] == [view(alone).layer] * 2 and rows["word_layers"].size == 0
    assert np.isnan(rows["pin_2"]).all() and not np.isnan(rows["pin_1"]).any()
    assert Image.open(write_gif(alone, tmp_path / "eyes.gif", view(alone, WordQuery("eyes")))).n_frames == 2


def test_write_gif_of_a_word_differs_from_that_of_a_pixel(trace, tmp_path):
    gifs = [
        write_gif(trace, tmp_path / f"{i}.gif", view(trace, *pins)) for i, pins in enumerate([(WordQuery("eyes"),), ()])
    ]
    frames = [np.asarray(Image.open(gif).convert("RGB"), int) for gif in gifs]
    assert np.abs(frames[0] - frames[1]).mean() > 1


@settings(max_examples=40)
@given(cases(joint=True), st.data())
def test_rows_on_show_of_joint_attention_show_what_a_word_looks_at(case, data):
    asking = rows_for(case.trace, WordQuery("red"), "looks")
    own = [
        word for word in case.trace.words_of("a") if word.kind == "word" and word.encoder < len(case.caption.encodings)
    ]
    assume(asking and own and case.trace.layers["a"].key_grid)
    word = data.draw(st.sampled_from(own))
    query = WordQuery(word.text, word.nth, word.kind, word.encoder)
    rows = rows_on_show(case.trace, View(POINT, "a", 0, 0, pins=(query,), active=0, reading="looks"))
    queries, pixels = case.of_word(case.queries, word.encoder, word.tokens), case.pixels(case.keys)
    expected = case.attention()[0][queries].mean(0)[pixels] * len(pixels)
    assert np.allclose(rows["maps_00"].ravel(), expected, atol=1e-3)
    cell = case.trace.cell("a", tuple(place * 8 for place in POINT))
    asked = case.pixels(case.queries)[cell[0] * case.layer.grid[1] + cell[1]]
    spent = case.attention()[0][asked][case.of_word(case.keys, word.encoder, word.tokens)].sum()
    index = case.trace.words_of("a").index(word)
    assert rows["word_shares_00"][0, index] == pytest.approx(spent, abs=1e-4)
