"""The model box of the Explore tab: open your own model, draw with it or record it on a photo."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from viz.page import zero
from viz.page.callers import HEAVY
from viz.page.forecast import describe_cuts, describe_memory, describe_skipped
from viz.page.interrupt import ending_when_left
from viz.page.kept_model import kept_model
from viz.page.line import Stopped
from viz.page.notices import describe_failure, warn
from viz.page.open_models import open_models
from viz.page.progress import ProgressStrip, describe_progress
from viz.page.runs import OnStep, run_with_progress, stoppable_run
from viz.page.tabs.model_box import FIELDS, NO_MASK, NO_PHOTO, ModelBox, Values, show_model
from viz.page.tabs.reloaded_model import bring_back, filled_in
from viz.page.viewer import Viewer, present
from viz.recipe import RecipeError

if TYPE_CHECKING:
    from models.sampling.order import Order
    from viz.page.own_model import OwnModel
    from viz.trace import Trace

PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Handlers:
    """The box's event handlers. Each takes the values of its inputs and returns those of its outputs."""

    box: ModelBox
    viewer: Viewer
    strip: ProgressStrip

    def open_name(self, values: Values, request: gr.Request) -> Iterator[Values]:
        """Open the model that was typed or chosen."""
        yield from self._open(values, values[self.box.name] or "", None, request)

    def open_upload(self, values: Values, request: gr.Request) -> Iterator[Values]:
        """Open the uploaded file."""
        yield from self._open(values, "", values[self.box.upload], request)

    def _open(self, values: Values, name: str, upload: str | None, request: gr.Request) -> Iterator[Values]:
        box = self.box
        closed: Values = {box.settings: gr.Column(visible=False), box.model: None, self.strip: None}
        closed[box.kept] = kept_model(None)
        session = request.session_hash
        dtype, device, config = (values[part] for part in (box.dtype, box.device, box.config))
        try:
            with stoppable_run(session) as stopped:
                for update in open_models.open_model(session, name, upload, dtype, device, config, stopped):
                    if isinstance(update, str):
                        yield {box.status: update, self.strip: describe_progress(0, 1, note=update)}
                    else:
                        kept = kept_model(open_models.token(session))
                        yield {**show_model(box, update), box.kept: kept, self.strip: None}
        except Stopped:
            yield {box.status: "No model open: you stopped it.", **closed}
        except RecipeError as error:
            warn(str(error))
            yield {box.status: str(error), **closed}
        except Exception as error:
            logging.exception("a model could not be opened")
            yield {box.status: f"The model could not be opened: {describe_failure(error)}", **closed}

    def bring_back(self, event: gr.EventData, request: gr.Request) -> Values:
        """Show the model that was open before a reload."""
        return bring_back(self.box, event, request.session_hash)

    def label_photo(self, path: str | None) -> gr.UploadButton:
        """Name the chosen photo on its button."""
        return _label_file(path, NO_PHOTO)

    def label_mask(self, path: str | None) -> gr.UploadButton:
        """Name the chosen mask on its button."""
        return _label_file(path, NO_MASK)

    def forecast(self, values: Values, request: gr.Request) -> Values:
        """Estimate the memory of a run with these settings. It ends when its visitor leaves."""
        box = self.box
        if values[box.model] is None:
            return {box.memory: ""}
        try:
            model = open_models.get(request.session_hash, values[box.model])
            order = self._order(model, values)
            with ending_when_left():
                plan = model.plan_run(order, bool(values[box.both]))
        except Stopped:
            return {box.memory: gr.skip()}
        except ValueError as error:  # RecipeError is one
            return {box.memory: str(error)}
        return {box.memory: describe_memory(plan), **self._show_skipped(plan.skipped)}

    def draw(self, values: Values, request: gr.Request) -> Iterator[Values]:
        """Draw and record."""
        yield from self._run(values, request, draws=True)

    def record_photo(self, values: Values, request: gr.Request) -> Iterator[Values]:
        """Record on the photo."""
        yield from self._run(values, request, draws=False)

    def _run(self, values: Values, request: gr.Request, *, draws: bool) -> Iterator[Values]:
        try:
            with open_models.in_use(request.session_hash, values[self.box.model]) as model:
                yield from self._record(model, values, request, draws=draws)
        except Stopped:
            yield {self.strip: None}
        except ValueError as error:  # RecipeError and PictureError are; a sentence for the visitor
            warn(str(error))
            yield {self.strip: None}
        except Exception as error:
            logging.exception("a run failed")
            warn(f"The run failed: {describe_failure(error)}")
            yield {self.strip: None}

    def _record(self, model: OwnModel, values: Values, request: gr.Request, *, draws: bool) -> Iterator[Values]:
        """The progress of a run, and its trace. Raises whatever the run raises."""
        box = self.box
        sampler, thin, both = values[box.sampler], values[box.thin], bool(values[box.both])
        photo, mask = (Path(values[part]) if values[part] else None for part in (box.photo, box.mask))
        order = self._order(model, values, mask)
        method = "draw" if draws else "record_photo"
        options: dict[str, Any] = {"both": both} if draws else {}
        calls = model.count_calls(order)
        yield {self.strip: describe_progress(0, calls)}

        def run(on_step: OnStep) -> Trace:
            lending: dict[str, Any] = {"calls": calls, "on_step": on_step, "stopped": stopped}
            return zero.run_model(model, method, order, sampler, photo, thin, **lending, **options)

        with stoppable_run(request.session_hash) as stopped:
            for update in run_with_progress(run, calls, stopped, kind=model.name):
                if isinstance(update, dict):
                    yield {self.strip: update}
                else:
                    skipped = self._show_skipped(update.skipped, update.gaps)
                    for sentence in describe_cuts(update.words):
                        warn(sentence)
                    yield {self.viewer: present(update), self.strip: None, **skipped}

    def _order(self, model: OwnModel, values: Values, mask: Path | None = None) -> Order:
        return model.build_order(**{name: values[getattr(self.box, name)] for name in FIELDS}, mask=mask)

    def _show_skipped(self, skipped: dict[str, str], gaps: dict[str, dict[int, str]] | None = None) -> Values:
        text = describe_skipped(skipped, gaps or {})
        return {self.box.skipped: gr.Textbox(text, visible=bool(text))}


