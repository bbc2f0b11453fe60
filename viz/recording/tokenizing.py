"""How a tokenizer splits a caption: which of its tokens make which word, and what it adds of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from viz.words import Entry

ADDED = ("start", "end", "padding")


@dataclass(frozen=True)
class Split:
    """A caption as one tokenizer splits it.

    Attributes:
        text: the caption, as it is written, or as it was put together again from its tokens.
        tokens: as the tokenizer writes them, one for each id.
        words: in the order of the caption, then start, end and padding, each one word, if there are such tokens.
        notes: {the text of a word: a sentence}, where the caption was cut.
    """

    text: str
    tokens: tuple[str, ...]
    words: tuple[Entry, ...]
    notes: dict[str, str]


def split(tokenizer: Any, ids: Sequence[int], texts: Sequence[str]) -> Split | None:
    """What the words of a row of ids are, none of which is taken on trust.

    Args:
        tokenizer: of the transformers library; or anything with methods `spell(text)`, which returns (ids, tokens,
            words), and `decode(ids)`, which returns a text, as the bundled `models.words.CaptionEncoder` has.
        ids: that its encoder was given.
        texts: captions that they may be the ids of. If they are of none, the text is put together from the tokens.

    Returns:
        None if the tokenizer makes these ids of neither.
    """
    ids = list(ids)
    if callable(getattr(tokenizer, "spell", None)):
        return _spelled(tokenizer, ids, texts)
    for text in dict.fromkeys([*texts, *(text.lower().strip() for text in texts)]):
        if (found := _tokenized(tokenizer, ids, text)) is not None:
            return found
    text = tokenizer.decode(ids, skip_special_tokens=True).strip()
    return _tokenized(tokenizer, ids, text)


def _spelled(encoder: Any, ids: list[int], texts: Sequence[str]) -> Split | None:
    for text in [*texts, encoder.decode(ids)]:
        own, tokens, words = encoder.spell(text)
        if list(own) == ids:
            return Split(text, tuple(tokens), tuple(words), {})
    return None


def _tokenized(tokenizer: Any, ids: list[int], text: str) -> Split | None:
    """The split of a caption if these are its ids, padded or cut to their number."""
    options = {"padding": "max_length", "max_length": len(ids), "truncation": True}
    fast = bool(getattr(tokenizer, "is_fast", False))
    read = tokenizer(text, return_special_tokens_mask=True, return_offsets_mapping=fast, **options)
    if list(read["input_ids"]) != ids:
        return None
    tokens = tuple(str(token) for token in tokenizer.convert_ids_to_tokens(ids))
    attended, special = read["attention_mask"], read["special_tokens_mask"]
    kinds = _kinds(attended, special)
    if fast:
        groups = _by_offsets(text, tokens, kinds, read.word_ids(0), read["offset_mapping"])
    else:
        groups = _marked(tokens, kinds)
    return Split(text, tokens, _entries(groups, kinds), _cut_note(tokenizer, text, ids, groups))


def _kinds(attended: Sequence[int], special: Sequence[int]) -> list[str]:
    """For each token, "word" or what the tokenizer added it as."""
    content = [index for index, mark in enumerate(special) if not mark and attended[index]]
    own = [index for index, mark in enumerate(attended) if mark]
    # Without any word, the first of the tokens it added is the start, unless it is the only one.
    first = content[0] if content else own[1] if len(own) > 1 else 0
    kinds = []
    for index, mark in enumerate(special):
        if not attended[index]:
            kinds.append("padding")
        else:
            kinds.append("word" if not mark else "start" if index < first else "end")
    return kinds


def _by_offsets(
    text: str,
    tokens: Sequence[str],
    kinds: Sequence[str],
    word_ids: Sequence[int | None],
    offsets: Sequence[tuple[int, int]],
) -> list[tuple[str, list[int]]]:
    """(text as the caption writes it, its tokens) of each word of a fast tokenizer; punctuation is its own word."""
    runs: list[list[int]] = []
    for index, kind in enumerate(kinds):
        if kind != "word":
            continue
        same = runs and runs[-1][-1] == index - 1 and word_ids[index] is not None
        if same and word_ids[index] == word_ids[index - 1]:
            runs[-1].append(index)
        else:
            runs.append([index])

    def written(indices: Sequence[int]) -> str:
        spans = [offsets[index] for index in indices if offsets[index][0] < offsets[index][1]]
        slice_ = text[min(start for start, _ in spans) : max(end for _, end in spans)] if spans else ""
        return slice_.strip() or "".join(tokens[index] for index in indices)

    def one(index: int) -> str:
        return written([index]) if tokens[index].strip("▁Ġ ") else ""  # a mark of a space spans the next character

    groups = [part for run in runs for part in _parts(run, tokens, one)]
    return [(written(group), group) for group in groups]


def _parts(run: list[int], tokens: Sequence[str], text_of: Callable[[int], str]) -> list[list[int]]:
    """The words in a run of tokens, which tokenizers such as T5's split at spaces only.

    The punctuation around a word's letters is no part of it. A token without any character, as T5's “▁” alone, belongs
    to the next one. CLIP's tokenizer has split off punctuation already.
    """
    if not tokens[run[0]].startswith("▁"):
        return [run]
    units: list[list[int]] = []
    blank: list[int] = []
    for index in run:
        blank.append(index)
        if text_of(index).strip("▁ "):
            units.append(blank)
            blank = []
    if blank:
        units = [*units[:-1], [*units[-1], *blank]] if units else [blank]
    letters = [place for place, unit in enumerate(units) if re.search(r"[^\W_]", "".join(map(text_of, unit)))]
    if not letters:
        return [run]
    first, last = letters[0], letters[-1]
    return [*units[:first], [index for unit in units[first : last + 1] for index in unit], *units[last + 1 :]]


def _marked(tokens: Sequence[str], kinds: Sequence[str]) -> list[tuple[str, list[int]]]:
    """(text, its tokens) of each word by the marks of its tokens: CLIP's “</w>” at its end, T5's “▁” at its start,
    BERT's “##” on what goes on; a token each where there are none."""
    content = [index for index, kind in enumerate(kinds) if kind == "word"]
    ends = any(tokens[index].endswith("</w>") for index in content)
    starts = any(tokens[index].startswith(("▁", "Ġ")) for index in content)
    groups: list[list[int]] = []
    for index in content:
        before = groups[-1][-1] if groups else None
        if ends:
            goes_on = before is not None and not tokens[before].endswith("</w>")
        else:
            goes_on = before is not None and (
                tokens[index].startswith("##") or (starts and not tokens[index].startswith(("▁", "Ġ")))
            )
        if goes_on and before == index - 1:
            groups[-1].append(index)
        else:
            groups.append([index])

    def written(index: int) -> str:
        return tokens[index].removesuffix("</w>").removeprefix("##").strip("▁Ġ")

    parts = [part for group in groups for part in _parts(group, tokens, written)]
    return [("".join(map(written, part)) or "".join(tokens[i] for i in part), part) for part in parts]


def _entries(groups: list[tuple[str, list[int]]], kinds: Sequence[str]) -> tuple[Entry, ...]:
    """The words of the caption, and after them what the tokenizer added, one word for each kind."""
    words: list[Entry] = [(text, "word", tuple(indices)) for text, indices in groups]
    for added in ADDED:
        indices = tuple(index for index, kind in enumerate(kinds) if kind == added)
        if indices:
            words.append((added, added, indices))  # type: ignore[arg-type]
    return tuple(words)


def _cut_note(tokenizer: Any, text: str, ids: list[int], groups: list[tuple[str, list[int]]]) -> dict[str, str]:
    """A sentence beside the end of a caption that is longer than its encoder reads."""
    whole = tokenizer(text, verbose=False)["input_ids"]
    if len(whole) <= len(ids) or not groups:
        return {}
    more = len(whole) - len(ids)
    tokens = "1 token was" if more == 1 else f"{more} tokens were"
    return {"end": f"The encoder reads {len(ids)} tokens; {tokens} cut off after “{groups[-1][0]}”."}
