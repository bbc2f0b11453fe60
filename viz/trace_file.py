"""The file of a trace: safetensors, with everything that is not a tensor as JSON in its metadata.

    {branch}/query/{layer}/{step}   (H, n, d)      preview/{step}   (h, w, 3) uint8
    {branch}/key/{layer}/{step}     (H, M, d)      picture          (h, w, 3) uint8
    proof/{queries,value,output}/{layer}

Of layers in the description's "kept_queries", only these queries are there. In a compact file, the queries of
cross-attention are packed (uint8, see `viz.compact`), and keys that are the same as at the step before are left out.
The tensors lie in the order in which a page needs them (`viz.trace_order`), or in which a run made them
(`viz.recording.spool`); no reader relies on it.

`viz.trace_description` describes the JSON. This is version 2 of the format. Files of version 1, whose layers kept only
the queries of their pixels, still open. `viz/web/core/trace.js` reads both in the browser. Nothing in a file is trusted
before it is checked here.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Protocol, TypedDict, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from viz.checkpoint import checkpoint
from viz.compact import pack, unpack
from viz.layer import Branch, Key, Layer, Proof
from viz.trace_description import VERSION, VERSIONS, DescriptionError, describe, parse
from viz.trace_order import First, aligned, default_first, names_in_order
from viz.words import Caption

FORMAT = "pixelgaze-trace"
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DTYPES = dict(zip(FLOATS, ("F16", "BF16", "F32", "F64"), strict=True)) | {torch.int64: "I64", torch.uint8: "U8"}
# Bytes. Files are mapped into memory, not read. The numbers of a larger file are not read when it is opened, so its
# rows are checked for infinities and NaNs when they are computed.
LARGE = 256_000_000


class TraceFileError(ValueError):
    """A file is not a valid trace; the message says what was expected and what was found."""


class Stored(Protocol):
    """What a header says of a tensor."""

    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def shape(self) -> torch.Size: ...
    @property
    def nbytes(self) -> int: ...


class Contents(TypedDict):
    """What a file holds: the arguments of `viz.trace.Trace`, which describes them."""

    layers: dict[str, Layer]
    timesteps: dict[int, float | None]
    branches: tuple[Branch, ...]
    skipped: dict[str, str]
    proved: dict[str, float]
    size: tuple[int, int]
    previews: dict[int, np.ndarray]
    picture: np.ndarray | None
    recipe: dict
    queries: MutableMapping[Key, torch.Tensor]
    keys: MutableMapping[Key, torch.Tensor]
    proofs: dict[str, Proof]
    calls: dict[int, tuple[int, int]]
    gaps: dict[str, dict[int, str]]
    proved_rows: dict[str, int]
    words: dict[Branch, Caption]
    kept_queries: dict[str, tuple[int, ...]]


def write(
    contents: Contents,
    path: Path,
    *,
    differences: dict[str, float],
    compact: Collection[str] = (),
    first: First | None = None,
) -> Path:
    """Write a trace to `path`. If interrupted, the file there stays as it was.

    Args:
        first: layer and step of the map that a page shows first; by default what a viewer opens with.
        compact: names of the layers to write in the compact form.
        differences: of `Trace.verify`; the largest is written into the description.

    Raises:
        ValueError: for an infinity or a NaN in the recipe or the timesteps, which no browser could read.
    """
    metadata = metadata_of(contents, differences)
    layers, steps = contents["layers"], contents["timesteps"]
    kept_at = _repeated(contents, compact)
    order = names_in_order(layers, steps, contents["branches"], first or default_first(layers, steps), kept_at)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as partial:
        try:
            _stream(_tensors(contents, compact, kept_at), order, partial, metadata)
            partial.flush()
            os.fsync(partial.fileno())
            os.chmod(partial.name, 0o644)
            os.replace(partial.name, path)
        except BaseException:
            os.unlink(partial.name)
            raise
    return path


def metadata_of(contents: Contents, differences: dict[str, float]) -> dict[str, str]:
    """The metadata of a trace's file; `differences` as for `write`."""
    return {"format": FORMAT, "version": VERSION, "trace": describe(contents, differences)}


def name_of(part: str, key: Key) -> str:
    """The name of a tensor of Q ("query") or K ("key")."""
    branch, layer, step = key
    return f"{branch}/{part}/{layer}/{step}"


