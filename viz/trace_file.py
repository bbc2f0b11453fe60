"""The file of a trace: safetensors, with everything that is not a tensor as JSON in its metadata.

    {branch}/query/{layer}/{step}   (H, N, d)      preview/{step}   (h, w, 3) uint8
    {branch}/key/{layer}/{step}     (H, M, d)      picture          (h, w, 3) uint8
    proof/{queries,value,output}/{layer}

`viz/web/core/trace.js` reads the same file in the browser. Nothing in a file is trusted before it is checked here.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypedDict, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from viz.layer import Branch, Key, Kind, Layer, Proof

FORMAT, VERSION = "pixelgaze-trace", "1"
BRANCHES: tuple[tuple[Branch, ...], ...] = (
    ("conditional",),
    ("unconditional",),
    ("unconditional", "conditional"),
)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DTYPES = dict(zip(FLOATS, ("F16", "BF16", "F32", "F64"), strict=True)) | {torch.int64: "I64", torch.uint8: "U8"}
MAX_LAYERS, MAX_STEPS, MAX_SIDE = 1024, 10_000, 65_536
# Bytes. Files are mapped into memory, not read. The numbers of a larger file are not read when it is opened, so its
# rows are checked for infinities and NaNs when they are computed.
LARGE = 256_000_000


class TraceFileError(ValueError):
    """A file is not a valid trace; the message says what was expected and what was found."""


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


def write(contents: Contents, path: Path, *, differences: dict[str, float]) -> Path:
    """Write a trace to `path`. If interrupted, the file there stays as it was.

    Args:
        differences: of `Trace.verify`; the largest is written into the description.

    Raises:
        ValueError: for an infinity or a NaN in the recipe or the timesteps, which no browser could read.
    """
    metadata = {"format": FORMAT, "version": VERSION, "trace": _json(_describe(contents, differences))}
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as partial:
        try:
            _stream(_tensors(contents), partial, metadata)
            partial.flush()
            os.fsync(partial.fileno())
            os.chmod(partial.name, 0o644)
            os.replace(partial.name, path)
        except BaseException:
            os.unlink(partial.name)
            raise
    return path


def _tensors(contents: Contents) -> dict[str, torch.Tensor]:
    tensors = {f"{branch}/query/{layer}/{step}": q for (branch, layer, step), q in contents["queries"].items()}
    tensors |= {f"{branch}/key/{layer}/{step}": k for (branch, layer, step), k in contents["keys"].items()}
    for layer, proof in contents["proofs"].items():
        tensors |= {f"proof/{part}/{layer}": getattr(proof, part) for part in ("queries", "value", "output")}
    pictures = {f"preview/{step}": preview for step, preview in contents["previews"].items()}
    if contents["picture"] is not None:
        pictures["picture"] = contents["picture"]
    return tensors | {name: torch.from_numpy(np.array(picture)) for name, picture in pictures.items()}


def _stream(tensors: dict[str, torch.Tensor], file: IO[bytes], metadata: dict[str, str]) -> None:
    """Write a safetensors file one tensor at a time.

    The library's `save_file` needs all tensors contiguous, which recorded ones are not: it would copy the whole trace.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # aligns every tensor
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in names:
        tensor, start = tensors[name], end
        end += tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        file.write(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)


def _json(description: dict) -> str:
    try:
        return json.dumps(description, allow_nan=False)
    except ValueError as error:
        raise ValueError("a trace with an infinity or a NaN in its recipe or timesteps cannot be saved") from error


