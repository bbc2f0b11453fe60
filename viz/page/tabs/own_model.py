"""The model box of the Explore tab: open your own model, draw with it or record it on a photo."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from viz.page import public, zero
from viz.page.callers import HEAVY
from viz.page.forecast import PHOTO_STEPS, describe_cuts, describe_memory, describe_skipped
from viz.page.limits import model_names
from viz.page.line import Stopped
from viz.page.notices import describe_failure, warn
from viz.page.open_models import open_models
from viz.page.progress import ProgressStrip, describe_progress
from viz.page.runs import OnStep, run_with_progress, stoppable_run
from viz.page.viewer import Viewer, present
from viz.recipe import RecipeError

if TYPE_CHECKING:
    from models.sampling.order import Order
    from viz.page.own_model import OwnModel
    from viz.trace import Trace

NO_PHOTO, NO_MASK = "Choose photo…", "Choose mask… (white = repaint)"
PRIVATE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
FIELDS = (
    "prompt",
    "negative",
    "seed",
    "steps",
    "guidance",
    "height",
    "width",
)  # the parameters of OwnModel.build_order

Values = dict[gr.blocks.Block, Any]  # keyed by component, as Gradio passes them


@dataclass(frozen=True)
class ModelBox:
    """The components of the box. `model` holds the name of the model that this visitor opened, or None."""

    model: gr.State
    name: gr.Dropdown
    upload: gr.UploadButton
    config: gr.Dropdown
    dtype: gr.Dropdown
    device: gr.Dropdown
    open: gr.Button
    status: gr.Textbox
    settings: gr.Column
    words: gr.Row
    prompt: gr.Textbox
    negative: gr.Textbox
    sampler: gr.Dropdown
    steps: gr.Number
    guidance: gr.Number
    seed: gr.Number
    height: gr.Number
    width: gr.Number
    memory: gr.Textbox
    thin: gr.Checkbox
    both: gr.Checkbox
    draw: gr.Button
    photo: gr.UploadButton
    mask: gr.UploadButton
    record_photo: gr.Button
    skipped: gr.Textbox


def lay_out() -> ModelBox:
    """Lay the box out, collapsed."""
    model = gr.State(None)
    is_public = public.caps() is not None
    title = "Use another model" if is_public else "Use your own model"
    offered = not is_public or bool(model_names())  # else every model would be refused
    with gr.Accordion(title, open=False, visible=offered, elem_id="model-box"):
        source = _lay_out_source()
        status = gr.Textbox(
            "No model open.", label="Model", interactive=False, lines=1, max_lines=4, elem_id="model-status"
        )
        with gr.Column(visible=False, elem_id="model-settings") as settings:
            run = _lay_out_fields() | _lay_out_memory() | _lay_out_buttons()
    return ModelBox(model=model, status=status, settings=settings, **source, **run)


def _lay_out_source() -> dict[str, Any]:
    """Lay out the fields for the model to open."""
    names, is_open = model_names(), public.caps() is None
    hint = "Hugging Face model ID (e.g. google/ddpm-cifar10-32)" + " or a model from your folder" * bool(names)
    with gr.Row(equal_height=False, elem_classes="pg-bottom"):
        name = gr.Dropdown(
            names,
            value=None,
            label=hint if is_open else "One of this page's models",
            allow_custom_value=is_open,
            scale=6,
            min_width=300,
            elem_id="model-name",
        )
        dtype = gr.Dropdown(["float32", "float16", "bfloat16"], label="Precision", scale=1, min_width=130)
        device = gr.Dropdown(["auto", "cpu", "cuda", "mps"], label="Device", scale=1, min_width=130)
        button = gr.Button("Open", variant="primary", scale=1, min_width=100, elem_id="model-open")
        upload = gr.UploadButton(
            "Upload…",
            file_types=[".safetensors"],
            type="filepath",
            scale=1,
            min_width=150,
            visible=is_open,
            elem_id="model-upload",
        )
    config = gr.Dropdown(
        names,
        value=None,
        label="Single file only: take config and tokenizer from … (leave empty for the default)",
        allow_custom_value=True,
        visible=is_open,
        elem_id="model-config",
    )
    return {"name": name, "upload": upload, "config": config, "dtype": dtype, "device": device, "open": button}


def _lay_out_fields() -> dict[str, Any]:
    """Lay out the fields for the picture to draw."""
    with gr.Row() as words:
        prompt = gr.Textbox(label="Prompt", scale=2, min_width=280, max_lines=4, elem_id="model-prompt")
        negative = gr.Textbox(label="Negative prompt", scale=1, min_width=200, max_lines=4)
    with gr.Row():
        return {
            "words": words,
            "prompt": prompt,
            "negative": negative,
            "sampler": gr.Dropdown([], label="Sampler", scale=2, min_width=210, elem_id="model-sampler"),
            "steps": gr.Number(10, label="Steps", precision=None, min_width=80, elem_id="model-steps"),
            "guidance": gr.Number(7.5, label="Guidance", step=0.5, min_width=90),
            "seed": gr.Number(0, label="Seed", precision=None, min_width=80),
            "height": gr.Number(512, label="Height", precision=None, min_width=90),
            "width": gr.Number(512, label="Width", precision=None, min_width=90),
        }


def _lay_out_memory() -> dict[str, Any]:
    with gr.Row(equal_height=True):
        memory = gr.Textbox(
            label="Memory needed",
            interactive=False,
            lines=1,
            max_lines=4,
            scale=4,
            min_width=300,
            elem_id="model-forecast",
        )
        thin = gr.Checkbox(label="If it doesn't all fit, record what does", scale=1, min_width=200)
        both = gr.Checkbox(label="Both halves of guidance", visible=False, scale=1, min_width=200)
    return {"memory": memory, "thin": thin, "both": both}


def _lay_out_buttons() -> dict[str, Any]:
    picture: dict[str, Any] = {"file_types": ["image"], "type": "filepath", "variant": "secondary", "min_width": 160}
    with gr.Row(equal_height=True):
        draw = gr.Button("Draw and record", variant="primary", min_width=160, elem_id="model-draw")
        photo = gr.UploadButton(NO_PHOTO, elem_id="model-photo", **picture)
        mask = gr.UploadButton(NO_MASK, visible=False, elem_id="model-mask", **picture)
        record_photo = gr.Button(
            f"Record on this photo ({PHOTO_STEPS} noise levels)", min_width=220, elem_id="model-look"
        )
    skipped = gr.Textbox(
        label="Layers not recorded, and why", interactive=False, visible=False, max_lines=8, elem_id="model-skipped"
    )
    return {"draw": draw, "photo": photo, "mask": mask, "record_photo": record_photo, "skipped": skipped}


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
        session = request.session_hash
        dtype, device, config = (values[part] for part in (box.dtype, box.device, box.config))
        try:
            with stoppable_run(session) as stopped:
                for update in open_models.open_model(session, name, upload, dtype, device, config, stopped):
                    if isinstance(update, str):
                        yield {box.status: update, self.strip: describe_progress(0, 1, note=update)}
                    else:
                        yield {**self._show_model(update), self.strip: None}
        except Stopped:
            yield {box.status: "No model open: you stopped it.", **closed}
        except RecipeError as error:
            warn(str(error))
            yield {box.status: str(error), **closed}
        except Exception as error:
            logging.exception("a model could not be opened")
            yield {box.status: f"The model could not be opened: {describe_failure(error)}", **closed}

    def _show_model(self, model: OwnModel) -> Values:
        box = self.box
        height, width = model.geometry.own_size
        return {
            box.model: model.name,
            box.status: model.description,
            box.settings: gr.Column(visible=True),
            box.words: gr.Row(visible=model.takes_prompt),
            box.sampler: gr.Dropdown(model.samplers, value=model.samplers[0]),
            box.guidance: gr.Number(visible=model.takes_prompt),
            box.both: gr.Checkbox(visible=model.has_halves),
            box.height: height,
            box.width: width,
            box.mask: gr.UploadButton(visible=model.takes_mask),
        }

    def label_photo(self, path: str | None) -> gr.UploadButton:
        """Name the chosen photo on its button."""
        return _label_file(path, NO_PHOTO)

    def label_mask(self, path: str | None) -> gr.UploadButton:
        """Name the chosen mask on its button."""
        return _label_file(path, NO_MASK)

    def forecast(self, values: Values, request: gr.Request) -> Values:
        """Estimate the memory of a run with these settings."""
        box = self.box
        if values[box.model] is None:
            return {box.memory: ""}
        try:
            model = open_models.get(request.session_hash, values[box.model])
            order = self._order(model, values)
            plan = model.plan_run(order, bool(values[box.both]))
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

    opening: dict[str, Any] = {
        "outputs": {box.status, box.settings, box.model, box.words, box.sampler, box.guidance, box.both}
        | {box.height, box.width, box.mask, strip},
        "concurrency_id": "open",  # they wait for a lock, with a sentence
        "concurrency_limit": 8,
        **PRIVATE,
    }
    options = {box.dtype, box.device, box.config}
    box.open.click(handlers.open_name, {box.name, *options}, **opening).then(**forecast)
    box.upload.upload(handlers.open_upload, {box.upload, *options}, **opening).then(**forecast)
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
