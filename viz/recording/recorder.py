"""Record what the attention of a network does, while it runs, by watching it.

    with record(pipeline.unet) as trace:
        image = pipeline("a green monster with two yellow eyes").images[0]
    trace.rows("mid_block.attentions.0.transformer_blocks.0.attn1", step=12, query=(3, 5))

Forward hooks go in on enter and out on exit, an exception included. No processor is swapped and no forward copied: the
fused kernel still runs, and the picture is bit-identical with and without recording.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import nn

from viz.layer import Layer, Proof
from viz.precision import require_fit
from viz.probes import Reading, Site, Tap, find_sites
from viz.probes.site import first
from viz.proof import (
    DROWNED,
    PROOF_QUERIES,
    PROOF_WIDTH,
    TOLERANCE,
    attended,
    difference,
    is_linear,
    rounding,
    to_keep,
    why_not,
)
from viz.recording.call import MAX_EXTRA, grid_of, indices, is_guided, number, sample_of, timestep_of
from viz.recording.memory import Place, Shelf, Shelved
from viz.recording.views import Layout
from viz.trace import Trace

Preview = Callable[[torch.Tensor, torch.Tensor | float | None, torch.Tensor], torch.Tensor]


@contextmanager
def record(
    network: nn.Module,
    *,
    layers: str | Collection[str] | Callable[[str], bool] | None = None,
    steps: Collection[int] | Callable[[int], bool] | None = None,
    branch: str = "conditional",
    guided: bool | None = None,
    picture: int = 0,
    dtype: torch.dtype | None = None,
    preview: Preview | None = None,
    proof_width: int | None = PROOF_WIDTH,
) -> Iterator[Trace]:
    """Watch every attention module of `network` that a probe knows; yields the trace that fills while it runs.

    Args:
        network: any module, called once a step.
        layers: a name, names, or a function of a name; by default all.
        steps: indices of the network's calls, or a function of one; by default all.
        branch: "conditional", "unconditional" or "both" halves of a guided batch; one that is not guided is recorded as
            conditional.
        guided: whether the batch is; by default it counts as guided when its two halves are the same sample.
        picture: which picture of the batch.
        dtype: the precision to keep Q and K in; by default the network's own.
        preview: `f(sample, timestep, output)`, (B, C, h, w) each, that gives the expected clean pictures
            (B, 3, h, w) in [-1, 1]; see `viz.recording.run.previewer`.
        proof_width: how many channels a head of V and of the output are kept in `trace.proofs`; None for all.

    Raises:
        ValueError: when the network has no attention that a probe knows, a filter matches no layer, `branch` asks for
            a half that the batch does not have, halves that were the same sample cease to be, or, in the end, no
            recorded layer could be proved.

    A layer whose output cannot be recomputed from its q, k and v is left out, and named in `trace.skipped`. So is a
    step that an exception ends.
    """
    if branch not in ("conditional", "unconditional", "both"):
        raise ValueError(f"branch must be 'conditional', 'unconditional' or 'both', got {branch!r}")
    sites, skipped = find_sites(network)
    sites = _filtered(sites, skipped, layers)
    trace = Trace(skipped=skipped, queries=Shelved(), keys=Shelved())
    recorder = _Recorder(trace, network, _predicate(steps), branch, guided, picture, dtype, preview, proof_width)
    with ExitStack() as hooks:
        hooks.callback(recorder.drop_unfinished)
        for handle in recorder.hooks(sites):
            hooks.callback(handle.remove)
        yield trace
    recorder.finish()


def _filtered(
    sites: dict[str, Site], skipped: dict[str, str], layers: str | Collection[str] | Callable[[str], bool] | None
) -> dict[str, Site]:
    if layers is None:
        return sites
    if not callable(layers):
        names = {layers} if isinstance(layers, str) else set(layers)
        for name in sorted(names - set(sites)):
            if name in skipped:
                raise ValueError(f"layer {name!r} cannot be recorded: {skipped[name]}")
            raise ValueError(f"no attention layer {name!r}; there are {', '.join(sites)}")
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
        guided: bool | None,
        picture: int,
        dtype: torch.dtype | None,
        preview: Preview | None,
        proof_width: int | None = PROOF_WIDTH,
    ) -> None:
        self.trace, self.network, self.wanted = trace, network, wanted
        self.branch, self.guided, self.picture = branch, guided, picture
        self.dtype, self.preview, self.proof_width = dtype, preview, proof_width
        self.step, self.active, self.shelf = -1, False, Shelf()
        self.unfinished = False  # whether the network is being called
        self.seemed: dict[int, bool] = {}  # {pictures in a batch: whether such batches looked guided}
        self.indices: dict[str, int] = {}  # {branch: its index in the batch}
        self.batch = 0
        self.pending: dict[str, dict[int, torch.Tensor]] = {}  # {layer: {tap: what it saw}}
        self.sources: dict[str, dict[int, int]] = {}  # {layer: {tap: id of the tensor it comes from}}
        self.readings: dict[str, Reading] = {}  # {layer: the one that was proved}
        self.shapes: dict[str, tuple] = {}  # {layer: of the q and k that were proved}
        self.handles: dict[str, list[torch.utils.hooks.RemovableHandle]] = {}  # {layer: of its taps, and of its end}
        self.enough: dict[str, frozenset[int]] = {}  # {layer: the taps that its q and k come from, once that is known}
        self.layouts: dict[tuple[str, int], Layout | None] = {}  # {(layer, index in the batch): where q and k lie}

    def hooks(self, sites: dict[str, Site]) -> Iterator[torch.utils.hooks.RemovableHandle]:
        yield self.network.register_forward_pre_hook(self.begin, with_kwargs=True)
        for name, site in sites.items():
            self.handles[name] = [_watch(tap, partial(self.seen, name, i)) for i, tap in enumerate(site.taps)]
            yield from self.handles[name]
            yield _watch(site.end, partial(self.ended, name, site))
        yield self.network.register_forward_hook(self.end, with_kwargs=True)
        yield self.network.register_forward_hook(self.left, always_call=True)

    # -- one call of the network -------------------------------------------------------------------------------------

    def begin(self, network: nn.Module, args: tuple, kwargs: dict) -> None:
        self.drop_unfinished()
        self._release()
        self.step += 1
        self.active = bool(self.wanted(self.step))
        self.pending.clear()
        self.shelf.turn()
        if not self.active:
            return
        sample = sample_of(args, kwargs)
        self.batch = len(sample)
        self.indices = indices(self.batch, self._is_guided(sample), self.branch, self.picture)
        self.trace.size = tuple(sample.shape[-2:])
        self.trace.branches = tuple(self.indices)
        self.trace.timesteps[self.step] = number(timestep_of(network, args, kwargs))
        self.unfinished = True

    def _is_guided(self, sample: torch.Tensor) -> bool:
        if self.guided is not None:
            return self.guided
        guided = is_guided(sample)
        if self.seemed.setdefault(self.batch, guided) != guided:
            then, now = ("the same sample", "different ones") if not guided else ("different", "the same sample")
            raise ValueError(
                f"the halves of the batch were {then} before and are {now} at step {self.step}, so it cannot be told "
                "whether it is guided: say guided=True or guided=False"
            )
        return guided

    def _release(self) -> None:
        """Take away the hooks of known layers that show neither q nor k: being called costs more than what they do."""
        for name, taps in self.enough.items():
            for index, handle in enumerate(self.handles.pop(name, ())):
                if index not in taps:
                    handle.remove()

    def seen(
        self, name: str, index: int, tap: Tap, _: nn.Module, args: tuple, kwargs: dict, output: object = None
    ) -> None:
        if not self.active or name in self.trace.skipped:
            return
        try:
            tensor = self._read(tap, args, kwargs, output)
        except Exception as error:  # a probe's mistake must not stop the network that is watched
            self._refuse(name, str(error))
            return
        self.pending.setdefault(name, {})[index] = tensor.detach()
        if name not in self.readings:  # the proof asks for it
            self.sources.setdefault(name, {})[index] = id(tensor if tap.before else first(args, kwargs))

    def ended(
        self, name: str, site: Site, tap: Tap, _: nn.Module, args: tuple, kwargs: dict, output: object = None
    ) -> None:
        if not self.active or name in self.trace.skipped:
            return
        seen = self.pending.pop(name, {})
        try:
            if not seen.keys() >= (self.enough.get(name) or set(range(len(site.taps)))):
                raise ValueError("not all of its projections were called before its output")
            if name not in self.readings:
                joined = self._read(tap, args, kwargs, output).detach()
                self._prove(name, site, seen, joined, tap.carried and tap.carried(args, kwargs, output))
            self._keep(name, site, seen)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # as above
            self._refuse(name, str(error))

    def _read(self, tap: Tap, args: tuple, kwargs: dict, output: object) -> torch.Tensor:
        tensor = tap.read(args, kwargs, output)
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"a part of it gives {type(tensor).__name__} where a tensor was expected")
        if tensor.shape[tap.batch] != self.batch:
            raise ValueError(
                f"it works on {tensor.shape[tap.batch]} pieces where the network has {self.batch} pictures; "
                "attention within windows is not recorded"
            )
        return tensor

    def end(self, network: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        self.unfinished = False
        for name in list(self.pending) if self.active else ():
            self._refuse(name, "its output projection was not called")
        if self.active:
            self._refuse_gaps()
        if self.active and self.preview is not None:
            index = list(self.indices.values())[-1]
            pick = slice(index, index + 1)
            timestep = timestep_of(network, args, kwargs)
            if isinstance(timestep, torch.Tensor) and timestep.ndim:
                timestep = timestep[pick] if len(timestep) > 1 else timestep
            answer = output if isinstance(output, torch.Tensor) else output[0]
            pixels = self.preview(sample_of(args, kwargs)[pick].detach(), timestep, answer[pick].detach())[0]
            levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte()
            self.trace.previews[self.step] = levels.permute(1, 2, 0).cpu().numpy()

    def _refuse_gaps(self) -> None:
        """A trace has every layer at every step: leave out those that the network went past, at this step or before."""
        branch, began = next(iter(self.indices)), min(self.trace.timesteps, default=0)
        for name, proof in list(self.trace.proofs.items()):
            missed = began if proof.step != began else self.step
            if (branch, name, missed) not in self.trace.queries:
                self._refuse(name, f"it was not called at step {missed}")

    def left(self, *_: object) -> None:
        """Called after `end`, and in its place where an exception left the network."""
        self.drop_unfinished()

    # -- one layer ---------------------------------------------------------------------------------------------------

    def _keep(self, name: str, site: Site, seen: dict[int, torch.Tensor]) -> None:
        trace, step = self.trace, self.step
        for branch, index in self.indices.items():
            where = (branch, name, step)
            if where in trace.queries:
                raise ValueError("it is called more than once a step, so a step has no single map")
            trace.queries[where], trace.keys[where] = self._put(name, site, seen, index)
        if trace.proofs[name].step == step:
            self._settle(name, site, seen)

    def _put(self, name: str, site: Site, seen: dict[int, torch.Tensor], index: int) -> list[Place]:
        """Keep the q of a picture's pixels, (H, N, d), and its k, (H, M, d)."""
        layout = self.layouts.get((name, index))
        if layout and (places := layout.put(seen, self.shelf, self.dtype)):
            return places
        with torch.no_grad():
            q, k = self.readings[name].scores(*_parts(site, seen, index))
        now, before = (tuple(q.shape), tuple(k.shape)), self.shapes[name]
        if now != before:
            raise ValueError(f"the shapes of its q and k are {now} at step {self.step} and were {before} before")
        found = [q[:, q.shape[1] - self.trace.layers[name].tokens :], k]
        self.layouts[name, index] = Layout.find(found, seen)
        return [self.shelf.put(tensor, self.dtype) for tensor in found]

    def _settle(self, name: str, site: Site, seen: dict[int, torch.Tensor]) -> None:
        """From the next step on be content with the taps that q and k are parts of, if the reading can be, too."""
        layouts = [self.layouts[name, index] for index in self.indices.values()]
        if not all(layouts):
            return
        taps = frozenset(view.tap for layout in layouts for view in layout.views)
        parts = _parts(site, {tap: seen[tap] for tap in taps}, next(iter(self.indices.values())))
        try:
            self.readings[name].scores(*parts)
        except Exception:  # it looks at the others, too, if only at their shapes
            return
        self.enough[name] = taps

    @torch.no_grad()
    def _prove(
        self,
        name: str,
        site: Site,
        seen: dict[int, torch.Tensor],
        joined: torch.Tensor,
        carried: torch.Tensor | None,
    ) -> None:
        """Recompute some of the module's own output from q, k and v; settles how the site is read."""
        index = list(self.indices.values())[-1]
        parts, output = _parts(site, seen, index), site.end.picture(joined, index)
        failures = []
        noise = 0.0 if carried is None else rounding(carried, output)
        for reading in site.readings:
            (q, k), v = reading.scores(*parts), reading.values(*parts)
            layer = self._describe(name, reading, q, k)
            picked = torch.linspace(0, layer.tokens - 1, min(PROOF_QUERIES, layer.tokens)).round().long()
            tokens = picked.to(q.device) + (q.shape[1] - layer.tokens)
            wanted = output[tokens]
            error = difference(attended(q[:, tokens], k, v, layer.scale, wanted.shape[-1]), wanted)
            if error <= TOLERANCE.get(q.dtype, 1e-5) + min(noise, DROWNED):
                self.readings[name], self.trace.layers[name], self.trace.proved[name] = reading, layer, error
                self.shapes[name] = tuple(q.shape), tuple(k.shape)
                parts = (_copied(part, self.dtype) for part in to_keep(v, wanted, self.proof_width))
                self.trace.proofs[name] = Proof(self.step, picked, *parts)
                return
            failures.append((error, is_linear(q[:, tokens], k, v, wanted)))
        raise ValueError(why_not(min(failures)[0], any(linear for _, linear in failures), noise))

    def _describe(self, name: str, reading: Reading, q: torch.Tensor, k: torch.Tensor) -> Layer:
        heads, tokens, head_dim = q.shape
        grid, before = grid_of(self.trace.size, tokens)
        extra = k.shape[1] - (tokens - before)
        one_source = len(set(self.sources[name].values())) == 1
        own = one_source and (extra == before or (before == 0 and 0 < extra <= MAX_EXTRA))
        scale = head_dim**-0.5 if reading.scale is None else reading.scale
        kind = "self" if own else "cross"
        return Layer(name, kind, grid, heads, head_dim, k.shape[1], scale, extra if own else 0)

    def _refuse(self, name: str, reason: str) -> None:
        trace = self.trace
        trace.skipped[name] = reason
        for store in (trace.layers, trace.proved, trace.proofs):
            store.pop(name, None)
        for store in (trace.queries, trace.keys):
            for where in [where for where in store if where[1] == name]:
                del store[where]

    def drop_unfinished(self) -> None:
        """Forget the step at which an exception left the network, and the layers that were seen in no other."""
        if not self.unfinished:
            return
        self.unfinished, trace = False, self.trace
        trace.timesteps.pop(self.step, None)
        for store in (trace.queries, trace.keys):
            for where in [where for where in store if where[2] == self.step]:
                del store[where]
        for name in [name for name, proof in trace.proofs.items() if proof.step == self.step]:
            for store in (trace.layers, trace.proved, trace.proofs, self.readings, self.enough):
                store.pop(name, None)

    def finish(self) -> None:
        if self.trace.timesteps and not self.trace.layers:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.trace.skipped.items())
            raise ValueError(f"no layer could be recorded: {reasons}")


def _parts(site: Site, seen: dict[int, torch.Tensor], index: int) -> list[torch.Tensor | None]:
    """What the taps saw of one picture, (tokens, channels) each; None from those that are not watched any more."""
    return [tap.picture(seen[i], index) if i in seen else None for i, tap in enumerate(site.taps)]


def _copied(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    copy = tensor.to("cpu", dtype or tensor.dtype, copy=True)
    require_fit(copy, tensor)
    return copy


def _watch(tap: Tap, see: Callable[..., None]) -> torch.utils.hooks.RemovableHandle:
    """Calls see(tap, module, args, kwargs), and the output where there is one, whenever the tap's module is called."""
    register = tap.module.register_forward_pre_hook if tap.before else tap.module.register_forward_hook
    return register(partial(see, tap), with_kwargs=True)
