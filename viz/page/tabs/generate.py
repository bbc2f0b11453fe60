"""Traces of the bundled model on the page: shown at once if they are kept, otherwise drawn and recorded first."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from viz.page.callers import HEAVY
from viz.page.gallery import exhibits
from viz.page.line import Stopped
from viz.page.notices import describe_failure, warn
from viz.page.progress import Progress, ProgressStrip
from viz.page.runs import (
    Session,
    announce_run,
    another_follows,
    first_progress,
    follow_recipe,
    load_bundled,
    stoppable_run,
    wait_for_bundled,
)
from viz.page.store import Kept, store
from viz.page.viewer import Viewer, present_file, viewer_value
from viz.recipe import Recipe, RecipeError, check_words
from viz.trace_header import read_description
from viz.view import View, WordQuery

ONE_HALF = "Guidance of 1 or less is no guidance, so this run has one half only, the conditional one."

Shown = tuple[Any, Any, Any]  # values for a viewer, a progress strip and `wire`'s state


@dataclass(frozen=True)
class Wanted:
    """A trace that a visitor waits for. No two are equal, so that a state that gets another always changes.

    Attributes:
        view: the view to open it with; None keeps the present one.
        both: record both halves of guidance.
    """

    recipe: Recipe
    view: View | None = None
    both: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


def wire(viewer: Viewer, strip: ProgressStrip) -> gr.State:
    """A state in which events put the trace to be drawn for a viewer."""
    pending = gr.State(None)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    pending.change(_draw_pending, pending, [viewer, strip], trigger_mode="multiple", **HEAVY, **quiet)
    return pending


def ask(wanted: Wanted, session: Session) -> Shown:
    """Show a trace at once if it is kept; otherwise put a run into the queue, and show the strip with its Stop."""
    if (shown := show_kept(wanted)) is not None:
        return shown, gr.skip(), gr.skip()
    return _queue(wanted, session)


def ask_whole(recipe: Recipe, view: View | None, session: Session) -> Shown:
    """As `ask`, with all steps even if the project comes with some of them."""
    wanted = Wanted(recipe, view)
    if (path := store.find(recipe)) is not None:
        return _show(path, wanted), gr.skip(), gr.skip()
    return _queue(wanted, session)


def _queue(wanted: Wanted, session: Session) -> Shown:
    announce_run(session, wanted.id)
    return gr.skip(), first_progress(wanted.recipe), wanted


def show_kept(wanted: Wanted) -> dict | None:
    """The viewer's value for a trace that comes with the project or is in the store; None if it must be drawn."""
    recipe, view = wanted.recipe, wanted.view
    for exhibit in exhibits():
        if exhibit.trace is not None and exhibit.recipe == recipe and view is not None:
            description = read_description(exhibit.trace)
            if _holds(description, view):
                _warn_if_missing(view, description)
                return show_part(exhibit.trace, view)
    path = store.find(recipe, both=wanted.both)
    return None if path is None else _show(path, wanted)


def show_part(path: Path, view: View | None = None) -> dict:
    """The viewer's value for the trace of the first exhibit, some of whose steps come with the project."""
    steps = [exhibit.recipe.steps for exhibit in exhibits() if exhibit.trace == path]
    return viewer_value(path, view) | ({"whole": steps[0]} if steps else {})


def _show(path: Path, wanted: Wanted) -> dict:
    description = read_description(path)
    if wanted.view is not None:
        _warn_if_missing(wanted.view, description)
    if wanted.both and len(description["branches"]) < 2:
        warn(ONE_HALF)
    return present_file(path, wanted.view)


def _holds(description: dict, view: View) -> bool:
    """Whether a recorded trace holds what a view shows: its step, its half of guidance and, if it needs them, words."""
    has_step = view.step in [step for step, _ in description["timesteps"]]
    has_branch = not needs_both(view) or len(description["branches"]) > 1
    return has_step and has_branch and (bool(description.get("words")) or not _needs_words(view))


def needs_both(view: View) -> bool:
    """Whether a view shows both halves of guidance."""
    return view.branch not in (None, "conditional")


def _needs_words(view: View) -> bool:
    return bool(view.winner) or any(isinstance(pin, WordQuery) for pin in view.pins or ())


def _draw_pending(wanted: Wanted | None, request: gr.Request) -> Iterator[tuple]:
    if wanted is None:
        yield gr.skip(), gr.skip()
    else:
        yield from draw(wanted, request.session_hash)


def draw(wanted: Wanted, session: Session) -> Iterator[tuple]:
    """Follow a recipe; yields values for a viewer and a progress strip, and warns if the run fails.

    Args:
        session: of the visitor; the run ends when they leave the page, unless others wait for it, too.
    """
    try:
        with stoppable_run(session, wanted.id) as stopped:
            for update in _follow(wanted, stopped):
                if not isinstance(update, Kept):
                    yield gr.skip(), update
                    continue
                if update.problem:
                    warn(update.problem)
                yield _show(update.path, wanted), None
    except Stopped:
        yield gr.skip(), gr.skip() if another_follows(session) else None
    except RecipeError as error:
        warn(str(error))
        yield gr.skip(), None
    except Exception as error:
        logging.exception("a run failed")
        warn(f"The picture could not be drawn and recorded: {describe_failure(error)}")
        yield gr.skip(), None


def _follow(wanted: Wanted, stopped: threading.Event) -> Iterator[Progress | Kept]:
    yield from wait_for_bundled(wanted.recipe, stopped)
    warn_of_words(wanted.recipe)
    yield from follow_kept(wanted.recipe, stopped, both=wanted.both)


def follow_kept(recipe: Recipe, stopped: threading.Event, *, both: bool = False) -> Iterator[Progress | Kept]:
    """The progress of the bundled model's run, and then its file in the store; arguments and errors as there."""
    pipeline = load_bundled(recipe)

    def make(stop: threading.Event) -> Iterator:
        return follow_recipe(recipe, pipeline, stop, both=both)

    yield from store.follow(recipe, make, stopped, both=both)


def warn_of_words(recipe: Recipe) -> None:
    """Warn of words that the model will ignore; RecipeError if it knows none. Waits for the model."""
    for message in check_words(recipe, load_bundled(recipe)):
        warn(message)


def _warn_if_missing(view: View, description: dict) -> None:
    """Warn if a trace lacks the layer or step of a view. The viewer then keeps its present one."""
    layers: Collection[str] = [layer["name"] for layer in description["layers"]]
    missing = [f"the layer “{view.layer[:60]}”"] * (view.layer not in layers)
    missing += [f"step {view.step}"] * (view.step not in [step for step, _ in description["timesteps"]])
    if missing:
        warn(f"The link asks for {' and '.join(missing)}, which this recording lacks. Another is shown instead.")
