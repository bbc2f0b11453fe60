"""A run on the page: its steps for the progress strip, and its trace for the viewer."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import gradio as gr

from viz.live import Stopped, bundled, follow, stoppable
from viz.recipe import Recipe, RecipeError, check_words
from viz.toast import warn
from viz.view import View
from viz.viewer import present


def drawn(recipe: Recipe, view: View | None, session: str) -> Iterator[tuple]:
    """Follow a recipe; yields values for a `Viewer` and a `Live`, and warns where it cannot be followed.

    Args:
        view: what the viewer opens the trace with; None leaves it the view it has.
        session: whose page it is; leaving that page ends the run.
    """
    try:
        with stoppable(session) as stopped:
            pipeline = bundled()
            for message in check_words(recipe, pipeline):
                warn(message)
            for news in follow(recipe, pipeline, stopped):
                yield (gr.skip(), news) if isinstance(news, dict) else (present(news, view), None)
    except Stopped:
        yield gr.skip(), None
    except RecipeError as error:
        warn(str(error))
        yield gr.skip(), None
    except Exception as error:
        logging.exception("a run failed")
        warn(f"The picture could not be drawn and recorded: {error}")
        yield gr.skip(), None