def _label_file(path: str | None, label: str) -> gr.UploadButton:
    return gr.UploadButton(f"{Path(path).name[:40]} ✓" if path else label)


def wire(box: ModelBox, viewer: Viewer, strip: ProgressStrip) -> None:
    """Connect the box to the viewer that shows its traces and to the progress strip."""
    handlers = Handlers(box, viewer, strip)
    fields = {box.model, box.both, *(getattr(box, name) for name in FIELDS)}
    forecast: dict[str, Any] = {
        "fn": handlers.forecast,
        "inputs": fields,
        "outputs": {box.memory, box.skipped},
        **PRIVATE,
    }

    opened = {box.status, box.settings, box.model, box.words, box.sampler, box.guidance, box.both}
    opened |= {box.height, box.width, box.mask, box.kept}
    opening: dict[str, Any] = {
        "outputs": opened | {strip},
        "concurrency_id": "open",  # they wait for a lock, with a sentence
        "concurrency_limit": 8,
        **PRIVATE,
    }
    options = {box.dtype, box.device, box.config}
    box.open.click(handlers.open_name, {box.name, *options}, **opening).then(**forecast)
    box.upload.upload(handlers.open_upload, {box.upload, *options}, **opening).then(**forecast)
    again = box.kept.returned(
        handlers.bring_back, None, opened | {box.fold, *filled_in(box)}, concurrency_limit=8, **PRIVATE
    )
    again.then(**forecast)
    resized = [part.change for part in (box.steps, box.height, box.width, box.guidance, box.both)]
    gr.on(resized, trigger_mode="always_last", **forecast)

    box.photo.upload(handlers.label_photo, box.photo, box.photo, **PRIVATE)
    box.mask.upload(handlers.label_mask, box.mask, box.mask, **PRIVATE)

    run: dict[str, Any] = {
        "inputs": fields | {box.sampler, box.photo, box.mask, box.thin},
        "outputs": {viewer, strip, box.skipped},
        **HEAVY,
        **PRIVATE,
    }
    box.draw.click(handlers.draw, **run)
    box.record_photo.click(handlers.record_photo, **run)
