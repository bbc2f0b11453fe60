"""The description in a trace's file: everything that is not a tensor, as JSON holds it, in both versions of the format.

Version 2 describes queries and keys by their segments, and knows gaps, calls, how many rows were proved and, in the
optional field "words", the captions: {branch: {"text", "encodings": [{"encoder", "tokens": [text, …], "words": [[text,
kind, [indices of its tokens]], …]}, …], "notes": {text of a word: sentence}}}. Its optional field "kept_queries" is
{layer: [rising indices among all its queries]} of layers whose other queries are not in the file.
Version 1 knew only a grid, a number of extra keys that came first, and the kind of a layer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple, get_args

import numpy as np

from viz.layer import Branch, Layer, Segment, SegmentKind
from viz.words import Caption, caption_from_json, caption_to_json

VERSION, VERSIONS = "2", ("1", "2")
# The branches that a file of version 1 may have.
FIRST_BRANCHES: tuple[tuple[Branch, ...], ...] = (
    ("conditional",),
    ("unconditional",),
    ("unconditional", "conditional"),
)
MAX_LAYERS, MAX_STEPS, MAX_SIDE, MAX_TOKENS = 1024, 10_000, 65_536, 2**24
MAX_SEGMENTS, MAX_BRANCHES, MAX_BRANCH = 16, 16, 100
MAX_ROWS = 2**53 - 1  # the largest whole number that a browser reads exactly


class DescriptionError(ValueError):
    """A description is not valid; the message says what was expected and what was found."""

    def __init__(self, expected: str, got: object) -> None:
        super().__init__(f"expected {expected}, got {str(got)[:120]}")


class Description(NamedTuple):
    """What a file says about its trace; the fields are those of `viz.trace.Trace`."""

    layers: dict[str, Layer]
    timesteps: dict[int, float | None]
    branches: tuple[Branch, ...]
    skipped: dict[str, str]
    proved: dict[str, float]
    size: tuple[int, int]
    recipe: dict
    calls: dict[int, tuple[int, int]]
    gaps: dict[str, dict[int, str]]
    proved_rows: dict[str, int]
    proofs: dict[str, tuple[Branch, int]]  # {layer: the branch and the step of its proof}
    words: dict[Branch, Caption]
    kept_queries: dict[str, tuple[int, ...]]


def describe(contents: Mapping[str, Any], differences: Mapping[str, float]) -> str:
    """The description of a trace's fields, as JSON of the latest version.

    Args:
        differences: of `Trace.verify`. "verified", their largest, is None without any, or if one is not finite.

    Raises:
        ValueError: for an infinity or a NaN, which no browser could read.
    """
    errors, proofs = list(differences.values()), contents["proofs"]
    description = {
        "layers": [asdict(layer) for layer in contents["layers"].values()],
        "timesteps": [[step, timestep] for step, timestep in contents["timesteps"].items()],
        "calls": [[step, *call] for step, call in contents["calls"].items()],
        "branches": contents["branches"],
        "gaps": {name: [[step, reason] for step, reason in gaps.items()] for name, gaps in contents["gaps"].items()},
        "skipped": contents["skipped"],
        "proved": contents["proved"],
        "proved_rows": contents["proved_rows"],
        "verified": max(errors) if errors and np.isfinite(errors).all() else None,
        "proofs": {name: [proof.branch, proof.step] for name, proof in proofs.items()},
        "size": contents["size"],
        "recipe": contents["recipe"],
    }
    if contents["words"]:
        description["words"] = {branch: caption_to_json(caption) for branch, caption in contents["words"].items()}
    if contents["kept_queries"]:
        description["kept_queries"] = contents["kept_queries"]
    try:
        return json.dumps(description, allow_nan=False)
    except ValueError as error:
        raise ValueError("a trace with an infinity or a NaN in its recipe or timesteps cannot be saved") from error


def parse(text: str, version: str) -> Description:
    """Read and check a description of one of `VERSIONS`.

    Raises:
        DescriptionError: if it is incomplete or contradicts itself.
    """
    try:
        values = json.loads(text, parse_constant=_number, parse_float=_number)
        return _parse_first(values) if version == "1" else _parse_second(values)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, DescriptionError):
            raise
        raise DescriptionError("a complete description of a trace", f"{type(error).__name__}: {error}") from error


def _parse_first(values: dict) -> Description:
    layers = _layers(_first_layer(entry) for entry in values["layers"])
    timesteps, branches = _timesteps(values["timesteps"]), tuple(values["branches"])
    if branches not in FIRST_BRANCHES:
        raise DescriptionError("the branches of a guided batch", branches)
    proofs = {str(name): (branches[-1], int(step)) for name, step in values["proof_steps"].items()}
    return _checked(Description(layers, timesteps, branches, *_shared(values), {}, {}, {}, proofs, {}, {}))


def _parse_second(values: dict) -> Description:
    layers = _layers(_layer(entry) for entry in values["layers"])
    timesteps, branches = _timesteps(values["timesteps"]), _branches(values["branches"])
    calls = {step: _call(*call) for step, *call in values["calls"]}
    gaps = {name: dict(_gap(*gap) for gap in entries) for name, entries in values["gaps"].items()}
    if any(len(gaps[name]) != len(entries) for name, entries in values["gaps"].items()):
        raise DescriptionError("each gap once", values["gaps"])
    rows = {name: _whole(n, "a number of proved rows", 0, MAX_ROWS) for name, n in values["proved_rows"].items()}
    proofs = {str(name): (branch, int(step)) for name, (branch, step) in values["proofs"].items()}
    words = {branch: caption_from_json(caption) for branch, caption in values.get("words", {}).items()}
    kept = {name: _kept(layers, name, queries) for name, queries in values.get("kept_queries", {}).items()}
    shared = _shared(values)
    return _checked(Description(layers, timesteps, branches, *shared, calls, gaps, rows, proofs, words, kept))


def _shared(values: dict) -> tuple[dict[str, str], dict[str, float], tuple[int, int], dict]:
    """The fields that both versions write alike: skipped, proved, size, recipe."""
    size = tuple(values["size"])
    if len(size) != 2 or not _are_sizes(size):
        raise DescriptionError("a height and a width", size)
    if not isinstance(values["recipe"], dict):
        raise DescriptionError("a recipe", values["recipe"])
    skipped = {str(name): str(reason) for name, reason in values["skipped"].items()}
    proved = {str(name): float(error) for name, error in values["proved"].items()}
    return skipped, proved, size, values["recipe"]


def _checked(description: Description) -> Description:
    """Check that the fields fit together."""
    layers, steps, gaps = description.layers, description.timesteps, description.gaps
    if not set(description.calls) <= set(steps):
        raise DescriptionError("calls of recorded steps", description.calls)
    for name, reasons in gaps.items():
        if name not in layers or not reasons or not set(reasons) <= set(steps):
            raise DescriptionError("gaps of recorded layers and steps", (name, reasons))
        if len(reasons) == len(steps):
            raise DescriptionError("at least one step of every layer", name)
    for name, (branch, step) in description.proofs.items():
        if name not in layers or step not in steps or step in gaps.get(name, {}) or branch not in description.branches:
            raise DescriptionError("proofs of recorded layers and steps", (name, branch, step))
    if not set(description.proved_rows) <= set(layers):
        raise DescriptionError("proved rows of recorded layers", set(description.proved_rows) - set(layers))
    if not set(description.words) <= set(description.branches):
        raise DescriptionError("captions of recorded branches", set(description.words) - set(description.branches))
    return description


def _layers(layers: Iterable[Layer]) -> dict[str, Layer]:
    entries = list(layers)
    named = {layer.name: layer for layer in entries}
    if len(entries) > MAX_LAYERS or len(named) < len(entries):
        raise DescriptionError(f"at most {MAX_LAYERS} layers of different names", len(entries))
    return named


def _layer(entry: dict) -> Layer:
    segments = {side: tuple(_segment(segment) for segment in entry[side]) for side in ("queries", "keys")}
    if not all(0 < len(each) <= MAX_SEGMENTS for each in segments.values()):
        raise DescriptionError(f"1 to {MAX_SEGMENTS} segments of queries and of keys", entry)
    return _checked_layer(Layer(**{**entry, **segments}))


def _segment(entry: dict) -> Segment:
    grid, kind = entry["grid"], entry["kind"]
    if kind not in get_args(SegmentKind):
        raise DescriptionError("a known kind of segment", kind)
    if grid is not None and (not isinstance(grid, list) or len(grid) != 2 or not _are_sizes(grid)):
        raise DescriptionError("positive sizes of a grid", grid)
    _whole(entry["tokens"], "positive sizes of a segment", 1, MAX_TOKENS)
    return Segment(**{**entry, "grid": None if grid is None else (grid[0], grid[1])})


def _first_layer(entry: dict) -> Layer:
    """A layer of version 1, where `extra` keys come before those of the pixels."""
    fields = {"extra": 0, **entry}
    height, width = fields.pop("grid")
    kind, keys, extra = (fields.pop(name) for name in ("kind", "keys", "extra"))
    if not _are_sizes((height, width, keys)):
        raise DescriptionError("positive sizes of a layer", (height, width, keys))
    _whole(extra, "a number of extra keys", 0, keys - 1)
    pixels = Segment("pixels", height * width, (height, width))
    if kind == "self" and keys - extra == pixels.tokens:
        registers = (Segment("registers", extra),) if extra else ()
        return _checked_layer(Layer(queries=(pixels,), keys=(*registers, pixels), **fields))
    if kind == "cross":
        return _checked_layer(Layer(queries=(pixels,), keys=(Segment("words", keys),), **fields))
    raise DescriptionError("a self-attention layer with a key for every pixel, or a cross-attention layer", entry)


def _checked_layer(layer: Layer) -> Layer:
    if not isinstance(layer.name, str):
        raise DescriptionError("the name of a layer", layer.name)
    if not _are_sizes((layer.heads, layer.head_dim)):
        raise DescriptionError("positive sizes of a layer", (layer.heads, layer.head_dim))
    if not isinstance(layer.scale, (int, float)) or not math.isfinite(layer.scale):
        raise DescriptionError("a finite scale", layer.scale)
    return layer


def _timesteps(entries: list) -> dict[int, float | None]:
    timesteps = {int(step): None if t is None else float(t) for step, t in entries}
    if len(timesteps) > MAX_STEPS or len(timesteps) < len(entries):
        raise DescriptionError(f"at most {MAX_STEPS} steps, each once", len(entries))
    return timesteps


def _branches(names: list) -> tuple[Branch, ...]:
    are_names = all(isinstance(name, str) and 0 < len(name) <= MAX_BRANCH for name in names)
    if not are_names or not 0 < len(names) <= MAX_BRANCHES or len(set(names)) < len(names):
        raise DescriptionError(f"1 to {MAX_BRANCHES} different names of branches", names)
    return tuple(names)


def _call(index: object, count: object) -> tuple[int, int]:
    total = _whole(count, "calls at one timestep", 2, MAX_STEPS)
    return _whole(index, f"a call of {total}", 1, total), total


def _gap(step: object, reason: object) -> tuple[int, str]:
    if not isinstance(reason, str) or not reason:
        raise DescriptionError("the reason of a gap", reason)
    return _whole(step, "the step of a gap", 0, 2**31), reason


def _kept(layers: dict[str, Layer], name: str, queries: object) -> tuple[int, ...]:
    """The queries of a layer that a file has, where it has not all of them."""
    if name not in layers or not isinstance(queries, list):
        raise DescriptionError("the kept queries of recorded layers", (name, queries))
    count = layers[name].query_count
    indices = tuple(_whole(query, f"kept queries of {count}", 0, count - 1) for query in queries)
    if not indices or list(indices) != sorted(set(indices)):
        raise DescriptionError("kept queries in order, each once", (name, indices))
    return indices


def _whole(number: object, what: str, least: int, most: int) -> int:
    if type(number) is not int or not least <= number <= most:  # True and False are instances of int
        raise DescriptionError(what, number)
    return number


def _are_sizes(numbers: Iterable[object]) -> bool:
    return all(type(n) is int and 0 < n <= MAX_SIDE for n in numbers)


def _number(text: str) -> float:
    """A finite number. Python reads and writes NaN and Infinity in JSON; browsers refuse them."""
    if not math.isfinite(number := float(text)):
        raise DescriptionError("finite numbers", text)
    return number
