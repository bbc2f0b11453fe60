"""What the words of a caption are: which tokens of which text encoder make them, and which keys of a layer they are.

    caption = trace.words["conditional"]
    caption.find("eyes").tokens             # indices among the tokens of its encoder

A word's weight is the sum of its tokens' weights. What a tokenizer adds (a start, an end, padding) is a word of a kind
of its own, so that it is never counted as part of the caption. Where no caption is known, keys are numbered.
`viz/web/core/captions.js` does the same in the browser.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args

from viz.layer import Layer, Segment, SegmentKind

WordKind = Literal["word", "start", "end", "padding", "image prompt", "objects", "number"]
Entry = tuple[str, WordKind, Sequence[int]]  # a word's text, its kind, and its tokens
KINDS: tuple[WordKind, ...] = get_args(WordKind)
NO_WORDS = ("pixels", "registers", "frames")  # kinds of segments
# Characters, except of the last three, which count the encodings of a caption, the tokens of one, and the notes.
MAX_WORD, MAX_TOKEN, MAX_TEXT, MAX_NOTE = 100, 1_000, 10_000, 1_000
MAX_ENCODINGS, MAX_ENCODING, MAX_NOTES = 16, 65_536, 1_000


@dataclass(frozen=True)
class Word:
    """Some keys of one text encoder's sequence. Every token belongs to exactly one word.

    Attributes:
        text: as the caption writes it, at most `MAX_WORD` characters; "start", "end" or "padding"; or the number of
            the key, "1", "2", …
        tokens: indices among the tokens of its encoding.
        nth: which of the words with this text and kind in its encoding, from 0.
        encoder: the index of its encoding.
    """

    text: str
    kind: WordKind
    tokens: tuple[int, ...]
    nth: int = 0
    encoder: int = 0


@dataclass(frozen=True)
class Encoding:
    """A caption as one text encoder reads it.

    Attributes:
        encoder: what to call the encoder: "CLIP", "T5", "CLIP and OpenCLIP" for two that share a key; "" if there is
            nothing to tell it from.
        tokens: as the tokenizer writes them, one for each key.
        words: in the order of the caption, then what the tokenizer added.
    """

    encoder: str
    tokens: tuple[str, ...]
    words: tuple[Word, ...]

    def __post_init__(self) -> None:
        joined = sorted(token for word in self.words for token in word.tokens)
        if joined != list(range(len(self.tokens))) or not all(word.tokens and word.text for word in self.words):
            raise ValueError(
                f"expected each of {len(self.tokens)} tokens in exactly one word, and no word without tokens or text; "
                f"got {[(word.text, word.tokens) for word in self.words][:10]}"
            )


@dataclass(frozen=True)
class Caption:
    """A caption and what the words of its encodings are. `Caption.build` makes one.

    Attributes:
        encodings: in the order of their keys.
        notes: {the text of a word: a sentence to show beside it}.
    """

    text: str
    encodings: tuple[Encoding, ...]
    notes: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.text, len(self.encodings)))  # quick: captions are keys of a cache

    def __post_init__(self) -> None:
        for index, encoding in enumerate(self.encodings):
            if encoding.words != _words([(w.text, w.kind, w.tokens) for w in encoding.words], index):
                raise ValueError(
                    "expected words numbered by their encoding and by how often their text came before; make the "
                    "caption with Caption.build"
                )

    @classmethod
    def build(
        cls,
        text: str,
        encodings: Iterable[tuple[str, Sequence[str], Iterable[Entry]]],
        notes: Mapping[str, str] | None = None,
    ) -> Caption:
        """A caption from what each encoder made of it.

        Args:
            encodings: (name of the encoder, its tokens, its words as (text, kind, indices of their tokens)), in the
                order of their keys. Longer texts than a file holds are cut, and end in "…".

        Raises:
            ValueError: if a token belongs to no word, or to two.
        """
        made = [
            Encoding(
                _cut(encoder, MAX_WORD),
                tuple(_cut(token, MAX_TOKEN) for token in tokens),
                _words([(_cut(word, MAX_WORD), kind, indices) for word, kind, indices in words], index),
            )
            for index, (encoder, tokens, words) in enumerate(encodings)
        ]
        short = {_cut(word, MAX_WORD): _cut(note, MAX_NOTE) for word, note in (notes or {}).items()}
        return cls(_cut(text, MAX_TEXT), tuple(made), short)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all encodings."""
        return tuple(word for encoding in self.encodings for word in encoding.words)

    def find(self, word: str | Word, *, nth: int = 0, encoder: int | None = None) -> Word:
        """A word by its text; see `find_word`."""
        return find_word(self.words, word, nth=nth, encoder=encoder)


