"""Runs of a model: one at a time, each in its own thread, and stopped by the visitor who started it."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import gradio as gr
import numpy as np

from models.opening.revision import revision
from viz.page import public
from viz.page.callers import watched
from viz.page.interrupt import interruptible
from viz.page.line import PATIENCE, Busy, Stopped, line
from viz.page.progress import Progress, describe_progress
from viz.recipe import Recipe

# Imports inside functions: torch and diffusers are loaded with the first model, after the page is served.
if TYPE_CHECKING:
    from models.pipeline import CritterPipeline
    from viz.trace import Trace

Message = TypeVar("Message")
Result = TypeVar("Result")
Session = str | None  # Gradio's name for one visitor's page; None for a call from Python
OnStep = Callable[[int, "np.ndarray | None"], None]

# A browser holds all Q and K of a trace in memory; this many steps of the bundled model are a download of 22 MB, and of
# 45 MB with both halves of guidance.
BROWSER_STEPS = 25

# While diffusers opens a model, every thread creates tensors without storage, so models are opened one at a time.
# Nor may two threads import diffusers at once (0.42): one of them sees it half initialised.
opening_lock = threading.Lock()

LOADING = "Loading the model…"
MOST_RUNS = 6  # of one session: a run for each viewer, the lesson, a model being opened, and as many that are ending

_bundled: dict[str, CritterPipeline] = {}  # {weights: the pipeline}

# Runs in the background stand in the line, too, but give way: these functions are called before a visitor joins it.
before_visitors: list[Callable[[], None]] = []
_visitors = 0  # who run something or wait for their turn; guarded by `_idle`, which tells when they are gone
_idle = threading.Condition()
BEHIND, FAR_BEHIND = 10, 15  # visitors' runs and those in the background go behind what is answered at once (`nice`)

_stop_events: dict[Session, list[threading.Event]] = {}  # {session: one for each of its runs, set to end the run}
_announced: dict[Session, dict[str, threading.Event]] = {}  # {session: {name of a run that has not begun: its event}}
_for_strip: WeakSet[threading.Event] = WeakSet()  # the events of runs that were announced; the strip shows these


def load_bundled(recipe: Recipe | None = None) -> CritterPipeline:
    """The bundled pipeline with the recipe's weights, or else the latest. Each is loaded once."""
    weights = revision() if recipe is None else recipe.weights
    if weights not in _bundled:  # looked up without the lock, which opening another model may hold for long
        with opening_lock:
            if weights not in _bundled:
                from models import load

                _bundled[weights] = load("critters", revision=weights)
    return _bundled[weights]


def first_progress(recipe: Recipe) -> Progress:
    """The progress strip's value before the first step: what the run waits for."""
    return describe_progress(0, recipe.steps, note="" if recipe.weights in _bundled else LOADING)


def wait_for_bundled(recipe: Recipe, stopped: threading.Event) -> Iterator[Progress]:
    """Load the pipeline that follows a recipe, or wait while it is being loaded; yields the progress.

    Raises:
        Stopped: when `stopped` was set before the end. Loading goes on: the next run needs the model, too.
        Exception: whatever loading raises.
    """
    if recipe.weights in _bundled:
        return
    yield first_progress(recipe)
    for _ in stream_thread(lambda report: load_bundled(recipe), stopped):
        yield first_progress(recipe)


@contextmanager
def hold_model(stopped: threading.Event | None = None) -> Iterator[None]:
    """Wait until no run is in progress, and let none begin in the meantime. Runs in the background give way.

    Raises:
        viz.page.line.Busy: when too many wait.
        Stopped: when `stopped` was set before it began.
    """
    with _as_visitor(), line.turn(stopped):
        yield


@contextmanager
def _as_visitor() -> Iterator[None]:
    global _visitors
    with _idle:
        _visitors += 1
    for give_way in before_visitors:
        give_way()
    try:
        yield
    finally:
        with _idle:
            _visitors -= 1
            _idle.notify_all()


def _step_back(background: bool) -> None:
    """Let other threads go before this one and those that it starts; raises Stopped if it should give way to a visitor.

    A thread cannot step forward again, so this is for threads that end with their run.
    """
    if background and _visitors:
        raise Stopped
    if sys.platform == "linux":  # elsewhere, a thread has no priority of its own
        own = threading.get_native_id()
        steps = FAR_BEHIND if background else BEHIND
        os.setpriority(os.PRIO_PROCESS, own, min(19, os.getpriority(os.PRIO_PROCESS, own) + steps))


def wait_until_idle() -> None:
    """Wait until no visitor runs anything."""
    with _idle:
        _idle.wait_for(lambda: not _visitors)


def announce_run(session: Session, name: str) -> None:
    """Say that a run of this session will begin, so that it can be stopped before it does."""
    announced = _announced.setdefault(session, {})
    announced[name] = event = threading.Event()
    _for_strip.add(event)
    _stop_events.setdefault(session, []).append(event)
    if len(announced) > MOST_RUNS:  # the oldest was refused by Gradio's queue, and never began
        _forget(session, announced.pop(next(iter(announced))))


