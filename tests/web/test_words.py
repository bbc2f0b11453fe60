"""Words in viz/web/core: which keys they are, their maps and shares, against Python and the plain formula."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.node import evaluate
from tests.support.opened import map_of, opened
from tests.support.traces import trace_of_segments
from viz import Trace
from viz.layer import Layer, Segment
from viz.query import Maps
from viz.view import WordQuery
from viz.web import WEB
from viz.words import Caption, caption_to_json, words_of_layer

FINE, COARSE = Segment("pixels", 12, (3, 4)), Segment("pixels", 4, (2, 2))
CAPTION = Caption.build(
    "a red red monster",
    [
        (
            "CLIP",
            ["<s>", "a", "red", "red", "mon", "ster", "</s>", "</s>"],
            [
                ("a", "word", (1,)),
                ("red", "word", (2,)),
                ("red", "word", (3,)),
                ("monster", "word", (4, 5)),
                ("start", "start", (0,)),
                ("padding", "padding", (6, 7)),
            ],
        )
    ],
    {"red": "its map lands on its part in 90 % of 500 pictures"},
)
EMPTY = Caption.build(
    "",
    [("CLIP", ["<s>", *["</s>"] * 7], [("start", "start", (0,)), ("padding", "padding", tuple(range(1, 8)))])],
)


def trace_of_words() -> Trace:
    """Random numbers in two branches: self-attention, cross-attention with a gap, and joint attention."""
    trace = trace_of_segments()
    words = Segment("words", 8)
    layers = {
        "block.attn1": Layer("block.attn1", (FINE,), (COARSE,), 2, 4, 0.5),
        "block.attn2": Layer("block.attn2", (FINE,), (words,), 3, 4, 1.5),
        "joint": Layer("joint", (words, FINE), (COARSE, words), 2, 4, 1.0),
        "other": Layer("other", (FINE,), (Segment("words", 3), Segment("image prompt", 2)), 1, 4, 1.0),
    }
    generator = torch.Generator().manual_seed(8)
    stores: tuple[dict, dict] = {}, {}
    for branch in ("unconditional", "conditional"):
        for layer in layers.values():
            for step in (0, 4):
                if (layer.name, step) == ("block.attn2", 4):
                    continue
                for store, count in zip(stores, (layer.query_count, layer.key_count), strict=True):
                    store[branch, layer.name, step] = torch.randn(layer.heads, count, 4, generator=generator)
    return replace(
        trace,
        layers=layers,
        timesteps={0: 900.0, 4: 500.0},
        branches=("unconditional", "conditional"),
        calls={},
        proved={},
        proved_rows={},
        gaps={"block.attn2": {4: "it did not run"}},
        queries=stores[0],
        keys=stores[1],
        words={"unconditional": EMPTY, "conditional": CAPTION},
    )


def whole(trace: Trace, layer: str, step: int, branch: str = "conditional") -> np.ndarray:
    """(H, all queries, all keys), the plain formula in double precision."""
    q, k = trace.queries[branch, layer, step].double(), trace.keys[branch, layer, step].double()
    return torch.softmax(q @ k.transpose(-1, -2) * trace.layers[layer].scale, -1).numpy()


def chosen(maps: np.ndarray, head: int) -> np.ndarray:
    return maps.mean(0) if head < 0 else maps[head]


# Where the keys of CAPTION and the pixels' queries begin in each layer.
BEGIN = {"block.attn2": (0, 0), "joint": (4, 8)}
TOKENS = {("a", 0): [1], ("red", 0): [2], ("red", 1): [3], ("monster", 0): [4, 5], ("padding", 0): [6, 7]}


def query_of(text: str, nth: int = 0) -> WordQuery:
    return WordQuery(text, nth, "padding" if text == "padding" else "word")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    trace = trace_of_words()
    return trace, trace.save(tmp_path_factory.mktemp("words") / "run.safetensors")


@pytest.mark.parametrize("reading", ["spent", "used"])
@pytest.mark.parametrize("layer", ["block.attn2", "joint"])
def test_word_map_is_sum_of_its_tokens_columns(recorded, layer, reading):
    trace, path = recorded
    index, (first, pixels) = list(trace.layers).index(layer), BEGIN[layer]
    choices = [(*word, head) for word in TOKENS for head in (-1, 1)]
    maps = [map_of(index, 0, head, query_of(text, nth), "row", False, reading=reading) for text, nth, head in choices]
    count = trace.layers[layer].key_count
    for (text, nth, head), values in zip(choices, opened(path, f"[{', '.join(maps)}]"), strict=True):
        tokens = TOKENS[text, nth]
        weights = chosen(whole(trace, layer, 0), head)[pixels : pixels + 12]
        shares = sum(weights[:, first + token] for token in tokens)
        expected = shares / shares.mean() if reading == "used" else shares * count / len(tokens)
        assert np.abs(np.array(values) - expected).max() < 1e-3, (text, nth, head)


def test_word_looks_at_pixels_in_joint_attention(recorded):
    trace, path = recorded
    for head in (-1, 0):
        values = opened(path, map_of(2, 1, head, query_of("monster"), "row", False, reading="looks"))
        expected = chosen(whole(trace, "joint", 4), head)[4:6, :4].mean(0) * 4
        assert np.abs(np.array(values) - expected).max() < 1e-3


def test_word_matrix_of_joint_attention(recorded):
    trace, path = recorded
    values = opened(
        path, '[...new core.Answers(trace, () => {}).wordMatrix(trace.all[2], 0, -1, { branch: "conditional" })]'
    )
    words = words_of_layer(trace.layers["joint"], CAPTION)[0][1].words
    weights = whole(trace, "joint", 0).mean(0)
    expected = [
        [weights[list(row.tokens)].mean(0)[[4 + token for token in column.tokens]].sum() for column in words]
        for row in words
    ]
    assert np.abs(np.reshape(values, (len(words), len(words))) - expected).max() < 1e-3


def test_difference_of_branches_is_last_minus_first(recorded):
    trace, path = recorded
    query = WordQuery("padding", 0, "padding")
    values = opened(path, map_of(1, 0, 0, query, "row", False, branch="difference"))
    last = whole(trace, "block.attn2", 0)[0][:, 6:8].sum(1) * 8 / 2
    first = whole(trace, "block.attn2", 0, "unconditional")[0][:, 1:8].sum(1) * 8 / 7
    assert np.abs(np.array(values) - (last - first)).max() < 1e-3


def test_maps_of_words_equal_those_of_python(recorded):
    trace, path = recorded
    maps = Maps(trace)
    names = [layer.name for layer in maps.layers]
    assert opened(path, "trace.all.map(({ name }) => name)") == names
    choices: list[tuple] = [
        (layer, head, query_of(text, nth), reading, branch)
        for layer in ("block.attn2", "joint")
        for head in (-1, 1)
        for text, nth in TOKENS
        for reading in ("spent", "used", *(["looks"] if layer == "joint" else []))
        for branch in ("conditional", *(["unconditional", "difference"] if text == "padding" else []))
    ]
    asked = [
        map_of(names.index(layer), 0, head, query, "row", False, reading=reading, branch=branch)
        for layer, head, query, reading, branch in choices
    ]
    for (layer, head, query, reading, branch), values in zip(
        choices, opened(path, f"[{', '.join(asked)}]"), strict=True
    ):
        expected = maps.one(query, layer, trace.steps[0], head=head, reading=reading, branch=branch).flatten()
        assert np.abs(np.array(values) - expected).max() < 1e-3, (layer, head, query, reading, branch)


@pytest.mark.parametrize("branch", ["conditional", "unconditional", "difference"])
@pytest.mark.parametrize("bars", ["layer", "grid"])
def test_shares_of_a_pixel_are_sums_over_tokens(recorded, bars, branch):
    trace, path = recorded
    state = json.dumps({"step": 0, "head": 1, "bars": bars, "branch": branch, "mode": "column"})
    query = json.dumps({"kind": "pixel", "point": [0.5, 0.3]})  # row 1, column 1 of 3×4: cell 5
    values, names = opened(
        path,
        f"""[[...core.sharesOf(new core.Answers(trace, () => {{}}), trace, {state}, trace.all[1], {query})],
            core.barLayers(trace, {state}, trace.all[1]).map(({{ name }}) => name)]""",
    )
    assert names == (["block.attn2", "joint"] if bars == "grid" else ["block.attn2"])

    def shares(name: str) -> np.ndarray:
        caption = EMPTY if name == "unconditional" else CAPTION
        rows = {"block.attn2": whole(trace, "block.attn2", 0, name)[1][5]}
        if bars == "grid":
            joint = whole(trace, "joint", 0, name).mean(0)[8 + 5][4:]
            rows = {"block.attn2": whole(trace, "block.attn2", 0, name).mean(0)[5], "joint": joint}
        heads = {name: trace.layers[name].heads for name in rows}  # the mean of all heads of both layers
        keys = sum(row * heads[name] for name, row in rows.items()) / sum(heads.values())
        return np.array([keys[list(word.tokens)].sum() for word in caption.words])

    if branch == "difference":
        first = dict(zip([word.text for word in EMPTY.words], shares("unconditional"), strict=True))
        assert values[:4] == [None] * 4  # in JSON, NaN is null: only one of the captions has them
        last = dict(zip([word.text for word in CAPTION.words], shares("conditional"), strict=True))
        values, expected = values[4:], np.array([last[name] - first[name] for name in ("start", "padding")])
    else:
        expected = shares(branch)
    assert np.abs(np.array(values) - expected).max() < 1e-3


def test_trace_says_which_layers_answer_which_queries(recorded):
    layers, words, asking, label, partners = opened(
        recorded[1],
        """[trace.layers, trace.wordLayers, trace.askingLayers].map((list) => list.map(({ name }) => name)).concat([
            trace.all.map((layer) => [core.formatKeys(layer), core.formatGrids(layer)]),
            [["pixel", 1], ["word", 0], ["word", 2], ["pixel", 3]].map(([kind, layer]) =>
                core.layerFor(trace, trace.all[layer], { kind }, { reading: "spent" }).name)])""",
    )
    assert layers == ["block.attn1", "joint"] and words == ["block.attn2", "joint", "other"] and asking == ["joint"]
    assert label[1] == ["cross-attention · 3×4 cells look at 8 words", "3×4 → words"]
    assert partners == ["block.attn1", "block.attn2", "joint", "joint"]


def test_keys_of_unknown_captions_are_numbered(recorded):
    words = opened(
        recorded[1], 'trace.all[3].words("conditional").map(({ text, of, encoder, keys }) => [text, of, encoder, keys])'
    )
    assert words == [
        *[[str(i + 1), "number", 1, [i]] for i in range(3)],
        *[[str(i + 1), "image prompt", 2, [3 + i]] for i in range(2)],
    ]


def test_word_that_a_layer_lacks_has_a_reason(recorded):
    query = json.dumps(WordQuery("eyes").to_json())
    reason, other = opened(
        recorded[1],
        f"""[core.missingWord(trace, trace.all[1], {query}, {{ branch: "conditional" }}),
            core.missingWord(trace, trace.all[1], {{ kind: "word", text: "red" }}, {{ branch: "difference" }})]""",
    )
    assert reason == "the conditional caption has no “eyes” in this layer"
    assert other == "the unconditional caption has no “red” in this layer"


def test_sentence_ranks_words_and_puts_added_tokens_apart():
    sentence = evaluate(
        f"""import {{ describeShares }} from {json.dumps(str(WEB / "core/shares.js"))};
        const word = (text, of = "word", nth = 0) => ({{ text, of, nth }});
        const own = [word("red"), word("red", "word", 1), word("eyes"), word("a")];
        const words = [...own, word("start", "start"), word("padding", "padding")];
        const shares = [0.31, 0.12, 0.002, 0.05, 0.3, 0.2];
        const describe = (isPlural) => describeShares(words, shares, {{ branch: "" }}, {{ isJoint: false, isPlural }});
        answer([false, true].map((isPlural) => describe(isPlural).join("")));"""
    )
    assert sentence == [
        "It spends 31% on “red” (1), 12% on “red” (2), 5.0% on “a”, 30% on start and 20% on padding.",
        "They spend 31% on “red” (1), 12% on “red” (2), 5.0% on “a”, 30% on start and 20% on padding.",
    ]


@st.composite
def layers_and_captions(draw):
    """A layer's keys, and captions whose encodings may or may not fit them."""
    sizes = st.integers(1, 4)
    kinds = st.sampled_from(["words", "words", "words", "image prompt", "objects", "unknown", "registers", "frames"])
    segments = [Segment(draw(kinds), draw(sizes)) for _ in range(draw(st.integers(0, 4)))]
    segments.insert(draw(st.integers(0, len(segments))), COARSE)
    texts = st.sampled_from(["red", "eyes", "padding"])
    encodings = []
    for _ in range(draw(st.integers(0, 3))):
        count = draw(st.integers(1, 8))
        cut = draw(st.integers(0, count - 1))
        words = [(draw(texts), "word", (i,)) for i in range(cut)] + [("padding", "padding", tuple(range(cut, count)))]
        encodings.append(("T5", ["token"] * count, words))
    caption = Caption.build("a caption", encodings) if encodings else None
    return Layer("a", (FINE,), tuple(segments), 1, 1, 1.0), caption


