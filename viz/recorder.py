"""Record what the attention of a network does, while it runs, by watching it.

    with record(pipeline.unet) as trace:
        image = pipeline("a green monster with two yellow eyes").images[0]
    trace.rows("mid_block.attentions.0.transformer_blocks.0.attn1", step=12, query=(3, 5))

Forward hooks go in on enter and out on exit, an exception included. No processor is swapped and no forward copied: the
fused kernel still runs, and the picture is bit-identical with and without recording.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import nn

from viz.probes import Site, find_sites
from viz.shelf import Shelf, Shelved, require_fit
from viz.trace import Layer, Proof, Trace

Preview = Callable[[torch.Tensor, torch.Tensor | float | None, torch.Tensor], torch.Tensor]

# What denoisers call the argument that says how noisy their input is.
TIMESTEP_NAMES = ("timestep", "timesteps", "t", "time", "time_step", "noise_level", "noise_labels", "sigma", "sigmas")

# How far softmax(QKᵀ)·V may be from the module's own output, relative to its largest entry, before it counts as
# something else. Rounding alone stays a few times below each of these.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
PROOF_QUERIES = 64


@contextmanager
def record(
    network: nn.Module,
    *,
    layers: str | Collection[str] | Callable[[str], bool] | None = None,
    steps: Collection[int] | Callable[[int], bool] | None = None,
    branch: str = "conditional",
    picture: int = 0,
    dtype: torch.dtype | None = None,
    preview: Preview | None = None,
) -> Iterator[Trace]:
    """Watch every attention module of `network` that a probe knows; yields the trace that fills while it runs.

    Args:
        network: any module, called once a step.
        layers: a name, names, or a function of a name; by default all.
        steps: indices of the network's calls, or a function of one; by default all.
        branch: "conditional", "unconditional" or "both" halves of a guided batch. A batch counts as guided when its two
            halves are the same sample; one that is not is recorded as conditional.
        picture: which picture of the batch.
        dtype: the precision to keep Q and K in; by default the network's own.
        preview: `f(sample, timestep, output)`, (B, C, h, w) each, that gives the expected clean pictures
            (B, 3, h, w) in [-1, 1]; see `viz.runs.previewer`.

    Raises:
        ValueError: when the network has no attention that a probe knows, a filter matches no layer, `branch` asks for
            a half that the batch does not have, or, in the end, no recorded layer could be proved.

    A layer whose output cannot be recomputed from its q, k and v is left out, and named in `trace.skipped`.
    """
    if branch not in ("conditional", "unconditional", "both"):
        raise ValueError(f"branch must be 'conditional', 'unconditional' or 'both', got {branch!r}")
    sites, skipped = find_sites(network)
    sites = _filtered(sites, layers)
    trace = Trace(skipped=skipped, queries=Shelved(), keys=Shelved())
    recorder = _Recorder(trace, network, _predicate(steps), branch, picture, dtype, preview)
    with ExitStack() as hooks:
        for handle in recorder.hooks(sites):
            hooks.callback(handle.remove)
        yield trace
    recorder.finish()


def _filtered(sites: dict[str, Site], layers: str | Collection[str] | Callable[[str], bool] | None) -> dict[str, Site]:
    if layers is None:
        return sites
    if not callable(layers):
        names = {layers} if isinstance(layers, str) else set(layers)
        unknown = sorted(names - set(sites))
        if unknown:
            raise ValueError(f"no attention layer {unknown[0]!r}; there are {', '.join(sites)}")
        layers = names.__contains__
    chosen = {name: site for name, site in sites.items() if layers(name)}
    if not chosen:
        raise ValueError(f"the filter chose no layer; there are {', '.join(sites)}")
    return chosen


def _predicate(steps: Collection[int] | Callable[[int], bool] | None) -> Callable[[int], bool]:
    if steps is None:
        return lambda step: True
    return steps if callable(steps) else set(steps).__contains__


class _Recorder:
    """The hooks' common state: which step it is, which pictures of the batch count, what has come so far."""

    def __init__(
        self,
        trace: Trace,
        network: nn.Module,
        wanted: Callable[[int], bool],
        branch: str,
        picture: int,
        dtype: torch.dtype | None,
        preview: Preview | None,
    ) -> None:
        self.trace, self.network, self.wanted = trace, network, wanted
        self.branch, self.picture, self.dtype, self.preview = branch, picture, dtype, preview
        self.step, self.active, self.shelf = -1, False, Shelf()
        self.indices: dict[str, int] = {}  # {branch: its index in the batch}
        self.pending: dict[str, dict[int, torch.Tensor]] = {}  # {layer: {projection: (B, tokens, channels)}}
        self.inputs: dict[str, dict[int, int]] = {}  # {layer: {projection: id of its input}}

    def hooks(self, sites: dict[str, Site]) -> Iterator[torch.utils.hooks.RemovableHandle]:
        yield self.network.register_forward_pre_hook(self.begin, with_kwargs=True)
        for name, site in sites.items():
            for index, projection in enumerate(site.projections):
                yield projection.register_forward_hook(partial(self.projected, name, index), with_kwargs=True)
            yield site.output.register_forward_pre_hook(partial(self.attended, name, site), with_kwargs=True)
        yield self.network.register_forward_hook(self.end, with_kwargs=True)

    # -- one call of the network -------------------------------------------------------------------------------------

    def begin(self, network: nn.Module, args: tuple, kwargs: dict) -> None:
        self.step += 1
        self.active = bool(self.wanted(self.step))
        self.pending.clear()
        self.shelf.turn()
        if not self.active:
            return
        sample = _sample(args, kwargs)
        self.indices = _indices(sample, self.branch, self.picture)
        self.trace.size = tuple(sample.shape[-2:])
        self.trace.branches = tuple(self.indices)
        self.trace.timesteps[self.step] = _number(_timestep(network, args, kwargs))

    def projected(self, name: str, index: int, module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        if not self.active or name in self.trace.skipped:
            return
        if not isinstance(output, torch.Tensor):
            self._refuse(name, f"a projection of it returns {type(output).__name__}, not a tensor")
            return
        self.pending.setdefault(name, {})[index] = output.detach()
        self.inputs.setdefault(name, {})[index] = id(_first(args, kwargs))

    def attended(self, name: str, site: Site, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if not self.active or name in self.trace.skipped:
            return
        outputs = self.pending.pop(name, {})
        try:
            if len(outputs) != len(site.projections):
                raise ValueError("not all of its projections were called before its output")
            if (next(iter(self.indices)), name, self.step) in self.trace.queries:
                raise ValueError("it is called more than once a step, so a step has no single map")
            self._keep(name, site, [outputs[i] for i in range(len(outputs))], _first(args, kwargs).detach())
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a probe's mistake must not stop the network that is watched
            self._refuse(name, str(error))

    def end(self, network: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        for name in list(self.pending) if self.active else ():
            self._refuse(name, "its output projection was not called")
        if self.active and self.preview is not None:
            index = list(self.indices.values())[-1]
            pick = slice(index, index + 1)
            timestep = _timestep(network, args, kwargs)
            if isinstance(timestep, torch.Tensor) and timestep.ndim:
                timestep = timestep[pick] if len(timestep) > 1 else timestep
            answer = output if isinstance(output, torch.Tensor) else output[0]
            pixels = self.preview(_sample(args, kwargs)[pick].detach(), timestep, answer[pick].detach())[0]
            levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte()
            self.trace.previews[self.step] = levels.permute(1, 2, 0).cpu().numpy()

    # -- one layer ---------------------------------------------------------------------------------------------------

    def _keep(self, name: str, site: Site, outputs: list[torch.Tensor], joined: torch.Tensor) -> None:
        for branch, index in self.indices.items():
            q, k, v = site.split(*(output[index] for output in outputs))
            if name not in self.trace.layers:
                self.trace.layers[name] = self._describe(name, site, q, k)
            where = (branch, name, self.step)
            self.trace.queries[where] = self.shelf.put(q, self.dtype)
            self.trace.keys[where] = self.shelf.put(k, self.dtype)
        if name not in self.trace.proved:
            self._prove(name, q, k, v, joined[index])

    def _describe(self, name: str, site: Site, q: torch.Tensor, k: torch.Tensor) -> Layer:
        heads, tokens, head_dim = q.shape
        inputs = self.inputs[name]
        kind = "self" if len(set(inputs.values())) == 1 and k.shape[1] == tokens else "cross"
        scale = head_dim**-0.5 if site.scale is None else site.scale
        return Layer(name, kind, _grid(self.trace.size, tokens), heads, head_dim, k.shape[1], scale)

    def _prove(self, name: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, joined: torch.Tensor) -> None:
        """Recompute some of the module's own output from q, k and v, in the network's own precision."""
        layer, tokens = self.trace.layers[name], q.shape[1]
        picked = torch.linspace(0, tokens - 1, min(PROOF_QUERIES, tokens)).round().long().to(q.device)
        weights = torch.softmax(q[:, picked].float() @ k.float().transpose(-1, -2) * layer.scale, dim=-1)
        recomputed = (weights @ v.float()).transpose(0, 1).flatten(1)  # (n, H·d)
        output = joined.reshape(tokens, -1)[picked].float()
        error = ((recomputed - output).abs().max() / output.abs().max().clamp(min=1e-12)).item()
        if not error <= TOLERANCE.get(q.dtype, 1e-4):
            raise ValueError(f"its output is not softmax(QKᵀ)·V of what was recorded (relative difference {error:.1e})")
        self.trace.proved[name] = error
        self.trace.proofs[name] = Proof(self.step, picked.cpu(), _copied(v, self.dtype), _copied(output, self.dtype))

    def _refuse(self, name: str, reason: str) -> None:
        trace = self.trace
        trace.skipped[name] = reason
        for store in (trace.layers, trace.proved, trace.proofs):
            store.pop(name, None)
        for store in (trace.queries, trace.keys):
            for where in [where for where in store if where[1] == name]:
                del store[where]

    def finish(self) -> None:
        if self.trace.timesteps and not self.trace.layers:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.trace.skipped.items())
            raise ValueError(f"no layer could be recorded: {reasons}")


def _copied(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    copy = tensor.to("cpu", dtype or tensor.dtype, copy=True)
    require_fit(copy, tensor)
    return copy


def _first(args: tuple, kwargs: dict) -> torch.Tensor:
    return args[0] if args else next(iter(kwargs.values()))


def _sample(args: tuple, kwargs: dict) -> torch.Tensor:
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor) and value.ndim == 4:
            return value
    raise ValueError("the network was called without a picture: expected an argument of shape (B, C, h, w)")


def _timestep(network: nn.Module, args: tuple, kwargs: dict) -> torch.Tensor | float | None:
    try:
        bound = inspect.signature(network.forward).bind_partial(*args, **kwargs).arguments
    except TypeError:
        bound = kwargs
    return next((bound[name] for name in TIMESTEP_NAMES if bound.get(name) is not None), None)


def _number(timestep: torch.Tensor | float | None) -> float | None:
    return None if timestep is None else float(torch.as_tensor(timestep).flatten()[0])


def _indices(sample: torch.Tensor, branch: str, picture: int) -> dict[str, int]:
    """{branch: index in the batch}. Guided batches are (unconditional, conditional), diffusers' order."""
    half, odd = divmod(len(sample), 2)
    guided = half > 0 and not odd and torch.equal(sample[:half], sample[half:])
    pictures = half if guided else len(sample)
    if not 0 <= picture < pictures:
        raise ValueError(f"picture {picture} was asked for, but the batch holds {pictures}")
    if not guided:
        if branch != "conditional":
            raise ValueError(
                f"branch={branch!r} was asked for, but the batch is not guided: its halves are different samples"
            )
        return {"conditional": picture}
    both = {"unconditional": picture, "conditional": half + picture}
    return both if branch == "both" else {branch: both[branch]}


def _grid(size: tuple[int, int], tokens: int) -> tuple[int, int]:
    """The (h, w) that a sample of `size` has where there are `tokens` pixels; U-Nets halve with ceil."""
    height, width = size
    while height * width > tokens and (height, width) != (1, 1):
        height, width = -(-height // 2), -(-width // 2)
    if height * width != tokens:
        raise ValueError(f"its {tokens} pixels fit no halving of the {size[0]}x{size[1]} sample")
    return height, width
