"""Words: which tokens make them, which keys of a layer they are, and how a file holds them."""

from dataclasses import replace

import pytest

from tests.support.traces import caption_of_everything, described, tampered, trace_with_everything
from viz import Trace
from viz.layer import Layer, Segment, SegmentKind
from viz.trace_file import TraceFileError
from viz.trace_header import read_description
from viz.words import Caption, Encoding, Word, words_of_layer

PIXELS = Segment("pixels", 4, (2, 2))


def layer_of(*keys: tuple[SegmentKind, int] | Segment) -> Layer:
    segments = tuple(key if isinstance(key, Segment) else Segment(*key) for key in keys)
    return Layer("a", (PIXELS,), segments, 1, 2, 0.5)


def caption_of(*lengths: int) -> Caption:
    """Encodings of so many tokens, each a word."""
    tokens = [[f"{i}.{j}" for j in range(length)] for i, length in enumerate(lengths)]
    return Caption.build("", [("", row, [(token, "word", [j]) for j, token in enumerate(row)]) for row in tokens])


def read(layer: Layer, caption: Caption | None) -> list[tuple[int, list[str], set[str], set[int]]]:
    """(first key, tokens, kinds, encoders) of each encoding of a layer."""
    return [
        (first, list(found.tokens), {word.kind for word in found.words}, {word.encoder for word in found.words})
        for first, found in words_of_layer(layer, caption)
    ]


def test_build_numbers_words_by_their_encoder_and_by_equal_words_before():
    caption = caption_of_everything()
    assert [(w.text, w.nth, w.encoder) for w in caption.words if w.kind == "word"] == [
        *(("a", 0, 0), ("red", 0, 0), ("red", 1, 0), ("monster", 0, 0)),
        ("red", 0, 1),
    ]
    assert [w.text for w in caption.words if w.kind != "word"] == ["start", "end", "padding"]


def test_find_gives_the_word_of_a_text():
    caption = caption_of_everything()
    assert caption.find("red").tokens == (2,) and caption.find("red", nth=1).tokens == (3,)
    assert caption.find("red", encoder=1) == Word("red", "word", (0,), 0, 1)
    assert caption.find("monster").tokens == (4, 5) and caption.find("padding").tokens == (7,)
    assert caption.find(Word("red", "word", (3,), 1)).tokens == (3,)
    ended = Caption.build("end", [("", ["<", "end", ">"], [("end", "end", [2, 0]), ("end", "word", [1])])])
    assert ended.find("end").kind == "word"
    later = Caption.build("end", [("A", ["x"], [("end", "end", [0])]), ("B", ["end"], [("end", "word", [0])])])
    assert later.find("end") == Word("end", "word", (0,), 0, 1) and later.find("end", encoder=0).kind == "end"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda c: c.find("mosnter"), "no word 'mosnter'; the closest are 'monster'"),
        (lambda c: c.find("Ω"), "no word 'Ω'; there are 'a', 'red', 'monster', 'start', 'end', 'padding'"),
        (lambda c: c.find("red", nth=2), "no word 'red' number 3"),
        (lambda c: c.find("a", encoder=1), "no word 'a' in encoding 1"),
        (lambda c: c.find(Word("red", "word", (9,))), "no word 'red'"),
        (lambda c: Caption("", ()).find("red"), "no word 'red': there are no words here"),
    ],
)
def test_find_refuses_words_that_are_not_there(ask, message):
    with pytest.raises(KeyError) as refused:
        ask(caption_of_everything())
    assert message in refused.value.args[0]


def test_words_that_do_not_fit_their_tokens_are_refused():
    one = Word("a", "word", (0,))
    for tokens, words in [(("x", "y"), (one,)), (("x",), (one, one)), (("x",), ()), (("x",), (replace(one, text=""),))]:
        with pytest.raises(ValueError, match="tokens in exactly one word"):
            Encoding("", tokens, words)
    with pytest.raises(ValueError, match=r"Caption\.build"):
        Caption("a a", (Encoding("", ("a", "a"), (one, Word("a", "word", (1,)))),))


def test_build_cuts_texts_that_no_file_holds(tmp_path):
    caption = Caption.build(
        "x" * 20_000, [("y" * 200, ["z" * 2_000], [("w" * 200, "word", [0])])], {"w" * 200: "n" * 2_000}
    )
    (word,) = caption.words
    assert word.text == "w" * 99 + "…" and caption.notes == {word.text: "n" * 999 + "…"}
    trace = replace(trace_with_everything(), words={"picture 1 of 2": caption})
    assert Trace.load(trace.save(tmp_path / "run.safetensors")).words == trace.words


def test_words_of_layer_lets_encodings_follow_one_another():
    both = caption_of(2, 3)
    assert read(layer_of(("words", 5)), both) == [
        (0, ["0.0", "0.1"], {"word"}, {0}),
        (2, ["1.0", "1.1", "1.2"], {"word"}, {1}),
    ]
    assert [first for first, *_ in read(layer_of(("words", 2), PIXELS, ("words", 3)), both)] == [0, 6]
    assert [first for first, *_ in read(layer_of(("registers", 4), ("words", 1), ("words", 4)), both)] == [4, 6]


def test_words_of_layer_takes_words_as_long_as_one_encoding():
    both = caption_of(2, 3)
    assert read(layer_of(PIXELS, ("words", 3)), both) == [(4, ["1.0", "1.1", "1.2"], {"word"}, {1})]
    assert read(layer_of(("words", 3), ("words", 2)), both) == [  # the order is not that of the caption
        (0, ["0.0", "0.1"], {"word"}, {0}),
        (2, ["1.0", "1.1", "1.2"], {"word"}, {1}),
    ]


