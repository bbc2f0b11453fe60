"""The file of a trace: safetensors, with everything that is not a tensor as JSON in its metadata.

    {branch}/query/{layer}/{step}   (H, N, d)      preview/{step}   (h, w, 3) uint8
    {branch}/key/{layer}/{step}     (H, M, d)      picture          (h, w, 3) uint8
    proof/{queries,value,output}/{layer}

`viz/web/core/trace.js` reads the same file in the browser. Nothing a file says is believed before it was checked here.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from viz.trace import Layer, Proof, Trace

FORMAT, VERSION = "pixelgaze-trace", "1"
BRANCHES = (("conditional",), ("unconditional",), ("unconditional", "conditional"))
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DTYPES = dict(zip(FLOATS, ("F16", "BF16", "F32", "F64"), strict=True)) | {torch.int64: "I64", torch.uint8: "U8"}
MAX_LAYERS, MAX_STEPS, MAX_SIDE = 1024, 10_000, 65_536
# Files are mapped into memory, not read. One that is larger than this stays unread until its rows are asked for; that
# its numbers are finite is then checked row by row.
LARGE = 256_000_000


class TraceFileError(ValueError):
    """A file is not a trace that can be trusted; the message says what was expected and what came."""


def write(trace: Trace, path: Path) -> Path:
    """Write `trace` to `path`. A kill in the middle leaves the old file, or none, but no half one."""
    tensors = {f"{branch}/query/{layer}/{step}": q for (branch, layer, step), q in trace.queries.items()}
    tensors |= {f"{branch}/key/{layer}/{step}": k for (branch, layer, step), k in trace.keys.items()}
    for layer, proof in trace.proofs.items():
        tensors |= {f"proof/{part}/{layer}": getattr(proof, part) for part in ("queries", "value", "output")}
    pictures = {f"preview/{step}": preview for step, preview in trace.previews.items()}
    if trace.picture is not None:
        pictures["picture"] = trace.picture
    tensors |= {name: torch.from_numpy(np.array(picture)) for name, picture in pictures.items()}
    metadata = {"format": FORMAT, "version": VERSION, "trace": _json(_describe(trace))}
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as partial:
        try:
            _stream(tensors, partial, metadata)
            partial.flush()
            os.fsync(partial.fileno())
            os.chmod(partial.name, 0o644)
            os.replace(partial.name, path)
        except BaseException:
            os.unlink(partial.name)
            raise
    return path


def _stream(tensors: dict[str, torch.Tensor], file: IO[bytes], metadata: dict[str, str]) -> None:
    """Write a safetensors file a tensor at a time.

    The library's own `save_file` wants all of them contiguous, which recorded ones are not: a copy of the whole trace.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # so that all of them are aligned
    header, at = {"__metadata__": metadata}, 0
    for name in names:
        tensor, start = tensors[name], at
        at += tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, at]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        file.write(tensors[name].contiguous().flatten().view(torch.uint8).numpy())


def _json(said: dict) -> str:
    try:
        return json.dumps(said, allow_nan=False)
    except ValueError as error:
        raise ValueError("a trace with an infinity or a NaN in its recipe or timesteps cannot be saved") from error


def _describe(trace: Trace) -> dict:
    return {
        "layers": [asdict(layer) for layer in trace],
        "timesteps": [[step, timestep] for step, timestep in trace.timesteps.items()],
        "branches": trace.branches,
        "skipped": trace.skipped,
        "proved": trace.proved,
        "verified": _verified(trace),
        "proof_steps": {name: proof.step for name, proof in trace.proofs.items()},
        "size": trace.size,
        "recipe": trace.recipe,
    }


def _verified(trace: Trace) -> float | None:
    """How far what the file holds is verified; None without proofs, or where a number is not finite."""
    errors = list(trace.verify().values())
    return max(errors) if errors and np.isfinite(errors).all() else None


def read(path: Path) -> Trace:
    """Read and check a trace.

    Raises:
        FileNotFoundError: when there is no such file.
        TraceFileError: when it is truncated, foreign, or says one thing and holds another.
    """
    try:
        with safe_open(path, "pt") as file:
            return _Reader(file, path.name, path.stat().st_size > LARGE).trace()
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise TraceFileError(f"{path.name} is not a whole safetensors file ({error}); was it cut short?") from error


