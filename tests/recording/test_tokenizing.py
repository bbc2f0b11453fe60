"""Which tokens make a word, for tokenizers of every kind, made here from small vocabularies."""

import pytest

from tests.support.captioned import clip, t5_tokenizer
from viz.recording.tokenizing import split
from viz.words import Caption


@pytest.fixture(params=["CLIP", "OpenCLIP", "T5"])
def tokenizer(request, tmp_path):
    if request.param == "T5":
        return t5_tokenizer()
    return clip(tmp_path, "!</w>" if request.param == "OpenCLIP" else None)


def ids_of(tokenizer, text: str, length: int = 40) -> list[int]:
    return tokenizer(text, padding="max_length", max_length=length, truncation=True)["input_ids"]


TEXTS = [
    "", " ", "red", "a red monster, with two eyes", "Red  MONSTER", "monster's", "\"red\" 'eye' (two)!", "well-known",
    "- a", "a - b", "...", "a... b", "🙂", "a 🙂🙂 b", "é ü 猫", "猫と犬", "x" * 60, "two2two 22", "_a_",
    "<|endoftext|> a", "</s>", "\ta\nb",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_split_puts_each_token_into_one_word_and_keeps_the_text(tokenizer, text):
    ids = ids_of(tokenizer, text)
    found = split(tokenizer, ids, ["something else", text])
    assert found is not None and found.text in (text, text.lower().strip(), "")
    assert list(found.tokens) == tokenizer.convert_ids_to_tokens(ids)
    Caption.build(found.text, [("", found.tokens, found.words)])  # checks that each token is in exactly one word
    written = [word for word, kind, _ in found.words if kind == "word"]
    position = 0
    for word in written:  # in the order of the caption, as it writes them
        if word in found.tokens and word not in found.text:
            continue  # a token without any character of the caption
        position = found.text.index(word, position)
    for _, _, indices in found.words:
        assert list(indices) == sorted(indices)


@pytest.mark.parametrize("text", ["red", "a red monster", "two eyes"])
def test_split_says_what_the_tokenizer_added(tokenizer, text):
    found = split(tokenizer, ids_of(tokenizer, text), [text])
    kinds = {kind: (word, indices) for word, kind, indices in found.words if kind != "word"}
    marks = [index for index, token in enumerate(found.tokens) if token in ("<|startoftext|>", "<|endoftext|>", "</s>")]
    first_end = marks[1] if "<|startoftext|>" in found.tokens else marks[0]
    assert kinds["end"] == ("end", (first_end,))
    assert kinds["padding"] == ("padding", tuple(range(first_end + 1, 40)))
    assert kinds.get("start", ("start", (0,))) == ("start", (0,))
    assert ("start" in kinds) == ("<|startoftext|>" in found.tokens)


def test_clip_splits_punctuation_as_its_rules_say(tmp_path):
    words = split(
        clip(tmp_path), ids_of(clip(tmp_path), "monster's eyes, well-known!!"), ["monster's eyes, well-known!!"]
    )
    texts = [text for text, kind, _ in words.words if kind == "word"]
    assert texts == ["monster", "'s", "eyes", ",", "well", "-", "known", "!!"]


def test_t5_keeps_a_word_and_the_punctuation_around_it_apart():
    text = 'a monster\'s "red" eye, well-known!'
    words = split(t5_tokenizer(), ids_of(t5_tokenizer(), text), [text])
    assert [text for text, kind, _ in words.words if kind == "word"] == [
        "a", "monster's", '"', "red", '"', "eye", ",", "well-known", "!",
    ]  # fmt: skip
    assert words.words[2][2] == (4, 5)  # “▁” and the mark that it belongs to


def test_split_lowers_a_caption_as_some_pipelines_do():
    ids = ids_of(t5_tokenizer(), "a red eye")
    assert split(t5_tokenizer(), ids, ["  A Red Eye "]).text == "a red eye"


def test_split_puts_a_caption_together_that_is_not_given(tmp_path):
    found = split(clip(tmp_path), ids_of(clip(tmp_path), "a red monster"), [])
    assert found.text == "a red monster" and [word[0] for word in found.words[:3]] == ["a", "red", "monster"]


def test_split_of_ids_that_the_tokenizer_does_not_make_is_none(tokenizer):
    ids = ids_of(tokenizer, "a red monster")
    assert split(tokenizer, ids[::-1], ["a red monster"]) is None
    assert split(tokenizer, ids[:-1], ["a red monster"]) is not None  # padded to another length


def test_split_says_what_was_cut_off(tokenizer):
    found = split(tokenizer, ids_of(tokenizer, "monster " * 30, 10), ["monster " * 30])
    (sentence,) = found.notes.values()
    assert set(found.notes) == {"end"} and "reads 10 tokens" in sentence and "cut off" in sentence
    assert not split(tokenizer, ids_of(tokenizer, "red", 10), ["red"]).notes


class Slow:
    """A tokenizer written in Python, which says nothing of places; `marks` are those of its tokens."""

    is_fast = False

    def __init__(self, *tokens: str) -> None:
        self.tokens = ["[CLS]", *tokens, "[SEP]"]

    def __call__(self, text, max_length=None, **options):
        count = len(self.tokens)
        length = max_length or count
        return {
            "input_ids": [*range(count), *[99] * (length - count)],
            "attention_mask": [1] * count + [0] * (length - count),
            "special_tokens_mask": [1, *[0] * (count - 2), *[1] * (length - count + 1)],
        }

    def convert_ids_to_tokens(self, ids):
        return [self.tokens[index] if index < len(self.tokens) else "[PAD]" for index in ids]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (("mon", "ster</w>", "red</w>", ",</w>"), ["monster", "red", ","]),
        (("▁mon", "ster", "▁red", ","), ["monster", "red", ","]),
        (("mon", "##ster", "red", ","), ["monster", "red", ","]),
        (("Ġmon", "ster", "Ġred"), ["monster", "red"]),
        (("mon", "ster"), ["mon", "ster"]),
    ],
)
def test_split_by_the_marks_of_a_slow_tokenizer(tokens, expected):
    tokenizer = Slow(*tokens)
    found = split(tokenizer, tokenizer("", max_length=9)["input_ids"], ["monster red,"])
    assert [text for text, kind, _ in found.words if kind == "word"] == expected
    assert [kind for _, kind, _ in found.words][-3:] == ["start", "end", "padding"]
    Caption.build(found.text, [("", found.tokens, found.words)])
