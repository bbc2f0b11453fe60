"""One layer while its network runs: the hooks on it, the tensors they captured, and the reading that was proved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from viz.layer import Layer, Segment
from viz.probes import Reading, Site, Tap
from viz.probes.site import first_argument
from viz.proof import rounding
from viz.recording.call import RecordedCall
from viz.recording.evidence import Evidence
from viz.recording.keeper import Keeper
from viz.recording.likeness import equal
from viz.recording.sequence import CountedSources, Sequence, join, layer_of, shifted
from viz.recording.sources import Sources
from viz.recording.taps import read_tap
from viz.recording.views import View, find_views


@dataclass(frozen=True)
class _Plan:
    """How a layer is read, from the step on at which it was first proved."""

    reading: Reading
    layer: Layer
    step: int
    queries: Sequence
    keys: Sequence
    same_input: bool  # whether its queries and keys are made of one tensor
    query_order: torch.Tensor | None  # that puts pixels row by row; None if they are
    key_order: torch.Tensor | None
    words: int | None  # which of the network's arguments of words its keys are made of, if of nothing else


class LayerRecorder:
    """Captures the tensors of one attention module in each call of the network, and hands its q and k to a keeper.

    A layer is proved at every step. From a step on at which that fails, it is left out; a step at which it is not
    called is a gap.

    Args:
        sources: what follows sequences of one picture, by its index, to their source in a call.
        followed: called with the layer's name when it needs no more of these in this call.
    """

    def __init__(
        self,
        name: str,
        site: Site,
        keeper: Keeper,
        sources: Callable[[RecordedCall, int], Sources | CountedSources],
        followed: Callable[[str], None],
    ) -> None:
        self.name, self.site, self.keeper, self.sources, self.followed = name, site, keeper, sources, followed
        self.call: RecordedCall | None = None  # the call in progress, if it is recorded
        self.steps: set[int] = set()  # at which q and k were kept
        self.refused: str | None = None  # why it is left out, from some step on
        self.runs_outside = False  # whether it ran while no call of the network was in progress
        self._gaps: dict[int, str] = {}
        self._captured: dict[int, torch.Tensor] = {}  # {tap: the tensor that it saw in this call}
        self._inputs: dict[int, torch.Tensor] = {}  # {tap: the tensor that the captured one was made of}
        self._results: dict[int, torch.Tensor] = {}  # {end: the part of the output that it saw in this call}
        self._plan: _Plan | None = None
        self._views: dict[int, tuple[View, ...] | None] = {}  # {picture: its q, k and v, if all are views}

    def hooks(self) -> Iterator[RemovableHandle]:
        """Register the hooks one by one, so that the caller can remove the first ones if a later one fails."""
        for index, tap in enumerate(self.site.taps):
            yield tap.hook(partial(self._capture, index, tap))
        for index, end in enumerate(self.site.ends):
            yield end.hook(partial(self._finish, index, end))

    @property
    def needs_sources(self) -> bool:
        """Whether its queries and keys have still, or again, to be followed to their source."""
        return not self.refused and (self._plan is None or (self.is_followed and not self._plan.same_input))

    @property
    def is_followed(self) -> bool:
        """Whether its keys are pixels that are not simply made of the same tensor as its queries."""
        return self._plan is not None and self._plan.keys.has_pixels

    def begin(self, call: RecordedCall | None) -> None:
        """Start a call of the network; None for one that is not recorded."""
        self.call = call
        self._let_go()

    def end(self, call: RecordedCall) -> None:
        """Finish a recorded call."""
        self.call = None
        if not self.refused and self._captured:
            part = "one of its projections" if len(self._captured) < len(self.site.taps) else "its output projection"
            self.refuse(f"{part} was not called", call.step)
        if call.step not in self.steps:
            reason = self.refused or call.reason or "it was not called at this step"
            self._leave_gap(call.step, reason)
        self._let_go()

    def forget(self, step: int) -> None:
        """Undo what was recorded at a step."""
        self.call = None
        self._let_go()
        self._gaps.pop(step, None)
        self.steps.discard(step)
        self.keeper.forget(self.name, step)
        if self._plan and self._plan.step == step:
            self._plan = None
            self._views.clear()

    def refuse(self, reason: str, step: int) -> None:
        """Leave this layer out of the recording from a step on."""
        self.refused = reason
        self.steps.discard(step)
        self._let_go()
        self.followed(self.name)
        self._leave_gap(step, reason)

    def fail_since(self, step: int, error: Exception) -> None:
        """Leave this layer out from a step on that it was recorded at, as has turned out since."""
        self.refused = self.site.hint() or _text(error)
        for each in sorted(each for each in {*self.steps, *self._gaps} if each >= step):
            self.steps.discard(each)
            self._leave_gap(each, self.refused)

    def _leave_gap(self, step: int, reason: str) -> None:
        self._gaps[step] = reason
        if self.steps:
            self.keeper.leave_gap(self.name, step, reason)
        else:
            self.keeper.refuse(self.name, reason)

    def _let_go(self) -> None:
        """Drop the tensors of this call."""
        for tensors in (self._captured, self._inputs, self._results):
            tensors.clear()

    def _capture(
        self, index: int, tap: Tap, module: nn.Module, args: tuple, kwargs: dict, output: object = None
    ) -> None:
        """Hook on a tap."""
        if torch.compiler.is_compiling():
            return
        if self.call is None or self.refused:
            self.runs_outside = self.runs_outside or self.call is None
            return
        if not self.call.pictures:
            return
        try:
            tensor = read_tap(tap, args, kwargs, output, self.call.batch)
            self._captured[index] = tensor
            self._inputs[index] = tensor if tap.before else first_argument(args, kwargs)
        except Exception as error:  # a mistake in a probe must not stop the network
            self.refuse(self.site.hint() or _text(error), self.call.step)

    def _finish(
        self, index: int, end: Tap, module: nn.Module, args: tuple, kwargs: dict, output: object = None
    ) -> None:
        """Hook on an end. Only now are q, k and v read, as a module may write into them after their projection."""
        if torch.compiler.is_compiling() or self.call is None or self.refused or not self.call.pictures:
            return
        try:
            with torch.no_grad():
                self._results[index] = read_tap(end, args, kwargs, output, self.call.batch).detach()
                if len(self._results) < len(self.site.ends):
                    return  # the module shows the rest of its output later
                self._record(self.call, rounding(end.carried(args, kwargs, output)) if end.carried else 0.0)
        except Exception as error:  # as above
            self.refuse(self.site.hint() or _text(error), self.call.step)
        self._let_go()
        self.followed(self.name)

    def _record(self, call: RecordedCall, noise: float) -> None:
        if len(self._captured) < len(self.site.taps):
            raise ValueError("not all of its projections were called before its output")
        if call.step in self.steps:
            raise ValueError("it is called more than once per step, so no single map belongs to a step")
        if self._plan is None:
            self._plan = self._make_plan(call, noise)
        elif self.is_followed:
            self._check_sources(call, self._plan)
        elif self._plan.words is not None and not self._has_words(call, self._plan.words):
            raise ValueError(f"its keys are no longer the words of its picture from step {call.step} on")
        for branch, picture in call.pictures.items():
            key = branch, self.name, call.step
            evidence = self._evidence(picture, self._plan, noise)
            self.keeper.prove(key, self._plan.layer, evidence)
            self.keeper.keep(key, evidence.query, evidence.key)
        first = not self.steps
        self.steps.add(call.step)
        if first:
            for step, reason in self._gaps.items():
                self.keeper.leave_gap(self.name, step, reason)

    def _make_plan(self, call: RecordedCall, noise: float) -> _Plan:
        """Follow the layer's queries and keys to their source, and choose its reading."""
        picture, output = call.last_picture, self._output(call.last_picture)
        sources = self.sources(call, picture)
        queries, keys, same_input = self._follow(sources)
        candidates = []
        for reading in self.site.readings:
            q, k, v = self._read(picture, reading)
            layer = layer_of(self.name, reading, queries, keys, q, k)
            candidates.append((reading, layer, Evidence(q, k, v, output, noise)))
        reading, layer = self.keeper.choose(candidates, call.step)
        joined = layer.key_count - keys.tokens
        orders = queries.order, keys.order if not joined else shifted(keys.order, joined, layer.key_count)
        words = [index for index in range(len(call.words)) if self._has_words(call, index)]
        plan = _Plan(reading, layer, call.step, queries, keys, same_input, *orders, words[0] if words else None)
        if not all(self._is_as_planned(call, plan, other) for other in call.pictures.values() if other != picture):
            raise ValueError(
                "its queries and keys are made of other things in one picture of the batch than in another"
            )
        return plan

    def _follow(self, sources: Sources | CountedSources) -> tuple[Sequence, Sequence, bool]:
        """What the queries and the keys are, and whether they are made of the same tensor.

        Raises:
            ValueError: when the queries are not the cells of a map.
        """
        queries, keys, same_input = self._follow_own(sources)
        same_input = same_input and not self.site.follow_always
        query_taps, key_taps = self.site.query_taps, self.site.key_taps
        if len(query_taps) + len(key_taps) > 2:
            own = {0: queries, 1: keys} if keys.segments else {0: queries}
            queries = join(own[tap] if tap in own else self._added(sources, tap) for tap in query_taps)
            keys = join(own[tap] if tap in own else self._added(sources, tap) for tap in key_taps)
        return queries, keys, same_input

    def _added(self, sources: Sources | CountedSources, index: int) -> Sequence:
        """What the tokens are that a module joins to its own."""
        tokens, tap = self._inputs[index], self.site.taps[index]
        return sources.follow(tokens, tap.batch) or Sequence((Segment("unknown", tokens.shape[1 - tap.batch]),))

    def _follow_own(self, sources: Sources | CountedSources) -> tuple[Sequence, Sequence, bool]:
        """The same of the tokens that a module does not join to its own."""
        taps = self.site.taps
        last = len(taps) - 1
        query, key, value = (self._inputs[min(i, last)] for i in range(3))
        queries = sources.follow(query, taps[0].batch, taps[0].channels_first)
        same_input = key is query or (key.data_ptr() == query.data_ptr() and _layout(key) == _layout(query))
        if same_input and not key.is_meta:
            keys = queries
        else:
            place = taps[min(1, last)]
            keys = sources.follow(key, place.batch, place.channels_first)
            same_input = (
                queries is not None
                and key.shape == query.shape
                and _is_equal(query, key, taps[0].batch, sources.picture)
            )
            keys = keys or (queries if same_input else None) or sources.follow(value, place.batch, place.channels_first)
        if queries is None and keys is not None and key.shape == query.shape and keys.has_pixels and same_input:
            queries = keys  # positions were added to queries and keys, but not to values
        if queries is None or not queries.has_pixels:
            raise ValueError(sources.why_not(query, taps[0].batch))
        return queries, keys or Sequence(()), same_input

    def _check_sources(self, call: RecordedCall, plan: _Plan) -> None:
        """Check that keys that were pixels still are.

        Raises:
            ValueError: when they are made of something else now.
        """
        if plan.same_input:
            last = len(self.site.taps) - 1
            query, key, batch = self._inputs[0], self._inputs[min(1, last)], self.site.taps[0].batch
            if key is query or all(_is_equal(query, key, batch, picture) for picture in call.pictures.values()):
                return
        elif all(self._is_as_planned(call, plan, picture) for picture in call.pictures.values()):
            return
        raise ValueError(f"its keys are no longer made of the pixels of its queries from step {call.step} on")

    def _has_words(self, call: RecordedCall, index: int) -> bool:
        """Whether the keys of all recorded pictures are made of the network's words for them."""
        place = min(1, len(self.site.taps) - 1)
        key, batch, words = self._inputs[place], self.site.taps[place].batch, call.words[index]
        return key.ndim == 3 and all(_is_part(key, batch, words, picture) for picture in call.pictures.values())

    def _is_as_planned(self, call: RecordedCall, plan: _Plan, picture: int) -> bool:
        """Whether the queries and keys of one picture are what they are in the plan."""
        queries, keys, _ = self._follow(self.sources(call, picture))
        return (queries.segments, keys.segments) == (plan.queries.segments, plan.keys.segments)

    def _evidence(self, picture: int, plan: _Plan, noise: float) -> Evidence:
        """q, k, v and the output of one picture, its pixels row by row."""
        views = [view.of(self._captured) for view in self._views.get(picture) or ()]
        tensors = [view for view in views if view is not None]
        if len(tensors) < 3:
            tensors = list(self._read(picture, plan.reading))
            tensors = _in_order(tensors, plan)
            self._views[picture] = find_views(tensors, self._captured)
        q, k, v = tensors
        if (q.shape[1], k.shape[1]) != (plan.layer.query_count, plan.layer.key_count):
            now, before = (q.shape[1], k.shape[1]), (plan.layer.query_count, plan.layer.key_count)
            raise ValueError(f"it has {now[0]} queries and {now[1]} keys, and had {before[0]} and {before[1]} before")
        output = self._output(picture)
        return Evidence(q, k, v, output if plan.query_order is None else output[plan.query_order], noise)

    def _output(self, picture: int) -> torch.Tensor:
        """The module's softmax(q·K)·V for one picture, (N, C), in its order."""
        parts = [end.picture(self._results[index], picture) for index, end in enumerate(self.site.ends)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _read(self, picture: int, reading: Reading) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The q (H, N, d), k (H, M, d) and v (H, M, dv) of one picture, in the order of the module."""
        inputs = [tap.picture(self._captured[index], picture) for index, tap in enumerate(self.site.taps)]
        q, k = reading.scores(*inputs)
        return q, k, reading.values(*inputs)


def _is_equal(query: torch.Tensor, key: torch.Tensor, batch_dimension: int, picture: int) -> bool:
    """Whether two inputs are the same in one picture."""
    if query.shape != key.shape:
        return False
    one, other = (tensor.select(batch_dimension, picture).flatten(0, -2) for tensor in (query, key))
    return equal(one, other)


def _is_part(key: torch.Tensor, batch_dimension: int, words: torch.Tensor, picture: int) -> bool:
    one = key.select(batch_dimension, picture)
    return not key.is_meta and picture < len(words) and equal(one, words[picture])


def _in_order(tensors: list[torch.Tensor], plan: _Plan) -> list[torch.Tensor]:
    """q (H, N, d), k (H, M, d) and v (H, M, dv), their pixels row by row."""
    orders = plan.query_order, plan.key_order, plan.key_order
    return [tensor if order is None else tensor[:, order] for tensor, order in zip(tensors, orders, strict=True)]


def _layout(tensor: torch.Tensor) -> tuple:
    return tensor.shape, tensor.stride(), tensor.dtype


def _text(error: Exception) -> str:
    """The reason to report for an error: a probe's or our own words, never PyTorch's."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return "there was not enough memory to record it"
    if isinstance(error, OSError):
        return f"it could not be written to the disk: {error.strerror or type(error).__name__}"
    if isinstance(error, ValueError) and str(error):
        return str(error)
    return "its queries, keys, values and output do not fit together as those of softmax attention do"