def _tensors(contents: Contents, compact: Collection[str], repeated: Collection[Key]) -> dict[str, torch.Tensor]:
    tensors = {name_of("query", key): pack(q) if key[1] in compact else q for key, q in contents["queries"].items()}
    tensors |= {name_of("key", key): k for key, k in contents["keys"].items() if key not in repeated}
    others = other_tensors(contents)
    expected = 2 * len(contents["queries"]) - len(repeated) + len(others)
    if len(tensors := tensors | others) < expected:
        raise ValueError("two tensors would have one name; give the branches and layers names without “/”")
    return tensors


def other_tensors(contents: Contents) -> dict[str, torch.Tensor]:
    """All tensors of a file but Q and K, by name: the proofs and the pictures."""
    tensors: dict[str, torch.Tensor] = {}
    for layer, proof in contents["proofs"].items():
        tensors |= {f"proof/{part}/{layer}": getattr(proof, part) for part in ("queries", "value", "output")}
    pictures = {f"preview/{step}": preview for step, preview in contents["previews"].items()}
    if contents["picture"] is not None:
        pictures["picture"] = contents["picture"]
    return tensors | {name: torch.from_numpy(np.array(picture)) for name, picture in pictures.items()}


def _repeated(contents: Contents, compact: Collection[str]) -> dict[Key, int]:
    """The keys of compact layers that are the same as at the layer's step before, and the step they are kept at."""
    repeated: dict[Key, int] = {}
    for branch in contents["branches"]:
        for layer in compact:
            steps = [step for step in contents["timesteps"] if (branch, layer, step) in contents["keys"]]
            for before, step in pairwise(steps):
                one, other = (contents["keys"][branch, layer, each] for each in (before, step))
                if torch.equal(one, other):
                    repeated[branch, layer, step] = repeated.get((branch, layer, before), before)
    return repeated


def _stream(tensors: dict[str, torch.Tensor], order: Iterable[str], file: IO[bytes], metadata: dict[str, str]) -> None:
    """Write a safetensors file one tensor at a time, in that order as far as every tensor can be aligned.

    The library's `save_file` needs all tensors contiguous, which recorded ones are not: it would copy the whole trace.
    """
    names = list(aligned(tensors, order))
    file.write(header({name: tensors[name] for name in names}, metadata))
    for name in names:
        checkpoint()
        file.write(bytes_of(tensors[name]))


def header(tensors: Mapping[str, Stored], metadata: dict[str, str], room: int = 8) -> bytes:
    """What a safetensors file begins with, whose tensors lie one after another in the order given.

    Args:
        room: the header is filled up with spaces to a multiple of so many bytes, which is itself a multiple of 8.
    """
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        entries[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-(8 + len(text)) % room)
    return len(text).to_bytes(8, "little") + text


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor's numbers in a file."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data


def read(path: Path) -> Contents:
    """Read and check the file of a trace.

    Raises:
        FileNotFoundError: if there is no such file.
        TraceFileError: if it is truncated or foreign, or its tensors do not fit its description.
    """
    try:
        with safe_open(path, "pt") as file:
            return _Reader(file, path.name, path.stat().st_size > LARGE).contents()
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise TraceFileError(
            f"{path.name} isn't a complete .safetensors file ({error}); was its download interrupted?"
        ) from error


