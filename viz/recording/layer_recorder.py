"""One layer while its network runs: the hooks on it, the tensors they captured, and the reading that was proved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from viz.probes import Reading, Site, Tap
from viz.probes.site import first_argument
from viz.recording.call import RecordedCall
from viz.recording.keeper import Evidence, Keeper
from viz.recording.views import View, find_views


@dataclass(frozen=True)
class _ProvedReading:
    """How a layer is read from the step on at which it was proved."""

    reading: Reading
    step: int
    shapes: tuple[torch.Size, torch.Size]  # of its q and k


class LayerRecorder:
    """Captures the tensors of one attention module in each call of the network, and hands its q and k to a keeper.

    A layer is proved when it is first called. If that fails, or if a later call contradicts it, it is refused for good.
    """

    def __init__(self, name: str, site: Site, keeper: Keeper) -> None:
        self.name, self.site, self.keeper = name, site, keeper
        self.call: RecordedCall | None = None  # the call in progress, if it is recorded
        self.steps: set[int] = set()  # at which q and k were kept
        self.refused = False
        self._captured: dict[int, torch.Tensor] = {}  # {tap: the tensor that it saw in this call}
        self._sources: dict[int, int] = {}  # {tap: id of the tensor that the captured one was made from}
        self._proved: _ProvedReading | None = None
        self._views: dict[int, tuple[View, ...] | None] = {}  # {picture: its q and k, if both are views}

    def hooks(self) -> Iterator[RemovableHandle]:
        """Register the hooks one by one, so that the caller can remove the first ones if a later one fails."""
        for index, tap in enumerate(self.site.taps):
            yield tap.hook(partial(self._capture, index, tap))
        yield self.site.end.hook(self._finish)

    def begin(self, call: RecordedCall | None) -> None:
        """Start a call of the network; None for one that is not recorded."""
        self.call = call
        self._captured.clear()

    def end(self, steps: Sequence[int]) -> None:
        """Finish a recorded call, and refuse the layer if it is missing at any of the `steps` recorded so far."""
        self.call = None
        if self.refused:
            return
        if self._captured:
            self.refuse("its output projection was not called")
        elif self.steps and len(self.steps) < len(steps):
            missing = next(step for step in steps if step not in self.steps)
            self.refuse(f"it was not called at step {missing}")

    def forget(self, step: int) -> None:
        """Undo what was recorded at a step."""
        self.call = None
        self._captured.clear()
        self.steps.discard(step)
        self.keeper.forget(self.name, step)
        if self._proved and self._proved.step == step:
            self._proved = None
            self._views.clear()

    def refuse(self, reason: str) -> None:
        """Leave this layer out of the recording."""
        self.refused = True
        self._captured.clear()
        self.keeper.refuse(self.name, reason)

    def _capture(
        self, index: int, tap: Tap, module: nn.Module, args: tuple, kwargs: dict, output: object = None
    ) -> None:
        """Hook on a tap."""
        if self.call is None or self.refused:
            return
        try:
            tensor = _read_tap(tap, args, kwargs, output, self.call.batch)
        except Exception as error:  # a mistake in a probe must not stop the network
            self.refuse(str(error))
            return
        self._captured[index] = tensor.detach()
        if self._proved is None:
            self._sources[index] = id(tensor if tap.before else first_argument(args, kwargs))

    def _finish(self, module: nn.Module, args: tuple, kwargs: dict, output: object = None) -> None:
        """Hook on the end. Only now are q and k read, as a module may write into them after their projection."""
        if self.call is None or self.refused:
            return
        try:
            if len(self._captured) < len(self.site.taps):
                raise ValueError("not all of its projections were called before its output")
            if self.call.step in self.steps:
                raise ValueError("it is called more than once per step, so no single map belongs to a step")
            if self._proved is None:
                self._proved = self._prove(self.call, args, kwargs, output)
            self._keep(self.call, self._proved)
            self._captured.clear()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # as above
            self.refuse(str(error))

    @torch.no_grad()
    def _prove(self, call: RecordedCall, args: tuple, kwargs: dict, output: object) -> _ProvedReading:
        end = self.site.end
        result = _read_tap(end, args, kwargs, output, call.batch).detach()
        evidence = Evidence(
            self.name,
            call,
            self.site,
            inputs=self._inputs(call.last_picture),
            output=end.picture(result, call.last_picture),
            carried=end.carried(args, kwargs, output) if end.carried else None,
            one_source=len(set(self._sources.values())) == 1,
        )
        reading, _ = self.keeper.prove(evidence)
        q, k = reading.scores(*evidence.inputs)
        return _ProvedReading(reading, call.step, (q.shape, k.shape))

    def _keep(self, call: RecordedCall, proved: _ProvedReading) -> None:
        for branch, picture in call.pictures.items():
            q, k = self._take_views(picture) or self._read(picture, call, proved)
            self.keeper.keep((branch, self.name, call.step), q, k)
        self.steps.add(call.step)

    def _take_views(self, picture: int) -> list[torch.Tensor] | None:
        """q and k as `_read` returns them, if they are known to be views of the captured tensors."""
        views = self._views.get(picture)
        tensors = [view.of(self._captured) for view in views or ()]
        present = [tensor for tensor in tensors if tensor is not None]
        return present if present and len(present) == len(tensors) else None

    @torch.no_grad()
    def _read(self, picture: int, call: RecordedCall, proved: _ProvedReading) -> list[torch.Tensor]:
        """The q (H, n, d) and k (H, M, d) of one picture, with all of its queries."""
        q, k = proved.reading.scores(*self._inputs(picture))
        if (q.shape, k.shape) != proved.shapes:
            now, before = (tuple(q.shape), tuple(k.shape)), tuple(map(tuple, proved.shapes))
            raise ValueError(f"the shapes of its q and k are {now} at step {call.step} and were {before} before")
        tensors = [q, k]
        self._views[picture] = find_views(tensors, self._captured)
        return tensors

    def _inputs(self, picture: int) -> list[torch.Tensor]:
        """The captured tensors of one picture, (tokens, channels) each."""
        return [tap.picture(self._captured[index], picture) for index, tap in enumerate(self.site.taps)]


def _read_tap(tap: Tap, args: tuple, kwargs: dict, output: object, batch: int) -> torch.Tensor:
    """The tensor that a tap sees.

    Raises:
        ValueError: when it is not a tensor, or does not hold `batch` pictures.
    """
    tensor = tap.read(args, kwargs, output)
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"expected a part of it to return a tensor, got {type(tensor).__name__}")
    pieces = tensor.shape[tap.batch]
    if pieces != batch:
        raise ValueError(
            f"it works on {pieces} pieces where the network has {batch} pictures; "
            "attention within windows is not recorded"
        )
    return tensor