def find_word(words: Sequence[Word], word: str | Word, *, nth: int = 0, encoder: int | None = None) -> Word:
    """A word by its text, which must be spelled as it is there; or an equal `Word`.

    A word of the caption comes before what a tokenizer added: "end" is the caption's “end” if it has one.

    Args:
        nth: which of the words with this text, from 0.
        encoder: only the words of the encoding with this index; by default those of the first that has the word.

    Raises:
        KeyError: if there is no such word; the message names the closest, and all there are.
    """
    if isinstance(word, Word):
        if word in words:
            return word
        text, fits = word.text, []
    else:
        text = word
        fits = [each for each in words if each.text == text and each.nth == nth and encoder in (None, each.encoder)]
    if fits:
        return min(fits, key=lambda each: (each.kind != "word", each.encoder))
    texts = list(dict.fromkeys(each.text for each in words))
    if not texts:
        raise KeyError(f"no word {text!r}: there are no words here")
    close = difflib.get_close_matches(text, texts, n=3, cutoff=0.5)
    closest = f"the closest are {', '.join(map(repr, close))}; " if close else ""
    listed = ", ".join(map(repr, texts[:40])) + (f" and {len(texts) - 40} more" if len(texts) > 40 else "")
    which = f" number {nth + 1}" if nth else ""
    where = "" if encoder is None else f" in encoding {encoder}"
    raise KeyError(f"no word {text!r}{which}{where}; {closest}there are {listed}")


@lru_cache(256)
def words_of_layer(layer: Layer, caption: Caption | None) -> tuple[tuple[int, Encoding], ...]:
    """Which keys of a layer are which encoding: ((index of the first key, encoding), …), in the order of the keys.

    Of the segments of the layer's keys that are not pixels, registers or frames: if all words together are as many as
    the tokens of all encodings, the encodings follow one another; otherwise words are the encoding with as many tokens,
    if exactly one has, and no other words of the layer are as many. The keys of any other segment are numbered, as an
    encoding of their own, whose index is that of none in the caption. Empty if no key is a word.
    """
    encodings = caption.encodings if caption else ()
    starts = _starts(layer)
    found = _one_after_another(layer, starts, encodings)
    known = {start for segment, start in zip(layer.keys, starts, strict=True) if segment.kind == "words"}
    if not found:
        found = _of_equal_length(layer, starts, encodings)
        known = {first for first, _ in found}
    numbered = len(encodings)
    for segment, start in zip(layer.keys, starts, strict=True):
        if segment.kind in NO_WORDS or start in known:
            continue
        kind: WordKind = segment.kind if segment.kind in ("image prompt", "objects") else "number"
        found.append((start, _numbers(segment.tokens, kind, numbered)))
        numbered += 1
    return tuple(sorted(found, key=lambda each: each[0]))


def queries_of_keys(layer: Layer) -> dict[int, int]:
    """{index of a key: index of the query that is the same token}, for words of layers in which words are queries.

    Of the segments that hold neither pixels nor registers nor frames, those of the queries are those of the keys if
    they have the same kinds and sizes in the same order; otherwise a segment is the one of its kind and size, if there
    is one alone on either side.
    """
    keys, queries = _word_segments(layer.keys), _word_segments(layer.queries)
    shapes, others = [shape for _, shape in keys], [shape for _, shape in queries]
    pairs = list(zip(keys, queries, strict=True)) if shapes == others else []
    if not pairs:
        alone = {shape for shape in shapes if shapes.count(shape) == others.count(shape) == 1}
        pairs = [(key, query) for key in keys for query in queries if key[1] == query[1] and key[1] in alone]
    return {first + i: start + i for (first, (_, tokens)), (start, _) in pairs for i in range(tokens)}


def _word_segments(segments: Sequence[Segment]) -> list[tuple[int, tuple[SegmentKind, int]]]:
    """(index of the first token, (kind, tokens)) of the segments that words_of_layer tells apart."""
    found, start = [], 0
    for segment in segments:
        if segment.kind not in NO_WORDS:
            found.append((start, (segment.kind, segment.tokens)))
        start += segment.tokens
    return found


def caption_to_json(caption: Caption) -> dict:
    """A caption as the file of a trace holds it."""
    return {
        "text": caption.text,
        "encodings": [
            {
                "encoder": encoding.encoder,
                "tokens": list(encoding.tokens),
                "words": [[word.text, word.kind, list(word.tokens)] for word in encoding.words],
            }
            for encoding in caption.encodings
        ],
        "notes": dict(caption.notes),
    }


