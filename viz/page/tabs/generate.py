"""A run of the bundled model on the page: its steps for the progress strip, its trace for the viewer."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

import gradio as gr

from viz.page.notices import warn
from viz.page.runs import Session, Stopped, follow_recipe, load_bundled, stoppable_run, wait_for_bundled
from viz.page.viewer import present
from viz.recipe import Recipe, RecipeError, check_words
from viz.view import View

ONE_HALF = "Guidance of 1 or less is no guidance, so this run has one half only, the conditional one."


def draw_recipe(recipe: Recipe, view: View | None, session: Session, *, both: bool = False) -> Iterator[tuple]:
    """Follow a recipe; yields values for a `Viewer` and a `ProgressStrip`, and warns if the run fails.

    Args:
        view: the view to open the trace with; None keeps the present one.
        session: of the visitor; the run ends when they leave the page.
        both: record both halves of guidance.
    """
    try:
        with stoppable_run(session) as stopped:
            for progress in wait_for_bundled(recipe, stopped):
                yield gr.skip(), progress
            pipeline = load_bundled(recipe)
            for message in check_words(recipe, pipeline):
                warn(message)
            for update in follow_recipe(recipe, pipeline, stopped, both=both):
                if isinstance(update, dict):
                    yield gr.skip(), update
                    continue
                if view is not None:
                    warn_if_missing(view, list(update.layers), update.steps)
                if both and len(update.branches) < 2:
                    warn(ONE_HALF)
                yield present(update, view), None
    except Stopped:
        yield gr.skip(), None
    except RecipeError as error:
        warn(str(error))
        yield gr.skip(), None
    except Exception as error:
        logging.exception("a run failed")
        warn(f"The picture could not be drawn and recorded: {error}")
        yield gr.skip(), None


def warn_if_missing(view: View, layers: Collection[str], steps: Collection[int]) -> None:
    """Warn if a trace lacks the layer or step of a view. The viewer then keeps its present one."""
    missing = [f"the layer “{view.layer[:60]}”"] * (view.layer not in layers)
    missing += [f"step {view.step}"] * (view.step not in steps)
    if missing:
        warn(f"The link asks for {' and '.join(missing)}, which this recording lacks. Another is shown instead.")
