"""Which words a network's keys are: read from what its text encoders were given and returned, never guessed.

The vectors that a network is called with are compared with what text encoders returned before, in the same `with`
block. Where they are the same numbers, the token ids are known; the tokenizer that the pipeline keeps beside the
encoder then says which of them make a word, if it makes the very same ids of a caption. Everything else is numbered:
vectors made elsewhere or changed on their way, and encoders without a tokenizer.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from viz.layer import Branch
from viz.recording.encoders import EncoderCall, Listener, Piece, hear, pieces_of
from viz.recording.pipelines import pipeline_calling
from viz.recording.sequence import words_given
from viz.recording.tokenizing import Split, split
from viz.words import Caption, Entry, WordKind

# Captions said by you: of all branches, of each, or a function of a branch that returns one, or None.
Words = Caption | Mapping[Branch, Caption] | Callable[[Branch], Caption | None]

TEXT_VARIABLES = re.compile(r"prompt|caption|text|words")  # names of local variables of pipelines that hold captions
NO_ENCODER = "no encoder"  # keys that are zeros, as where Stable Diffusion 3 runs without T5
MADE_OF = re.compile(r"(TextModelWithProjection|TextTransformer|EncoderModel|TextModel|Model|Stack|For\w+|Encoder)$")


class Captions:
    """Finds the caption of each recorded picture, once in a run, and checks in every call that it still is.

    Raises:
        TypeError: if `given` is none of the above.
    """

    def __init__(self, given: Words | None = None) -> None:
        if given is not None and not isinstance(given, (Caption, Mapping)) and not callable(given):
            raise TypeError(f"words= must be a viz.words.Caption, one for each branch, or a function, got {given!r}")
        self.given = given
        self._listener = Listener()
        self._vectors: dict[Branch, list[torch.Tensor]] | None = None  # that the captions of the first call belong to

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to text encoders until `stop`, or until the `with` block ends."""
        if self.given is None:
            self._listener.start()
        try:
            yield
        finally:
            self._listener.stop()
            self._listener.forget()

    def stop(self) -> None:
        """Listen no longer: the network is running."""
        self._listener.stop()

    def look(
        self, words: dict[Branch, Caption], network: nn.Module, args: tuple, kwargs: dict, pictures: dict[Branch, int]
    ) -> dict[Branch, Caption]:
        """The captions of the pictures of one call. To be called from within that call. Never raises.

        Args:
            words: those of the calls before. Captions whose vectors have changed are not returned again.
            pictures: {branch: index in the batch}.
        """
        if not pictures:
            return words  # nothing of this call is recorded
        try:
            if self.given is not None:
                return words or self._said(pictures)
            vectors = {branch: _vectors(network, args, kwargs, picture) for branch, picture in pictures.items()}
            if self._vectors is not None:
                return {branch: caption for branch, caption in words.items() if self._is_as_before(branch, vectors)}
            self._vectors = {branch: [part.clone() for part in parts] for branch, parts in vectors.items()}
            found = captions_of(vectors, self._listener.calls, *(pipeline_calling(network) or (None, {})))
            self._listener.forget()
            return found
        except Exception:  # no reason to stop the run: keys are numbered
            return {}

    def _said(self, pictures: dict[Branch, int]) -> dict[Branch, Caption]:
        """The captions that were said by hand."""
        given = self.given
        if isinstance(given, Caption):
            said: dict[Branch, Any] = dict.fromkeys(pictures, given)
        elif isinstance(given, Mapping):
            said = {branch: given.get(branch) for branch in pictures}
        else:
            assert callable(given)
            said = {branch: given(branch) for branch in pictures}
        return {branch: caption for branch, caption in said.items() if isinstance(caption, Caption)}

    def _is_as_before(self, branch: Branch, vectors: dict[Branch, list[torch.Tensor]]) -> bool:
        before, now = (self._vectors or {}).get(branch, []), vectors.get(branch, [])
        return len(before) == len(now) and all(map(torch.equal, before, now))


def captions_of(
    vectors: Mapping[Branch, Sequence[torch.Tensor]], calls: Sequence[EncoderCall], pipeline: Any, variables: dict
) -> dict[Branch, Caption]:
    """The captions of vectors (M, C) that text encoders made; those of unknown origin are left out.

    Args:
        vectors: {branch: what the network was given as words, in the order of its arguments}.
        calls: of the text encoders.
        pipeline: holds the encoders and their tokenizers; None if there is none.
        variables: of the function that calls the network, among which captions are looked for.
    """
    texts = _texts(variables)
    found = {}
    for branch, parts in vectors.items():
        runs = [pieces_of(part, list(calls)) for part in parts]
        if not runs or not all(runs):
            continue
        caption = _caption(
            [run for part, own in zip(parts, runs, strict=True) for run in _sized(part, own or [])], pipeline, texts
        )
        if caption is not None:
            found[branch] = caption
    return found


def caption_of(pipeline: Any, prompt: str, **options: Any) -> Caption:
    """What a pipeline's text encoders make of a prompt: which words, of which tokens, in the order of the keys.

    Args:
        options: of the pipeline's `encode_prompt`, such as `prompt_2` or `max_sequence_length`.

    Raises:
        ValueError: if that cannot be known: the pipeline has no `encode_prompt`, or no tokenizer for it.
    """
    with torch.no_grad():
        vectors, calls = hear(lambda: _encoded(pipeline, prompt, options))
    texts = {"prompt": [prompt, *(value for value in options.values() if isinstance(value, str))]}
    found = captions_of({"": [vectors]}, calls, pipeline, texts)
    if "" not in found:
        raise ValueError(
            f"the words of {type(pipeline).__name__} cannot be known: no tokenizer of it makes what its encoder reads"
        )
    return found[""]


