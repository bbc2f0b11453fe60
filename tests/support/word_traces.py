"""Random traces of layers that look at words, and what every key is, written down while the layer is put together.

The labels are the oracle: nothing here asks `viz.words` which keys are which word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from viz import Caption, Trace
from viz.layer import Layer, Segment, SegmentKind
from viz.words import Entry, WordKind

# What a key is: ("pixels", cell), ("encoding", encoder, token), or (kind of its segment, which segment, token).
Label = tuple
TEXTS = ("red", "eyes", "a", "horns")
KINDS: st.SearchStrategy[WordKind] = st.sampled_from(("word", "start", "end", "padding"))
OTHERS: st.SearchStrategy[SegmentKind] = st.sampled_from(("registers", "image prompt", "frames"))


@dataclass
class Case:
    """A trace of one layer "a", step 0, branch "b"; its caption, and what its keys and queries are."""

    trace: Trace
    caption: Caption
    keys: list[Label]
    queries: list[Label]

    @property
    def layer(self) -> Layer:
        return self.trace.layers["a"]

    def attention(self) -> np.ndarray:
        """(H, n, M): the plain softmax over all keys, in double precision."""
        q, k = (store["b", "a", 0].double().numpy() for store in (self.trace.queries, self.trace.keys))
        scores = np.einsum("hnd,hmd->hnm", q, k) * self.layer.scale
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True)

    def of_word(self, labels: list[Label], encoder: int, tokens: tuple[int, ...]) -> list[int]:
        """Where the tokens of a word are among keys or queries."""
        return [labels.index(("encoding", encoder, token)) for token in tokens]

    def pixels(self, labels: list[Label]) -> list[int]:
        return [index for index, label in enumerate(labels) if label[0] == "pixels"]


@st.composite
def captions(draw: st.DrawFn) -> Caption:
    """One to three encodings of different lengths, whose tokens belong to words in any order."""
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3, unique=True))
    encodings = []
    for length in lengths:
        owners = draw(st.lists(st.integers(0, 3), min_size=length, max_size=length))
        kinds = draw(st.lists(KINDS, min_size=4, max_size=4))
        words: list[Entry] = [
            (draw(st.sampled_from(TEXTS)), kinds[owner], [i for i, o in enumerate(owners) if o == owner])
            for owner in sorted(set(owners))
        ]
        encodings.append(("CLIP", [str(i) for i in range(length)], words))
    return Caption.build("a caption", encodings)


@st.composite
def cases(draw: st.DrawFn, joint: bool | None = None) -> Case:
    """A layer whose segments stand in any order; joint layers have words among their queries, in an order of their own.

    Args:
        joint: None for either.
    """
    caption = draw(captions())
    grid = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    is_joint = draw(st.booleans()) if joint is None else joint
    pixels = (Segment("pixels", grid[0] * grid[1], grid), [("pixels", i) for i in range(grid[0] * grid[1])])
    words = _word_parts(draw(st.booleans()), caption)
    more = []
    for index, kind in enumerate(draw(st.lists(OTHERS, max_size=2))):
        tokens = draw(st.integers(1, 3))
        more.append((Segment(kind, tokens), [(kind, index, i) for i in range(tokens)]))
    keys = _shuffled(draw, [*more, *([pixels] if is_joint else [])], words)
    queries = _shuffled(draw, [pixels], words) if is_joint else [pixels]
    heads, width = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    layer = Layer(
        "a", tuple(part for part, _ in queries), tuple(part for part, _ in keys), heads, width, draw(st.floats(0.1, 2))
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    q = torch.randn(heads, layer.query_count, width, generator=generator) * 2
    k = torch.randn(heads, layer.key_count, width, generator=generator) * 2
    trace = Trace({"a": layer}, {0: 1.0}, ("b",), size=(8, 8), queries={("b", "a", 0): q}, keys={("b", "a", 0): k})
    trace.words["b"] = caption
    return Case(trace, caption, [x for _, part in keys for x in part], [x for _, part in queries for x in part])


def _word_parts(joined: bool, caption: Caption) -> list[tuple[Segment, list[Label]]]:
    """The words as one segment, or as one for each encoding."""
    parts = [[("encoding", i, j) for j in range(len(one.tokens))] for i, one in enumerate(caption.encodings)]
    parts = [[label for part in parts for label in part]] if joined else parts
    return [(Segment("words", len(part)), part) for part in parts]


def _shuffled(draw: st.DrawFn, others: list, words: list) -> list:
    """Other parts in any order between those of the words, whose own order stays."""
    order = draw(st.permutations([-1] * len(words) + list(range(len(others)))))
    remaining = iter(words)
    return [next(remaining) if place < 0 else others[place] for place in order]