class _Reader:
    def __init__(self, file: safe_open, name: str, large: bool) -> None:
        self.file, self.name, self.large, self.left = file, name, large, set(file.keys())

    def fail(self, expected: str, came: object) -> TraceFileError:
        return TraceFileError(
            f"{self.name} is not a trace that can be read: expected {expected}, got {str(came)[:120]}"
        )

    def trace(self) -> Trace:
        metadata = self.file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise self.fail(f"the format {FORMAT!r} in its metadata", repr(metadata.get("format")))
        if metadata.get("version") != VERSION:
            raise self.fail(f"version {VERSION} of the format", repr(metadata.get("version")))
        try:
            said = json.loads(metadata["trace"], parse_constant=self._number, parse_float=self._number)
            trace = self._described(said)
            proof_steps = {str(name): int(step) for name, step in said["proof_steps"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            if isinstance(error, TraceFileError):
                raise
            raise self.fail("a complete description of a trace", f"{type(error).__name__}: {error}") from error
        self._fill(trace, proof_steps)
        if self.left:
            raise self.fail("no further tensors", sorted(self.left)[:3])
        return trace

    def _number(self, text: str) -> float:
        """A finite one: Python reads and writes NaN and Infinity in JSON, browsers refuse them."""
        if not np.isfinite(number := float(text)):
            raise self.fail("finite numbers", text)
        return number

    def _described(self, said: dict) -> Trace:
        layers = {}
        for entry in said["layers"]:
            layer = Layer(**{**entry, "grid": tuple(entry["grid"])})
            counts = (*layer.grid, layer.heads, layer.head_dim, layer.keys)
            if not isinstance(layer.name, str):
                raise self.fail("the name of a layer", layer.name)
            if not all(isinstance(n, int) and 0 < n <= MAX_SIDE for n in counts) or len(layer.grid) != 2:
                raise self.fail("positive sizes of a layer", counts)
            if not isinstance(layer.extra, int) or not 0 <= layer.extra < layer.keys:
                raise self.fail("a number of extra keys", layer.extra)
            pixels = layer.keys - layer.extra
            if layer.kind not in ("self", "cross") or (layer.kind == "self" and pixels != layer.tokens):
                raise self.fail("a self-attention layer with a key for every pixel, or a cross-attention layer", entry)
            if not isinstance(layer.scale, (int, float)) or not np.isfinite(layer.scale):
                raise self.fail("a finite scale", layer.scale)
            layers[layer.name] = layer
        timesteps = {int(step): None if t is None else float(t) for step, t in said["timesteps"]}
        size, branches = tuple(said["size"]), tuple(said["branches"])
        if len(layers) > MAX_LAYERS or len(timesteps) > MAX_STEPS:
            raise self.fail(f"at most {MAX_LAYERS} layers and {MAX_STEPS} steps", (len(layers), len(timesteps)))
        if len(size) != 2 or not all(isinstance(side, int) and 0 < side <= MAX_SIDE for side in size):
            raise self.fail("a height and a width", size)
        if branches not in BRANCHES:
            raise self.fail("the branches of a guided batch", branches)
        if not isinstance(said["recipe"], dict):
            raise self.fail("a recipe", said["recipe"])
        skipped = {str(name): str(reason) for name, reason in said["skipped"].items()}
        proved = {str(name): float(error) for name, error in said["proved"].items()}
        return Trace(layers, timesteps, branches, skipped, proved, size, recipe=said["recipe"])

    def _fill(self, trace: Trace, proof_steps: dict[str, int]) -> None:
        for branch in trace.branches:
            for layer in trace:
                for step in trace.timesteps:
                    where, at = (branch, layer.name, step), f"{layer.name}/{step}"
                    trace.queries[where] = self._floats(
                        f"{branch}/query/{at}", (layer.heads, layer.tokens, layer.head_dim)
                    )
                    trace.keys[where] = self._floats(f"{branch}/key/{at}", (layer.heads, layer.keys, layer.head_dim))
        for name, step in proof_steps.items():
            if name not in trace.layers or step not in trace.timesteps:
                raise self.fail("proofs of recorded layers and steps", (name, step))
            trace.proofs[name] = self._proof(trace.layers[name], step)
        for step in trace.timesteps:
            if f"preview/{step}" in self.left:
                trace.previews[step] = self._picture(f"preview/{step}")
        if "picture" in self.left:
            trace.picture = self._picture("picture")

    def _take(self, name: str) -> torch.Tensor:
        if name not in self.left:
            raise self.fail(f"a tensor {name!r}", "none")
        self.left.remove(name)
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
        inside = queries.ndim == 1 and queries.dtype == torch.int64 and len(queries)
        if not inside or queries.min() < 0 or queries.max() >= layer.tokens:
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