@pytest.mark.parametrize(
    ("keys", "caption"),
    [
        ([("words", 3)], None),
        ([("words", 3)], caption_of(2)),
        ([("words", 3)], caption_of(3, 3)),
        ([("unknown", 3)], caption_of(3)),
        ([("image prompt", 3)], caption_of(3)),
        ([("objects", 3)], None),
    ],
)
def test_words_of_layer_numbers_what_it_does_not_know(keys, caption):
    kind = keys[0][0] if keys[0][0] in ("image prompt", "objects") else "number"
    index = len(caption.encodings) if caption else 0
    assert read(layer_of(*keys), caption) == [(0, ["1", "2", "3"], {kind}, {index})]


def test_words_of_layer_never_guesses():
    torn = read(layer_of(("words", 1), PIXELS, ("words", 2)), caption_of(3))  # the pixels would split the caption
    assert [(first, tokens, encoders) for first, tokens, _, encoders in torn] == [(0, ["1"], {1}), (5, ["1", "2"], {2})]
    twice = read(layer_of(("words", 3), ("words", 3)), caption_of(3))  # either could be it
    assert [(first, kinds) for first, _, kinds, _ in twice] == [(0, {"number"}), (3, {"number"})]


def test_words_of_layer_is_empty_without_words():
    assert words_of_layer(layer_of(PIXELS, ("registers", 3), ("frames", 2)), caption_of(3)) == ()


def test_save_writes_captions_as_documented(tmp_path):
    trace = replace(trace_with_everything(), words={"picture 2 of 2": caption_of_everything()})
    written = read_description(trace.save(tmp_path / "run.safetensors"))["words"]
    assert written == {
        "picture 2 of 2": {
            "text": "a “red” red monster",
            "encodings": [
                {
                    "encoder": "CLIP",
                    "tokens": ["<s>", "a", "red", "red", "mon", "ster", "</s>", "</s>"],
                    "words": [
                        ["a", "word", [1]],
                        ["red", "word", [2]],
                        ["red", "word", [3]],
                        ["monster", "word", [4, 5]],
                        ["start", "start", [0]],
                        ["end", "end", [6]],
                        ["padding", "padding", [7]],
                    ],
                },
                {"encoder": "T5", "tokens": ["▁red"], "words": [["red", "word", [0]]]},
            ],
            "notes": {"red": "it lands on its part in 93 % of 500 pictures"},
        }
    }
    assert "words" not in read_description(trace_with_everything().save(tmp_path / "none.safetensors"))


CAPTIONED = {
    "words that are no captions": (lambda w: w.update(x=3), "complete description"),
    "a caption of another branch": (lambda w: w.update(left=w["picture 2 of 2"]), "captions of recorded branches"),
    "no text": (lambda w: w["picture 2 of 2"].pop("text"), "expected the fields text, encodings, notes"),
    "an unknown field": (lambda w: w["picture 2 of 2"].update(code="1"), "expected the fields text, encodings, notes"),
    "a text that is none": (lambda w: w["picture 2 of 2"].update(text=3), "expected a caption of at most"),
    "a text beyond measure": (lambda w: w["picture 2 of 2"].update(text="x" * 10_001), "at most 10,000 characters"),
    "encodings that are no list": (
        lambda w: w["picture 2 of 2"].update(encodings={}),
        "a list of at most 16 encodings",
    ),
    "encodings beyond measure": (
        lambda w: w["picture 2 of 2"].update(encodings=w["picture 2 of 2"]["encodings"] * 9),
        "a list of at most 16 encodings",
    ),
    "tokens beyond measure": (lambda w: first(w).update(tokens=["x"] * 65_537), "a list of at most 65,536 tokens"),
    "a token that is no text": (lambda w: first(w)["tokens"].append(7), "a token of at most"),
    "a token in no word": (lambda w: first(w)["tokens"].append("x"), "each of 9 tokens in exactly one word"),
    "a token in two words": (lambda w: first(w)["words"].append(["x", "word", [0]]), "each of 8 tokens in exactly one"),
    "a token that is not there": (lambda w: first(w)["words"].append(["x", "word", [8]]), "in exactly one word"),
    "a word without tokens": (lambda w: first(w)["words"].append(["x", "word", []]), "no word without tokens"),
    "a word without a text": (lambda w: first(w)["words"][0].__setitem__(0, ""), "no word without tokens or text"),
    "a word of another kind": (
        lambda w: first(w)["words"][0].__setitem__(1, "verb"),
        "a kind of word among word, start",
    ),
    "a word beyond measure": (lambda w: first(w)["words"][0].__setitem__(0, "x" * 101), "a word of at most 100"),
    "tokens that are no numbers": (lambda w: first(w)["words"][1].__setitem__(2, [True]), "indices of tokens"),
    "a word that is none": (lambda w: first(w)["words"].append("red"), "a word as its text, its kind and its tokens"),
    "notes that are none": (lambda w: w["picture 2 of 2"].update(notes=[]), "at most 1000 notes"),
    "a note that is none": (lambda w: w["picture 2 of 2"].update(notes={"red": 1}), "a note on a word of at most"),
}


def first(words: dict) -> dict:
    return words["picture 2 of 2"]["encodings"][0]


@pytest.mark.parametrize("case", CAPTIONED)
def test_load_refuses_hostile_captions(tmp_path, case):
    change, message = CAPTIONED[case]
    trace = replace(trace_with_everything(), words={"picture 2 of 2": caption_of_everything()})
    path = trace.save(tmp_path / "run.safetensors")
    tampered(path, described(lambda description: change(description["words"])))
    with pytest.raises(TraceFileError, match=message):
        Trace.load(path)