@contextmanager
def stoppable_run(session: Session, name: str | None = None) -> Iterator[threading.Event]:
    """Begin a run; yields the event that `stop_runs` sets. It is also set on leaving, so that no run is orphaned, and
    when the caller of the present event goes away.

    Args:
        name: that it was announced by, if it was.

    Raises:
        viz.page.line.Busy: when the session has too many runs.
        viz.recipe.RecipeError: on a public page, when it has begun too many within a minute.
    """
    announced = _announced.get(session, {})
    stopped = announced.pop(name, None) if name else None
    if not announced:
        _announced.pop(session, None)
    if stopped is None:
        events = _stop_events.setdefault(session, [])
        if len(events) - len(announced) >= MOST_RUNS:
            raise Busy(f"You have {MOST_RUNS} runs under way already. Stop them, or wait for one of them.")
        events.append(stopped := threading.Event())
    try:
        public.count_run(session)
        with watched(stopped):
            yield stopped
    finally:
        stopped.set()
        _forget(session, stopped)


def another_follows(session: Session) -> bool:
    """Whether a run of the session was announced and has neither ended nor been stopped, such as one begun right after
    Stop: the strip shows it while the stopped run still ends."""
    return any(event in _for_strip and not event.is_set() for event in _stop_events.get(session, ()))


def _forget(session: Session, event: threading.Event) -> None:
    events = _stop_events.get(session, [])
    if event in events:
        events.remove(event)
    if not events:
        _stop_events.pop(session, None)


def stop_runs(request: gr.Request) -> None:
    """Stop all runs of the session: those that have not begun, and the present one before its next layer."""
    _stop(request.session_hash)


def _stop(session: Session) -> None:
    for event in list(_stop_events.get(session, ())):
        event.set()


def leave(session: Session) -> None:
    """Stop all runs of a session whose page was closed, and forget those that never began."""
    _stop(session)
    for event in _announced.pop(session, {}).values():
        _forget(session, event)


def follow_recipe(
    recipe: Recipe,
    pipeline: CritterPipeline,
    stopped: threading.Event,
    *,
    both: bool = False,
    background: bool = False,
) -> Iterator[Progress | Trace]:
    """Follow a recipe; yields the progress after each step and then the trace.

    Args:
        both: record both halves of guidance, where the run has two; by default the conditional one.
        background: as for `run_with_progress`.

    Raises:
        Stopped: when `stopped` was set before the end.
        viz.recipe.RecipeError: for more steps than a public page draws.
    """
    from viz.recording.run import perform

    public.check_steps(recipe)

    def run(on_step: OnStep) -> Trace:
        branch = "both" if both else "conditional"
        with interruptible(pipeline.unet, stopped):
            return perform(recipe, pipeline, on_step=on_step, record_steps=BROWSER_STEPS, branch=branch)

    yield from run_with_progress(run, recipe.steps, stopped, kind=recipe.model, background=background)


def run_with_progress(
    run: Callable[[OnStep], Trace],
    steps: int,
    stopped: threading.Event,
    *,
    kind: str = "",
    background: bool = False,
) -> Iterator[Progress | Trace]:
    """Wait for a turn and call `run(on_step)`; yields the place in the line, the progress of each step, the trace.

    Args:
        kind: the model's name; its runs are expected to take as long for each step as those before.
        background: with low priority, and only while no visitor runs anything.

    Raises:
        Stopped: when `stopped` was set before the end, or a visitor waits for a run in the background.
        viz.page.line.Busy: when too many runs wait.
        Exception: whatever `run` raises.
    """
    latest: np.ndarray | None = None

    def work(report: Callable[[Progress], None]) -> Trace:
        def on_step(step: int, preview: np.ndarray | None) -> None:
            nonlocal latest
            if stopped.is_set():
                raise Stopped
            latest = latest if preview is None else preview
            report(describe_progress(step + 1, steps, latest))

        def tell(sentence: str) -> None:
            report(describe_progress(0, steps, note=sentence))

        turn = line.turn(stopped, kind=kind, units=steps, background=background, tell=tell)
        with nullcontext() if background else _as_visitor(), turn:
            _step_back(background)
            return run(on_step)

    yield from stream_thread(work)


def stream_thread(
    work: Callable[[Callable[[Message], None]], Result], stopped: threading.Event | None = None
) -> Iterator[Message | Result]:
    """Call `work(report)` in a thread; yields each reported message, then the result. Raises what `work` raises.

    Args:
        stopped: once it is set, `work` is not waited for.

    Raises:
        Stopped: when `stopped` was set before `work` ended.
    """
    events: queue.Queue = queue.Queue()

    def call() -> None:
        try:
            events.put(("result", work(lambda message: events.put(("message", message)))))
        except Exception as error:  # raised again in the thread of the caller
            events.put(("error", error))

    # A lent GPU is counted to the visitor whose request the context holds.
    threading.Thread(target=copy_context().run, args=(call,), daemon=True).start()
    while (event := _next_event(events, stopped))[0] == "message":
        yield event[1]
    if event[0] == "error":
        raise event[1]
    yield event[1]


def _next_event(events: queue.Queue, stopped: threading.Event | None) -> tuple[str, Any]:
    """Wait for the next event; raises Stopped once `stopped` is set."""
    while stopped is not None:
        if stopped.is_set():
            raise Stopped
        with suppress(queue.Empty):
            return events.get(timeout=PATIENCE)
    return events.get()