class _Reader:
    """Checks one open file. `unread` holds the names of the tensors not read yet."""

    def __init__(self, file: safe_open, name: str, large: bool) -> None:
        self.file, self.name, self.large, self.unread = file, name, large, set(file.keys())

    def fail(self, expected: str, got: object) -> TraceFileError:
        return TraceFileError(f"{self.name} is not a readable trace: expected {expected}, got {str(got)[:120]}")

    def contents(self) -> Contents:
        metadata = self.file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise self.fail(f"the format {FORMAT!r} in its metadata", repr(metadata.get("format")))
        if metadata.get("version") not in VERSIONS:
            raise self.fail(f"version {' or '.join(VERSIONS)} of the format", repr(metadata.get("version")))
        try:
            description = parse(metadata.get("trace", ""), metadata["version"])
        except DescriptionError as error:
            raise TraceFileError(f"{self.name} is not a readable trace: {error}") from error
        empty: dict[str, Any] = {"previews": {}, "picture": None, "queries": {}, "keys": {}, "proofs": {}}
        contents = cast(Contents, description._asdict() | empty)
        self._fill(contents, description.proofs)
        if self.unread:
            raise self.fail("no further tensors", sorted(self.unread)[:3])
        return contents

    def _fill(self, contents: Contents, proofs: dict[str, tuple[Branch, int]]) -> None:
        """Add the tensors."""
        layers, steps, gaps = contents["layers"], contents["timesteps"], contents["gaps"]
        for branch in contents["branches"]:
            for layer in layers.values():
                keys = None  # of the step before
                for step in (step for step in steps if step not in gaps.get(layer.name, {})):
                    key, place = (branch, layer.name, step), f"{layer.name}/{step}"
                    count = len(contents["kept_queries"].get(layer.name, ())) or layer.query_count
                    contents["queries"][key] = self._queries(f"{branch}/query/{place}", layer, count)
                    shape = layer.heads, layer.key_count, layer.head_dim
                    if layer.kind == "self" or keys is None or f"{branch}/key/{place}" in self.unread:
                        keys = self._floats(f"{branch}/key/{place}", shape)
                    contents["keys"][key] = keys
        for name, (branch, step) in proofs.items():
            kept = contents["kept_queries"].get(name)
            contents["proofs"][name] = self._proof(layers[name], branch, step, kept)
        for step in steps:
            if f"preview/{step}" in self.unread:
                contents["previews"][step] = self._picture(f"preview/{step}")
        if "picture" in self.unread:
            contents["picture"] = self._picture("picture")

    def _take(self, name: str) -> torch.Tensor:
        if name not in self.unread:
            raise self.fail(f"a tensor {name!r}", "none")
        self.unread.remove(name)
        checkpoint()
        return self.file.get_tensor(name)

    def _queries(self, name: str, layer: Layer, count: int) -> torch.Tensor:
        """Q of a layer at one step, `count` vectors a head, which may be packed."""
        shape = layer.heads, count, layer.head_dim
        if layer.kind == "self" or name not in self.unread or self.file.get_slice(name).get_dtype() != "U8":
            return self._floats(name, shape)
        tensor = self._take(name)
        if tensor.ndim != 2 or len(tensor) != layer.heads:
            raise self.fail(f"{name!r} to be packed queries of {layer.heads} heads", tuple(tensor.shape))
        try:
            return unpack(tensor, count, layer.head_dim)
        except ValueError as error:
            raise TraceFileError(f"{self.name} is not a readable trace: {name!r}: {error}") from error

    def _floats(self, name: str, shape: tuple[int | None, ...]) -> torch.Tensor:
        """A tensor of that shape, where None stands for any size."""
        tensor = self._take(name)
        fits = len(shape) == tensor.ndim and all(n in (None, m) for n, m in zip(shape, tensor.shape, strict=True))
        if not fits or tensor.dtype not in FLOATS:
            raise self.fail(f"{name!r} to be floats of shape {shape}", f"{tensor.dtype} {tuple(tensor.shape)}")
        if not self.large and not tensor.isfinite().all():
            raise self.fail(f"{name!r} to be finite", "an infinity or a NaN")
        return tensor

    def _proof(self, layer: Layer, branch: Branch, step: int, kept: Collection[int] | None) -> Proof:
        queries = self._take(f"proof/queries/{layer.name}")
        are_indices = queries.ndim == 1 and queries.dtype == torch.int64
        if (
            not are_indices
            or not 0 < len(queries) <= layer.query_count
            or queries.min() < 0
            or queries.max() >= layer.query_count
        ):
            raise self.fail(f"a proof of {layer.name} for some of its queries", queries.shape)
        if kept is not None and not set(queries.tolist()) <= set(kept):
            raise self.fail(f"a proof of {layer.name} for queries that are kept", queries.tolist())
        value = self._floats(f"proof/value/{layer.name}", (layer.heads, layer.key_count, None))
        width = value.shape[-1]
        output = self._floats(f"proof/output/{layer.name}", (len(queries), None))
        if output.shape[-1] not in (width, layer.heads * width):
            raise self.fail(f"a proof of {layer.name} with heads side by side or added up", tuple(output.shape))
        return Proof(branch, step, queries, value, output)

    def _picture(self, name: str) -> np.ndarray:
        tensor = self._take(name)
        if tensor.dtype != torch.uint8 or tensor.ndim != 3 or tensor.shape[-1] != 3 or not tensor.numel():
            raise self.fail(f"{name!r} to be an RGB picture", f"{tensor.dtype} {tuple(tensor.shape)}")
        return tensor.numpy()