@settings(max_examples=8, deadline=None)
@given(st.lists(layers_and_captions(), min_size=40, max_size=40))
def test_encodings_of_keys_equal_python(cases):
    given_ = [
        {
            "entry": {
                "name": "a",
                **{
                    "queries": [{"kind": "pixels", "tokens": 12, "grid": [3, 4]}],
                    "heads": 1,
                    "head_dim": 1,
                    "scale": 1,
                },
                "keys": [
                    {"kind": s.kind, "tokens": s.tokens, "grid": list(s.grid) if s.grid else None} for s in layer.keys
                ],
            },
            "caption": caption_to_json(caption) if caption else None,
        }
        for layer, caption in cases
    ]
    found = evaluate(
        f"""import {{ encodingsOf, readCaption }} from {json.dumps(str(WEB / "core/captions.js"))};
        import {{ readLayer }} from {json.dumps(str(WEB / "core/layer.js"))};
        answer({json.dumps(given_)}.map(({{ entry, caption }}) =>
            encodingsOf(readLayer(entry, "2").wordKeys, caption && readCaption(caption)).map(([first, {{ words }}]) =>
                [first, words.map(({{ text, of, nth, encoder, tokens }}) => [text, of, nth, encoder, tokens])])));"""
    )
    for (layer, caption), entries in zip(cases, found, strict=True):
        expected = [
            [first, [[w.text, w.kind, w.nth, w.encoder, list(w.tokens)] for w in encoding.words]]
            for first, encoding in words_of_layer(layer, caption)
        ]
        assert entries == expected


BAD = [
    {"text": 1},
    {"encodings": {}},
    {"notes": None},
    {"notes": {"red": 1}},
    {"encodings": [{"encoder": "", "tokens": ["a", "b"], "words": [["a", "word", [0]]]}]},
    {"encodings": [{"encoder": "", "tokens": ["a"], "words": [["a", "word", [0]], ["b", "word", [0]]]}]},
    {"encodings": [{"encoder": "", "tokens": ["a"], "words": [["a", "noun", [0]]]}]},
    {"encodings": [{"encoder": "", "tokens": ["a"], "words": [["", "word", [0]]]}]},
]


@pytest.mark.parametrize("change", BAD, ids=str)
def test_caption_that_is_damaged_is_refused(change):
    entry = {"text": "a", "encodings": [{"encoder": "", "tokens": ["a"], "words": [["a", "word", [0]]]}], "notes": {}}
    message = evaluate(
        f"""import {{ readCaption }} from {json.dumps(str(WEB / "core/captions.js"))};
        readCaption({json.dumps(entry)});
        let message = "";
        try {{ readCaption({json.dumps(entry | change)}); }} catch (error) {{ message = error.message; }}
        answer(message);"""
    )
    assert message.startswith("This trace is damaged: the words of its caption")
