"""Traces small enough to be worked out by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from viz import Trace
from viz.layer import Branch, Grid, Key, Layer, Proof, Segment
from viz.words import Caption, Entry

# softmax of its logarithm: all .25; .1 .2 .3 .4; .6 .1 .1 .2; .1 .1 .1 .7
ODDS = torch.tensor([[1.0, 1, 1, 1], [1, 2, 3, 4], [6, 1, 1, 2], [1, 1, 1, 7]])


def pixel_layer(name: str, grid: Grid, heads: int, head_dim: int, scale: float = 1.0, *, registers: int = 0) -> Layer:
    """Self-attention among the pixels of a grid, whose keys may begin with registers."""
    pixels = Segment("pixels", grid[0] * grid[1], grid)
    keys = (Segment("registers", registers), pixels) if registers else (pixels,)
    return Layer(name, (pixels,), keys, heads, head_dim, scale)


def trace_of_scores(scores: torch.Tensor) -> Trace:
    """A trace of one 2x2 layer "a" with one head and one step, whose scores q·k are the given (4, 4)."""
    layer = pixel_layer("a", (2, 2), 1, 4)
    key: Key = ("conditional", "a", 0)
    return Trace(
        {"a": layer},
        {0: 10.0},
        ("conditional",),
        size=(4, 4),
        queries={key: scores[None]},
        keys={key: torch.eye(4)[None]},
    )


def trace_of_odds() -> Trace:
    """A trace whose rows are worked out beside `ODDS`."""
    return trace_of_scores(ODDS.log())


def trace_of_segments() -> Trace:
    """Random numbers: queries and keys before and after the pixels, keys of a coarser map, gaps, a layer left out."""
    fine, coarse = Segment("pixels", 12, (3, 4)), Segment("pixels", 4, (2, 2))
    layers = [
        Layer(
            "joint",
            (Segment("registers", 2), fine, Segment("objects", 1)),
            (Segment("words", 2), coarse, Segment("registers", 3)),
            heads=2,
            head_dim=4,
            scale=0.7,
        ),
        pixel_layer("plain", (3, 4), 3, 4, 0.5),
        Layer("cross", (fine,), (Segment("words", 5),), 2, 4, 0.5),
    ]
    trace = Trace(
        {layer.name: layer for layer in layers},
        {0: 900.0, 4: 900.0, 6: 300.5},
        ("picture 1 of 2", "picture 2 of 2"),
        {"refused": "a mask is added to its scores"},
        {"joint": 3e-7, "plain": 7e-7, "cross": 1e-7},
        (6, 8),
        recipe={"caption": "a red monster", "seed": 5},
        calls={0: (1, 2), 4: (2, 2)},
        gaps={"plain": {4: "it did not run"}, "joint": {6: "its output could not be recomputed"}},
        proved_rows={"joint": 128, "plain": 128, "cross": 192},
    )
    generator = torch.Generator().manual_seed(3)
    for branch in trace.branches:
        for layer in layers:
            for step in trace.steps_of(layer.name):
                key: Key = branch, layer.name, step
                for store, count in ((trace.queries, layer.query_count), (trace.keys, layer.key_count)):
                    store[key] = torch.randn(layer.heads, count, layer.head_dim, generator=generator)
    return trace


def add_gaps(trace: Trace, layer: str, steps: Collection[int], reason: str) -> None:
    """Take Q and K of some steps out of a trace."""
    trace.gaps[layer] = dict.fromkeys(steps, reason)
    for store in (trace.queries, trace.keys):
        for key in [key for key in store if key[1] == layer and key[2] in steps]:
            del store[key]
    if layer in trace.proofs and trace.proofs[layer].step in steps:
        del trace.proofs[layer]


def attention_of(trace: Trace, name: str, step: int, branch: Branch | None = None) -> torch.Tensor:
    """(H, N, pixel keys or M): the plain formula in double precision, cut to the pixels."""
    layer, key = trace.layers[name], (branch or trace.branches[-1], name, step)
    q, k = trace.queries[key].double(), trace.keys[key].double()
    queries = sum(segment.tokens for segment in _before_pixels(layer.queries))
    weights = torch.softmax(q @ k.transpose(-1, -2) * layer.scale, -1)[:, queries : queries + layer.tokens]
    if layer.key_grid is None:
        return weights
    keys = sum(segment.tokens for segment in _before_pixels(layer.keys))
    return weights[..., keys : keys + layer.key_grid[0] * layer.key_grid[1]]


def _before_pixels(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    return segments[: [segment.kind for segment in segments].index("pixels")]


def trace_with_everything() -> Trace:
    """Both branches, several kinds of segments, a gap, pictures and a proof, all of exact numbers."""
    square, coarse = Segment("pixels", 4, (2, 2)), Segment("pixels", 2, (1, 2))
    layers = [
        Layer("a", (Segment("registers", 1), square), (square, Segment("objects", 1)), 1, 2, 0.5),
        Layer("b.c", (Segment("pixels", 3, (1, 3)),), (Segment("words", 1), Segment("image prompt", 1)), 2, 1, 1.0),
        Layer("d", (square,), (Segment("frames", 1), coarse), 1, 1, 1.0),
    ]
    trace = Trace(
        {layer.name: layer for layer in layers},
        {0: 999.0, 3: None},
        ("picture 1 of 2", "picture 2 of 2"),
        {"x": "no probe knows it"},
        {"a": 0.25},
        (4, 6),
        {3: np.arange(24, dtype=np.uint8).reshape(2, 4, 3)},
        np.full((1, 1, 3), 7, np.uint8),
        {"caption": "a “red” monster", "seed": 1},
        calls={3: (2, 2)},
        gaps={"d": {0: "its gate was closed"}},
        proved_rows={"a": 4},
    )
    for branch in trace.branches:
        for layer in layers:
            for step in trace.steps_of(layer.name):
                key: Key = branch, layer.name, step
                shape = layer.heads, layer.query_count, layer.head_dim
                dtype = torch.float16 if layer.name == "a" else torch.float32
                trace.queries[key] = torch.zeros(shape, dtype=dtype)
                count = layer.heads * layer.key_count * layer.head_dim
                keys = torch.arange(count, dtype=dtype).reshape(layer.heads, layer.head_dim, layer.key_count)
                trace.keys[key] = keys.transpose(1, 2)  # not contiguous
    value, output = torch.tensor([[[1.0], [2], [3], [4], [5]]]), torch.tensor([[3.0], [3.0]])
    trace.proofs["a"] = Proof("picture 1 of 2", 3, torch.tensor([0, 4]), value, output)
    return trace


def caption_of_everything() -> Caption:
    """Two encoders, a word twice, a word of two tokens, what a tokenizer adds, and a note."""
    clip: list[Entry] = [
        ("a", "word", [1]),
        ("red", "word", [2]),
        ("red", "word", [3]),
        ("monster", "word", [4, 5]),
    ]
    added: list[Entry] = [
        ("start", "start", [0]),
        ("end", "end", [6]),
        ("padding", "padding", [7]),
    ]
    tokens = ["<s>", "a", "red", "red", "mon", "ster", "</s>", "</s>"]
    t5: list[Entry] = [("red", "word", [0])]
    encodings = [("CLIP", tokens, clip + added), ("T5", ["▁red"], t5)]
    notes = {"red": "it lands on its part in 93 % of 500 pictures"}
    return Caption.build("a “red” red monster", encodings, notes)


def save_first_version(path: Path, **changes) -> None:
    """Write a file as version 1 of the format did: a layer with an extra key and one of words, at two steps."""
    sizes = {"heads": 1, "head_dim": 2, "scale": 0.5}
    description = {
        "layers": [
            {"name": "a", "kind": "self", "grid": [2, 3], "keys": 7, "extra": 1, **sizes},
            {"name": "b", "kind": "cross", "grid": [1, 2], "keys": 4, "extra": 0, **sizes},
        ],
        "timesteps": [[0, 999.0], [2, None]],
        "branches": ["unconditional", "conditional"],
        "skipped": {"c": "no probe knows it"},
        "proved": {"a": 1e-7},
        "verified": 2e-7,
        "proof_steps": {"a": 2},
        "size": [4, 6],
        "recipe": {"caption": "a red monster"},
    }
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for branch in ("unconditional", "conditional"):
        for name, queries, keys in (("a", 6, 7), ("b", 2, 4)):
            for step in (0, 2):
                tensors[f"{branch}/query/{name}/{step}"] = torch.randn(1, queries, 2, generator=generator)
                tensors[f"{branch}/key/{name}/{step}"] = torch.randn(1, keys, 2, generator=generator)
    value, (q, k) = torch.randn(1, 7, 2), (tensors[f"conditional/{part}/a/2"].double() for part in ("query", "key"))
    output = (torch.softmax(q @ k.transpose(-1, -2) * 0.5, -1) @ value.double())[0, [1, 4]].float()
    tensors |= {"proof/queries/a": torch.tensor([1, 4]), "proof/value/a": value, "proof/output/a": output}
    metadata = {"format": "pixelgaze-trace", "version": "1", "trace": json.dumps(description | changes)}
    save_file(tensors, path, metadata)


def tampered(path: Path, change: Callable[[dict, dict], object]) -> None:
    """Rewrite a trace file with its metadata and tensors changed."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    metadata, tensors = header["__metadata__"], load_file(path)
    change(metadata, tensors)
    save_file(tensors, path, metadata)


def described(change: Callable[[dict], object]) -> Callable[[dict, dict], None]:
    """A change of a file's metadata and tensors that changes its description."""

    def edit(metadata, tensors):
        description = json.loads(metadata["trace"])
        change(description)
        metadata["trace"] = json.dumps(description)

    return edit