def caption_from_json(values: dict) -> Caption:
    """Read a caption from JSON and check it.

    Raises:
        ValueError: if a part is missing, unknown, of another type, or too long; the message says what was expected.
    """
    text, encodings, notes = _fields(values, "text", "encodings", "notes")
    if not isinstance(notes, dict) or len(notes) > MAX_NOTES:
        raise ValueError(f"expected at most {MAX_NOTES} notes on words, got {str(notes)[:60]}")
    notes = {_text(word, MAX_WORD, "a word"): _text(note, MAX_NOTE, "a note on a word") for word, note in notes.items()}
    read = []
    for entry in _list(encodings, MAX_ENCODINGS, "encodings of a caption"):
        encoder, tokens, words = _fields(entry, "encoder", "tokens", "words")
        tokens = [_text(token, MAX_TOKEN, "a token") for token in _list(tokens, MAX_ENCODING, "tokens")]
        read.append(
            (_text(encoder, MAX_WORD, "a name of an encoder"), tokens, [*map(_entry, _list(words, None, "words"))])
        )
    return Caption.build(_text(text, MAX_TEXT, "a caption"), read, notes)


def _words(entries: Iterable[Entry], encoder: int) -> tuple[Word, ...]:
    """Words numbered by how many of their text and kind came before."""
    seen: dict[tuple[str, str], int] = {}
    words = []
    for text, kind, tokens in entries:
        nth = seen.get((text, kind), 0)
        seen[text, kind] = nth + 1
        words.append(Word(text, kind, tuple(tokens), nth, encoder))
    return tuple(words)


def _numbers(count: int, kind: WordKind, encoder: int) -> Encoding:
    """Keys of which no more is known than their order."""
    texts = tuple(str(number) for number in range(1, count + 1))
    return Encoding("", texts, _words([(text, kind, (index,)) for index, text in enumerate(texts)], encoder))


def _starts(layer: Layer) -> list[int]:
    """How many keys come before each segment of a layer's keys."""
    starts = [0]
    for segment in layer.keys[:-1]:
        starts.append(starts[-1] + segment.tokens)
    return starts


def _one_after_another(layer: Layer, starts: list[int], encodings: Sequence[Encoding]) -> list[tuple[int, Encoding]]:
    """(first key, encoding) of all encodings if they fill all words; empty if not, or if other keys would split one."""
    keys = [
        start + offset
        for segment, start in zip(layer.keys, starts, strict=True)
        if segment.kind == "words"
        for offset in range(segment.tokens)
    ]
    found, at = [], 0
    for encoding in encodings:
        own = keys[at : (at := at + len(encoding.tokens))]
        if not own or own[-1] - own[0] + 1 != len(encoding.tokens):
            return []
        found.append((own[0], encoding))
    return found if at == len(keys) else []


def _of_equal_length(layer: Layer, starts: list[int], encodings: Sequence[Encoding]) -> list[tuple[int, Encoding]]:
    """(first key, encoding) of words that are as many as the tokens of exactly one encoding."""
    sizes = [segment.tokens for segment in layer.keys if segment.kind == "words"]
    found = []
    for segment, start in zip(layer.keys, starts, strict=True):
        fits = [encoding for encoding in encodings if len(encoding.tokens) == segment.tokens]
        if segment.kind == "words" and len(fits) == 1 and sizes.count(segment.tokens) == 1:
            found.append((start, fits[0]))
    return found


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _fields(values: object, *names: str) -> list[Any]:
    if not isinstance(values, dict) or set(values) != set(names):
        raise ValueError(f"expected the fields {', '.join(names)} of a caption, got {str(values)[:60]}")
    return [values[name] for name in names]


def _list(values: object, most: int | None, what: str) -> list:
    if not isinstance(values, list) or (most is not None and len(values) > most):
        raise ValueError(
            f"expected a list of {'' if most is None else f'at most {most:,} '}{what}, got {str(values)[:60]}"
        )
    return values


def _text(value: object, longest: int, what: str) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError(f"expected {what} of at most {longest:,} characters, got {str(value)[:60]}")
    return value


def _entry(entry: object) -> Entry:
    """A word in JSON: [text, kind, [indices of its tokens]]."""
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[2], list):
        raise ValueError(f"expected a word as its text, its kind and its tokens, got {str(entry)[:60]}")
    text, kind, tokens = entry
    if kind not in KINDS:
        raise ValueError(f"expected a kind of word among {', '.join(KINDS)}, got {str(kind)[:60]}")
    if not all(type(token) is int for token in tokens):  # True and False are instances of int
        raise ValueError(f"expected indices of tokens, got {str(tokens)[:60]}")
    return _text(text, MAX_WORD, "a word"), kind, tuple(tokens)