def _encoded(pipeline: Any, prompt: str, options: dict[str, Any]) -> torch.Tensor:
    """The vectors (M, C) that a pipeline's encoders make of a prompt."""
    if callable(encode := getattr(pipeline, "encode_captions", None)):
        return encode([prompt])[0]
    if not callable(encode := getattr(pipeline, "encode_prompt", None)):
        raise ValueError(f"{type(pipeline).__name__} has no method encode_prompt, which says how it reads a prompt")
    known = {
        "device": getattr(pipeline, "_execution_device", None),
        "num_images_per_prompt": 1,
        "do_classifier_free_guidance": False,
    }
    parameters = inspect.signature(encode).parameters
    needed = {name: None for name, each in parameters.items() if each.default is each.empty and name[0] != "k"}
    given = needed | {name: value for name, value in known.items() if name in parameters} | options
    result = encode(**(given | {"prompt": prompt}))
    return (result if isinstance(result, torch.Tensor) else result[0])[0]


def _vectors(network: nn.Module, args: tuple, kwargs: dict, picture: int) -> list[torch.Tensor]:
    """What a network is given as words for one picture, (M, C) each, in the order of its arguments."""
    return [words[picture] for words in words_given(network, args, kwargs) if picture < len(words)]


def _sized(vectors: torch.Tensor, runs: list[list[Piece]]) -> list[tuple[int, list[Piece]]]:
    """(number of tokens, pieces) of each run."""
    known = sum(len(run[0].ids) for run in runs if run)
    return [(len(run[0].ids) if run else len(vectors) - known, run) for run in runs]


def _caption(runs: list[tuple[int, list[Piece]]], pipeline: Any, texts: list[str]) -> Caption | None:
    """The caption of runs of tokens; None if no run has words that are known."""
    encodings: list[tuple[str, Sequence[str], Sequence[Entry]]] = []
    notes: dict[str, str] = {}
    written: list[str] = []
    for count, pieces in runs:
        owners = [_owner(pipeline, piece.module) for piece in pieces]
        names = " and ".join(dict.fromkeys(_name(*owner) for owner in owners)) if pieces else NO_ENCODER
        splits = [
            split(tokenizer, piece.ids.tolist(), texts) if (tokenizer := _tokenizer(pipeline, *owner)) else None
            for piece, owner in zip(pieces, owners, strict=True)
        ]
        if not pieces:
            encodings.append((names, ["0"] * count, [("padding", "padding", range(count))]))
            continue
        if any(each is None for each in splits):
            numbers = [str(number) for number in range(1, count + 1)]
            encodings.append((names, numbers, [(text, "number", (i,)) for i, text in enumerate(numbers)]))
            continue
        whole = [each for each in splits if each is not None]
        encodings.append((names, *_shared(whole)))
        written += [each.text for each in whole]
        for each in whole:
            notes |= each.notes
    return Caption.build(" / ".join(dict.fromkeys(written)), encodings, notes) if written else None


def _shared(splits: list[Split]) -> tuple[list[str], list[Entry]]:
    """The tokens and words of encoders that share their keys; where they split otherwise, what overlaps is one word."""
    if len(splits) == 1:
        return list(splits[0].tokens), list(splits[0].words)
    tokens = [" / ".join(dict.fromkeys(each)) for each in zip(*(one.tokens for one in splits), strict=True)]
    if all(one.words == splits[0].words for one in splits):
        return tokens, list(splits[0].words)
    groups: list[set[int]] = []
    for one in splits:
        for _, _, indices in one.words:
            touched = [group for group in groups if group & set(indices)]
            groups = [group for group in groups if group not in touched] + [set(indices).union(*touched)]
    words: list[Entry] = []
    for group in sorted(groups, key=min):
        inside = [(text, kind) for one in splits for text, kind, indices in one.words if group & set(indices)]
        kinds: set[WordKind] = {kind for _, kind in inside}
        kind = kinds.pop() if len(kinds) == 1 else "word"
        words.append((" / ".join(dict.fromkeys(text for text, _ in inside)), kind, tuple(sorted(group))))
    return tokens, sorted(words, key=lambda word: (word[1] != "word", word[2]))


def _texts(variables: Mapping[str, Any]) -> list[str]:
    """The captions among the variables of a pipeline's function; an empty one is always possible."""
    found: dict[str, None] = {}
    for name, value in variables.items():
        if TEXT_VARIABLES.search(name):
            values = value if isinstance(value, (list, tuple)) else [value]
            found |= dict.fromkeys(each for each in values if isinstance(each, str))
    return [*found, ""]


def _owner(pipeline: Any, module: nn.Module) -> tuple[str, nn.Module]:
    """(the attribute of a pipeline that holds an encoder, what it holds); ("", the encoder) if it holds none."""
    for name, value in getattr(pipeline, "__dict__", {}).items():
        if isinstance(value, nn.Module) and any(part is module for part in value.modules()):
            return name, value
    return "", module


def _name(attribute: str, encoder: nn.Module) -> str:
    """What to call an encoder. The second of a pipeline's CLIP encoders is OpenCLIP's."""
    if callable(getattr(encoder, "spell", None)):
        return ""
    name = type(encoder).__name__
    if name.startswith("CLIP"):
        return "OpenCLIP" if attribute.endswith("_2") else "CLIP"
    return MADE_OF.sub("", name) or name


def _tokenizer(pipeline: Any, attribute: str, encoder: nn.Module) -> Any:
    """What splits the captions of an encoder: its own, or the pipeline's tokenizer with the same number."""
    if callable(getattr(encoder, "spell", None)):
        return encoder
    number = re.search(r"_\d+$", attribute)
    return getattr(pipeline, f"tokenizer{number.group() if number else ''}", None) if attribute else None
