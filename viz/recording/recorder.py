"""Record the attention of a network while it runs, by watching it.

    with record(pipeline.unet) as trace:
        image = pipeline("a green monster with two yellow eyes").images[0]
    trace.rows("mid_block.attentions.0.transformer_blocks.0.attn1", step=12, query=(3, 5))

Forward hooks are registered on enter and removed on exit, also after an exception. No processor is swapped and no
forward is copied: the fused kernel still runs, and the picture is bit-identical with and without recording.

Every layer is proved at every recorded step: the output of some of its queries is recomputed from its q, k and v. From
a step on at which they differ, it is left out; a step without it is a gap, and `trace.gaps` says why. A layer that has
no step at all is named in `trace.skipped`. A step that ends in an exception is left out, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from viz.asking import Asked, Asking
from viz.layer import Branch
from viz.probes import Site, find_sites
from viz.proof import PROOF_WIDTH
from viz.recording.branches import BranchOrder, PictureChoice
from viz.recording.call import RecordedCall, calls_at, find_sample, find_timestep, timestep_number
from viz.recording.captions import Captions, Words
from viz.recording.deferred import Failure
from viz.recording.keeper import Keeper, TraceKeeper
from viz.recording.layer_recorder import LayerRecorder
from viz.recording.sequence import CountedSources, words_given
from viz.recording.sources import Sources
from viz.recording.spool import spooled
from viz.recording.strangers import REASON, Strangers
from viz.recording.surroundings import Surroundings
from viz.trace import Trace

LayerFilter = str | Collection[str] | Callable[[str], bool] | None
StepFilter = Collection[int] | Callable[[int], bool] | None
Preview = Callable[[torch.Tensor, torch.Tensor | float | None, torch.Tensor], torch.Tensor]


@contextmanager
def record(
    network: nn.Module,
    *,
    layers: LayerFilter = None,
    steps: StepFilter = None,
    queries: Asked | Collection[Asked] | None = None,
    branch: Branch = "conditional",
    guided: bool | None = None,
    branch_order: BranchOrder | None = None,
    picture: int = 0,
    dtype: torch.dtype | None = None,
    preview: Preview | None = None,
    proof_width: int | None = PROOF_WIDTH,
    into: str | Path | None = None,
    words: Words | None = None,
) -> Iterator[Trace]:
    """Watch every attention module of `network` that a probe knows; yields a trace that fills while the network runs.

    Args:
        network: any module that is called once per step.
        layers: a name, names, or a function of a name; all by default.
        steps: indices of the network's calls, or a function of one; all by default.
        queries: keep q of some cells only, and k of all: a place, (row, column) in 0..1 of the picture, a box or region
            of `viz.view`, "words" for the words of joint attention, or several of these; see `viz.asking`. The rows of
            these cells are exact, and proved; columns and mean rows cannot be had. All by default.
        branch: which part of each batch: "conditional", "unconditional" or another of its names, or "both" for all that
            it has. The names are known where a pipeline of diffusers makes the call, or where you say the order.
            Otherwise the default records one picture as "picture i of n", which is also a branch to ask for.
        guided: the order, said by you: True for (unconditional, conditional), as in most pipelines; False for one part.
        branch_order: the order, said by you: names of the equal parts of each batch, such as ("conditional",
            "unconditional"), or a function of the number of pictures that returns them, or None where unknown.
        picture: which picture of each part.
        dtype: the precision to keep Q and K in; the network's own by default.
        preview: `f(sample, timestep, output)`, (B, C, h, w) each, which returns the predicted clean pictures
            (B, 3, h, w) in [-1, 1]; see `viz.recording.run.previewer`.
        proof_width: how many channels per head of V and of the output `trace.proofs` keeps; None for all.
        into: the file to write the trace to, for one that is too large for the memory: Q and K go to the disk at every
            step, and when the block ends the whole trace is in the file, or none of it. What you add to the trace
            within the block, such as `trace.picture`, is in it. A small one takes twice its size of disk at the end.
        words: the captions, said by you: one, {branch: caption}, or a function of a branch. By default `trace.words`
            has those of pipelines whose text encoders run within the block; see `viz.recording.captions`.

    Raises:
        OSError: before the network runs, or when the block ends, if the file cannot be written.
        ValueError: before the network runs, for arguments that contradict each other, a network without attention that
            a probe finds, or a filter that matches no layer; when the block ends, if no layer could be recorded.
    """
    pictures = PictureChoice(branch, guided, picture, branch_order)
    sites, skipped = find_sites(network)
    selected = select_sites(sites, skipped, layers)
    trace = Trace(skipped=skipped)
    keeper = TraceKeeper(trace, dtype, proof_width, None if queries is None else Asking.parse(queries))
    strangers = Strangers({*sites, *skipped})
    recorder = Recorder(trace, selected, keeper, pictures, step_filter(steps), preview, strangers, Captions(words))
    with nullcontext() if into is None else spooled(trace, Path(into)):
        with recorder.watching(network):
            yield trace
        if not trace.layers:
            raise ValueError(f"no layer could be recorded: {recorder.why_nothing(network)}")


def select_sites(sites: dict[str, Site], skipped: dict[str, str], layers: LayerFilter) -> dict[str, Site]:
    """The sites of the layers that pass a filter.

    Args:
        sites, skipped: as `viz.probes.find_sites` returns them.

    Raises:
        ValueError: when the filter names a layer without a site, or matches none.
    """
    if layers is None:
        return sites
    if callable(layers):
        matches = layers
    else:
        names = {layers} if isinstance(layers, str) else set(layers)
        for name in sorted(names - set(sites)):
            if name in skipped:
                raise ValueError(f"layer {name!r} cannot be recorded: {skipped[name]}")
            raise ValueError(f"no attention layer {name!r}; there are {', '.join(sites)}")
        matches = names.__contains__
    selected = {name: site for name, site in sites.items() if matches(name)}
    if not selected:
        raise ValueError(f"the filter matches no layer; there are {', '.join(sites)}")
    return selected


def step_filter(steps: StepFilter) -> Callable[[int], bool]:
    """A function that says whether to record a step."""
    if steps is None:
        return lambda step: True
    return steps if callable(steps) else set(steps).__contains__


class Recorder:
    """Follows the calls of a network: which step each is, and which pictures of its batch are recorded.

    Nothing that goes wrong here stops the network. It is kept as a reason, and reported when the recording ends.

    Args:
        trace: takes what belongs to a call as a whole: its timestep, the size, the branches, the preview.
        keeper: takes what belongs to the layers.
        strangers: looks for attention that no probe knows, in the first recorded call.
        captions: finds what the words are, in the first recorded call.
    """

    def __init__(
        self,
        trace: Trace,
        sites: dict[str, Site],
        keeper: Keeper,
        pictures: PictureChoice,
        is_recorded: Callable[[int], bool] = lambda step: True,
        preview: Preview | None = None,
        strangers: Strangers | None = None,
        captions: Captions | None = None,
    ) -> None:
        self.trace, self.pictures, self.is_recorded, self.preview = trace, pictures, is_recorded, preview
        self.strangers, self.captions = strangers, captions
        self.keeper = keeper
        self._surroundings = Surroundings()
        follow = self._sources, self._surroundings.release
        self.layers = [LayerRecorder(name, site, keeper, *follow) for name, site in sites.items()]
        self.step = -1
        self.call: RecordedCall | None = None  # the one in progress, if it is recorded
        self.failure: Exception | None = None  # the first thing that went wrong with a call as a whole
        self._timesteps: dict[int, float | None] = {}  # of all calls, recorded or not
        self._following = ExitStack()  # the hooks by which sequences are followed, while they are needed
        self._sources_of: dict[int, Sources | CountedSources] = {}  # {picture: its sources in this call}

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Keep the hooks registered within the `with` block, and remove them even after an exception."""
        with ExitStack() as stack:
            stack.callback(self._settle)
            stack.callback(self._drop_unfinished_call)
            stack.callback(self._following.close)
            if self.captions is not None:
                stack.enter_context(self.captions.listening())
            for handle in self._hooks(network):
                stack.callback(handle.remove)
            yield

    def why_nothing(self, network: nn.Module) -> str:
        """Why no layer was recorded."""
        if self.failure is not None:
            return str(self.failure)
        if is_compiled(network):
            return (
                f"{type(network).__name__} is compiled, and compiled code calls no hooks: record it before compiling it"
            )
        if self.trace.timesteps:
            reasons = {reason: name for name, reason in reversed(self.trace.skipped.items())}
            return "; ".join(f"{name}: {reason}" for reason, name in reversed(reasons.items()))
        if self.step >= 0:
            return f"none of its {self.step + 1} calls was among the steps to record"
        if any(layer.runs_outside for layer in self.layers):
            return f"its parts ran, but {type(network).__name__} itself was not called: call it, not its forward method"
        name = type(network).__name__
        return f"{name} was not called while it was recorded, or only by compiled code, which calls no hooks"

    def _hooks(self, network: nn.Module) -> Iterator[RemovableHandle]:
        if isinstance(network, torch.jit.ScriptModule):
            return  # it takes none
        yield network.register_forward_pre_hook(self._begin, with_kwargs=True)
        for layer in self.layers:
            yield from layer.hooks()
        yield network.register_forward_hook(self._end, with_kwargs=True)
        yield network.register_forward_hook(self._leave, always_call=True)

    def _begin(self, network: nn.Module, args: tuple, kwargs: dict) -> None:
        if torch.compiler.is_compiling():
            return
        self._drop_unfinished_call()
        self.step += 1
        if self.captions is not None:
            self.captions.stop()
        try:
            self._timesteps[self.step] = timestep_number(find_timestep(network, args, kwargs), self.pictures.picture)
            if self.is_recorded(self.step):
                self.call = self._open_call(network, args, kwargs)
        except Exception as error:
            self.failure = self.failure or error
        for layer in self.layers:
            layer.begin(self.call)

    def _open_call(self, network: nn.Module, args: tuple, kwargs: dict) -> RecordedCall:
        sample = find_sample(args, kwargs)
        height, width = sample.shape[-2:]
        pictures, reason = self.pictures.indices(network, args, kwargs, len(sample))
        words = tuple(words_given(network, args, kwargs))
        call = RecordedCall(self.step, len(sample), (height, width), pictures, reason or "", words)
        self.trace.size, self.trace.branches = call.size, self.trace.branches or tuple(pictures)
        self.trace.timesteps[call.step] = self._timesteps[call.step]
        self._count_calls()
        if self.captions is not None:
            self.trace.words = self.captions.look(self.trace.words, network, args, kwargs, pictures)
        self._follow(network, args, kwargs)
        return call

    def _count_calls(self) -> None:
        calls = calls_at(self._timesteps)
        self.trace.calls = {step: calls[step] for step in self.trace.timesteps if step in calls}

    def _follow(self, network: nn.Module, args: tuple, kwargs: dict) -> None:
        """Watch all modules in this call if a layer's queries and keys have to be followed to their source."""
        self._sources_of.clear()
        self._following.close()
        waiting = [layer.name for layer in self.layers if layer.needs_sources]
        if waiting:
            self._surroundings.begin(network, args, kwargs, waiting)
            for handle in self._surroundings.hooks(network, (layer.name for layer in self.layers)):
                self._following.callback(handle.remove)
        if self.strangers is not None and not self.strangers.called:
            self._following.callback(self.strangers.close)
            for handle in self.strangers.hooks(network):
                self._following.callback(handle.remove)

    def _sources(self, call: RecordedCall, picture: int) -> Sources | CountedSources:
        """What follows sequences of one picture to their source, in the call in progress."""
        if picture not in self._sources_of:
            on_meta = any(tensor.is_meta for frame in self._surroundings.stack[:1] for tensor in frame.inputs)
            self._sources_of[picture] = (
                CountedSources(call.size, self._surroundings.arguments)
                if on_meta
                else Sources(self._surroundings, picture, call.batch)
            )
        return self._sources_of[picture]

    def _end(self, network: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        """Called when the network returns."""
        if self.call is None:
            return
        call, self.call = self.call, None
        self._surroundings.end()
        self._sources_of.clear()
        if self.strangers is not None:
            self.trace.skipped.update(dict.fromkeys(self.strangers.found, REASON))
        for layer in self.layers:
            layer.end(call)
        self._leave_out(self.keeper.end_step())
        if self.preview is not None and call.pictures:
            try:
                sample, timestep = find_sample(args, kwargs), find_timestep(network, args, kwargs)
                result = output if isinstance(output, torch.Tensor) else output[0]  # type: ignore[index]
                self.trace.previews[call.step] = _preview(self.preview, sample, timestep, result, call.last_picture)
            except Exception as error:
                self.failure = self.failure or error

    def _leave(self, *_: object) -> None:
        """Called after `_end`, or instead of it when the network raises an exception."""
        if not torch.compiler.is_compiling():
            self._drop_unfinished_call()

    def _drop_unfinished_call(self) -> None:
        """Forget the step at which the network raised an exception, and the layers recorded at no other step."""
        self._surroundings.end()
        if self.strangers is not None:
            self.strangers.close()
        if self.call is None:
            return
        self._settle()
        self.trace.timesteps.pop(self.call.step, None)
        self._count_calls()
        for layer in self.layers:
            layer.forget(self.call.step)
        self.call = None

    def _settle(self) -> None:
        """Wait for what is still under way from a GPU."""
        self._leave_out(self.keeper.settle())

    def _leave_out(self, failures: list[Failure]) -> None:
        """Leave out the layers that have turned out to be wrong since a step."""
        for name, step, error in failures:
            next(layer for layer in self.layers if layer.name == name).fail_since(step, error)


def is_compiled(network: nn.Module) -> bool:
    """Whether a network, or a part of it, runs as compiled code."""
    return any(
        isinstance(module, torch.jit.ScriptModule)
        or hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
        for module in network.modules()
    )


def _preview(
    preview: Preview,
    sample: torch.Tensor,
    timestep: torch.Tensor | float | None,
    output: torch.Tensor,
    picture: int,
) -> np.ndarray:
    """The clean picture that a call predicts, (h, w, 3) uint8."""
    one = slice(picture, picture + 1)
    if isinstance(timestep, torch.Tensor) and timestep.ndim and len(timestep) > 1:
        timestep = timestep[one]
    pixels = preview(sample[one].detach(), timestep, output[one].detach())[0]
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return levels.permute(1, 2, 0).cpu().numpy()