def _describe(contents: Contents, differences: dict[str, float]) -> dict:
    """The description as JSON holds it. "verified" is None without proofs, or if a difference is not finite."""
    errors = list(differences.values())
    return {
        "layers": [asdict(layer) for layer in contents["layers"].values()],
        "timesteps": [[step, timestep] for step, timestep in contents["timesteps"].items()],
        "branches": contents["branches"],
        "skipped": contents["skipped"],
        "proved": contents["proved"],
        "verified": max(errors) if errors and np.isfinite(errors).all() else None,
        "proof_steps": {name: proof.step for name, proof in contents["proofs"].items()},
        "size": contents["size"],
        "recipe": contents["recipe"],
    }


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
        raise TraceFileError(f"{path.name} is not a whole safetensors file ({error}); was it cut short?") from error


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
        if metadata.get("version") != VERSION:
            raise self.fail(f"version {VERSION} of the format", repr(metadata.get("version")))
        try:
            description = json.loads(metadata["trace"], parse_constant=self._number, parse_float=self._number)
            contents = self._described(description)
            proof_steps = {str(name): int(step) for name, step in description["proof_steps"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            if isinstance(error, TraceFileError):
                raise
            raise self.fail("a complete description of a trace", f"{type(error).__name__}: {error}") from error
        self._fill(contents, proof_steps)
        if self.unread:
            raise self.fail("no further tensors", sorted(self.unread)[:3])
        return contents

    def _number(self, text: str) -> float:
        """A finite number. Python reads and writes NaN and Infinity in JSON; browsers refuse them."""
        if not math.isfinite(number := float(text)):
            raise self.fail("finite numbers", text)
        return number

    def _described(self, description: dict) -> Contents:
        """The contents without their tensors."""
        layers = [self._layer(entry) for entry in description["layers"]]
        timesteps = {int(step): None if t is None else float(t) for step, t in description["timesteps"]}
        size, branches = tuple(description["size"]), tuple(description["branches"])
        if len(layers) > MAX_LAYERS or len(timesteps) > MAX_STEPS:
            raise self.fail(f"at most {MAX_LAYERS} layers and {MAX_STEPS} steps", (len(layers), len(timesteps)))
        if len(size) != 2 or not _are_sizes(size):
            raise self.fail("a height and a width", size)
        if branches not in BRANCHES:
            raise self.fail("the branches of a guided batch", branches)
        if not isinstance(description["recipe"], dict):
            raise self.fail("a recipe", description["recipe"])
        return {
            "layers": {layer.name: layer for layer in layers},
            "timesteps": timesteps,
            "branches": branches,
            "skipped": {str(name): str(reason) for name, reason in description["skipped"].items()},
            "proved": {str(name): float(error) for name, error in description["proved"].items()},
            "size": size,
            "previews": {},
            "picture": None,
            "recipe": description["recipe"],
            "queries": {},
            "keys": {},
            "proofs": {},
        }

    def _layer(self, entry: dict) -> Layer:
        layer = Layer(**{**entry, "grid": tuple(entry["grid"])})
        sizes = (*layer.grid, layer.heads, layer.head_dim, layer.keys)
        if not isinstance(layer.name, str):
            raise self.fail("the name of a layer", layer.name)
        if not _are_sizes(sizes) or len(layer.grid) != 2:
            raise self.fail("positive sizes of a layer", sizes)
        if not isinstance(layer.extra, int) or not 0 <= layer.extra < layer.keys:
            raise self.fail("a number of extra keys", layer.extra)
        if layer.kind not in get_args(Kind) or (layer.kind == "self" and layer.keys - layer.extra != layer.tokens):
            raise self.fail("a self-attention layer with a key for every pixel, or a cross-attention layer", entry)
        if not isinstance(layer.scale, (int, float)) or not math.isfinite(layer.scale):
            raise self.fail("a finite scale", layer.scale)
        return layer

    def _fill(self, contents: Contents, proof_steps: dict[str, int]) -> None:
        """Add the tensors."""
        layers, steps = contents["layers"], contents["timesteps"]
        for branch in contents["branches"]:
            for layer in layers.values():
                for step in steps:
                    key, place = (branch, layer.name, step), f"{layer.name}/{step}"
                    shape = layer.heads, layer.tokens, layer.head_dim
                    contents["queries"][key] = self._floats(f"{branch}/query/{place}", shape)
                    shape = layer.heads, layer.keys, layer.head_dim
                    contents["keys"][key] = self._floats(f"{branch}/key/{place}", shape)
        for name, step in proof_steps.items():
            if name not in layers or step not in steps:
                raise self.fail("proofs of recorded layers and steps", (name, step))
            contents["proofs"][name] = self._proof(layers[name], step)
        for step in steps:
            if f"preview/{step}" in self.unread:
                contents["previews"][step] = self._picture(f"preview/{step}")
        if "picture" in self.unread:
            contents["picture"] = self._picture("picture")

    def _take(self, name: str) -> torch.Tensor:
        if name not in self.unread:
            raise self.fail(f"a tensor {name!r}", "none")
        self.unread.remove(name)
        return self.file.get_tensor(name)

    def _floats(self, name: str, shape: tuple[int | None, ...]) -> torch.Tensor:
        """A tensor of that shape, where None stands for any size."""
        tensor = self._take(name)
        fits = len(shape) == tensor.ndim and all(n in (None, m) for n, m in zip(shape, tensor.shape, strict=True))
        if not fits or tensor.dtype not in FLOATS:
            raise self.fail(f"{name!r} to be floats of shape {shape}", f"{tensor.dtype} {tuple(tensor.shape)}")
        if not self.large and not tensor.isfinite().all():
            raise self.fail(f"{name!r} to be finite", "an infinity or a NaN")
        return tensor

    def _proof(self, layer: Layer, step: int) -> Proof:
        queries = self._take(f"proof/queries/{layer.name}")
        are_indices = queries.ndim == 1 and queries.dtype == torch.int64 and len(queries)
        if not are_indices or queries.min() < 0 or queries.max() >= layer.tokens:
            raise self.fail(f"a proof of {layer.name} for pixels of its grid", queries.shape)
        value = self._floats(f"proof/value/{layer.name}", (layer.heads, layer.keys, None))
        width = value.shape[-1]
        output = self._floats(f"proof/output/{layer.name}", (len(queries), None))
        if output.shape[-1] not in (width, layer.heads * width):
            raise self.fail(f"a proof of {layer.name} with heads side by side or added up", tuple(output.shape))
        return Proof(step, queries, value, output)

    def _picture(self, name: str) -> np.ndarray:
        tensor = self._take(name)
        if tensor.dtype != torch.uint8 or tensor.ndim != 3 or tensor.shape[-1] != 3 or not tensor.numel():
            raise self.fail(f"{name!r} to be an RGB picture", f"{tensor.dtype} {tuple(tensor.shape)}")
        return tensor.numpy()


def _are_sizes(numbers: Iterable[object]) -> bool:
    return all(isinstance(n, int) and 0 < n <= MAX_SIDE for n in numbers)
