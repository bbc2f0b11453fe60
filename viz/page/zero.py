"""ZeroGPU: on such a Space, a GPU is lent to a forked process for the length of one call (`spaces.GPU`).

What that process does is lost to this one, except for what it yields. So models are opened here, on the CPU, and moved
in the process, which also places the hooks, and gives the trace back as a file. A process may be older than a model: it
then opens the model itself. The bundled model stays on the CPU: it takes seconds there, and its traces, which are found
by their recipes, are the same everywhere.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from viz.page.interrupt import interruptible
from viz.page.line import Stopped
from viz.page.runs import OnStep, stream_thread
from viz.page.temporary import save_temporary
from viz.recipe import RecipeError

if TYPE_CHECKING:  # torch is imported with the first model
    from models.sampling.order import Order
    from viz.page.own_model import OwnModel
    from viz.trace import Trace

MOST_SECONDS, FIRST_SECONDS, STEP_SECONDS = 120, 20, 0.5  # of GPU time that a run asks for


def is_present() -> bool:
    """Whether this is a Space whose GPU is lent for a call at a time."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


@dataclass(frozen=True)
class Opening:
    """How a model was opened, so that another process can open it, too: `own_model.open_model` and its arguments."""

    key: int
    open_model: Callable[..., OwnModel]
    source: str | Path
    dtype: str
    config: str | Path | None


@dataclass(frozen=True)
class Task:
    """A run, as it travels to the process: a method of OwnModel and its arguments."""

    opening: Opening
    method: str
    order: Order
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    calls: int


_openings: WeakKeyDictionary[OwnModel, Opening] = WeakKeyDictionary()
_models: dict[int, OwnModel] = {}  # {key: a model that a process opened itself, at most one}
_guard = threading.Lock()
_last_key = 0


def remember(
    model: OwnModel,
    open_model: Callable[..., OwnModel],
    source: str | Path,
    dtype: str,
    config: str | Path | None,
) -> None:
    """Make a model known to the processes that run it. Arguments as for `Opening`."""
    global _last_key
    with _guard:
        _last_key += 1
        _openings[model] = Opening(_last_key, open_model, source, dtype, config)


def run_model(
    model: OwnModel,
    method: str,
    order: Order,
    *arguments: Any,
    calls: int,
    on_step: OnStep,
    stopped: threading.Event,
    **options: Any,
) -> Trace:
    """Call `model.method(order, *arguments, on_step, **options)`, with a lent GPU where there is one.

    Args:
        method: "draw" or "record_photo".
        calls: of the network, which decides how much time is asked for.
        stopped: set to end the run before the network's next layer; with a lent GPU after the present step.

    Raises:
        RecipeError: as the method does.
        Stopped: when `stopped` was set before the end.
        gradio.Error: when no GPU is lent: the visitor's time for the day is spent, or none is free.
    """
    if not is_present():
        with interruptible(model.pipeline.unet, stopped):
            return getattr(model, method)(order, *arguments, on_step, **options)
    from viz.trace import Trace

    with _guard:
        task = Task(_openings[model], method, order, arguments, options, calls)
    with closing(lent()(task)) as updates:
        for kind, value in updates:
            if stopped.is_set():
                raise Stopped
            if kind == "step":
                on_step(*value)
            elif kind == "problem":
                raise RecipeError(value)
            else:
                trace = Trace.load(value)  # mapped, so its name can go
                Path(value).unlink(missing_ok=True)
                return trace
    raise RuntimeError("the process with the GPU ended without a trace")


def _seconds(task: Task) -> int:
    return min(MOST_SECONDS, round(FIRST_SECONDS + STEP_SECONDS * task.calls))


def _follow(task: Task) -> Iterator[tuple[str, Any]]:
    """In the process: yields ("step", (step, preview)) and at last ("trace", path) or ("problem", sentence).

    Closing it ends the run and waits for that: the GPU is given back then, and the next task may be for the same model.
    """
    stopped, ended = threading.Event(), threading.Event()

    def work(report: Callable[[tuple[str, Any]], None]) -> tuple[str, Any]:
        def on_step(step: int, preview: np.ndarray | None) -> None:
            report(("step", (step, preview)))

        try:
            model = _model_of(task.opening)
            _move(model)
            with interruptible(model.pipeline.unet, stopped):
                trace = getattr(model, task.method)(task.order, *task.arguments, on_step, **task.options)
            return "trace", str(save_temporary(trace))
        finally:
            ended.set()

    try:
        yield from stream_thread(work)
    except ValueError as error:  # RecipeError and PictureError are; others would lose their message on the way back
        yield "problem", str(error)
    finally:
        stopped.set()
        ended.wait()


_lent: Callable[[Task], Any] | None = None


def lent() -> Callable[[Task], Any]:
    """`_follow` in a process with a GPU. Called once before the page is served, which is when a Space looks for it."""
    global _lent
    if _lent is None:
        import spaces

        _lent = spaces.GPU(duration=_seconds)(_follow)
    return _lent


def _model_of(opening: Opening) -> OwnModel:
    """The model, which this process was forked with, or opens."""
    for model, known in list(_openings.items()):
        if known.key == opening.key:
            return model
    if opening.key not in _models:
        _models.clear()
        _models[opening.key] = opening.open_model(opening.source, opening.dtype, "cpu", opening.config)
    return _models[opening.key]


def _move(model: OwnModel) -> None:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for part in vars(model.pipeline).values():
        if isinstance(part, torch.nn.Module):
            part.to(device)
