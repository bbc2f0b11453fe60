"""The model box of the Explore tab: open a model of one's own, draw with it or show it a photo, recorded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import gradio as gr

from viz.page.limits import model_names
from viz.page.notices import warn
from viz.page.own_model import (
    PHOTO_STEPS,
    Opened,
    Run,
    calls,
    current,
    draw,
    forecast,
    look,
    masked,
    opening,
    order_of,
    planned,
    skipped_words,
)
from viz.page.progress import ProgressStrip, describe_progress
from viz.page.runs import Stopped, run_with_progress, stoppable_run
from viz.page.viewer import Viewer, present
from viz.recipe import RecipeError

NO_PHOTO, NO_MASK = "Choose a photo …", "Choose a mask (white: drawn anew) …"
PRIVATE = {"show_progress": "hidden", "api_visibility": "private"}
ASKED = ("prompt", "negative", "seed", "steps", "guidance", "height", "width")


@dataclass
class Box:
    """The box's components."""

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
    photo: gr.UploadButton
    mask: gr.UploadButton
    draw: gr.Button
    look: gr.Button
    forecast: gr.Textbox
    thin: gr.Checkbox
    skipped: gr.Textbox
    opened: gr.State

    def asked(self) -> list[gr.components.Component]:
        return [self.opened, *(getattr(self, name) for name in ASKED)]


def lay_out() -> Box:
    """Lay the box out, collapsed."""
    parts: dict = {"opened": gr.State(None)}
    with gr.Accordion("Open a model of your own", open=False, elem_id="model-box"):
        parts |= _opening_row()
        parts["status"] = gr.Textbox(
            "None is open.", label="Model", interactive=False, lines=1, max_lines=4, elem_id="model-status"
        )
        with gr.Column(visible=False, elem_id="model-settings") as settings:
            parts |= {"settings": settings} | _settings()
    return Box(**{field.name: parts[field.name] for field in fields(Box)})


def _opening_row() -> dict:
    known = ", or a name from the models folder" if model_names() else ""
    with gr.Row(equal_height=False, elem_classes="pg-bottom"):
        name = gr.Dropdown(
            model_names(),
            value=None,
            label=f"A Hub id, such as google/ddpm-cifar10-32{known}",
            allow_custom_value=True,
            scale=6,
            min_width=300,
            elem_id="model-name",
        )
        dtype = gr.Dropdown(["float32", "float16", "bfloat16"], label="Precision", scale=1, min_width=130)
        device = gr.Dropdown(["auto", "cpu", "cuda", "mps"], label="Device", scale=1, min_width=130)
        button = gr.Button("Open", variant="primary", scale=1, min_width=100, elem_id="model-open")
        upload = gr.UploadButton(
            "Upload …",
            file_types=[".safetensors"],
            type="filepath",
            scale=1,
            min_width=150,
            elem_id="model-upload",
        )
    config = gr.Dropdown(
        model_names(),
        value=None,
        label=f"For a single file: whose configuration and tokenizer, a Hub id{known} (empty: the usual)",
        allow_custom_value=True,
        elem_id="model-config",
    )
    return {"name": name, "upload": upload, "config": config, "dtype": dtype, "device": device, "open": button}


def _settings() -> dict:
    with gr.Row() as words:
        prompt = gr.Textbox(label="Prompt", scale=2, min_width=280, max_lines=4, elem_id="model-prompt")
        negative = gr.Textbox(label="Negative prompt", scale=1, min_width=200, max_lines=4)
    with gr.Row():
        sampler = gr.Dropdown([], label="Sampler", scale=2, min_width=210, elem_id="model-sampler")
        steps = gr.Number(10, label="Steps", precision=None, min_width=80, elem_id="model-steps")
        guidance = gr.Number(7.5, label="Guidance", step=0.5, min_width=90)
        seed = gr.Number(0, label="Seed", precision=None, min_width=80)
        height = gr.Number(512, label="Height", precision=None, min_width=90)
        width = gr.Number(512, label="Width", precision=None, min_width=90)
    with gr.Row(equal_height=True):
        note = gr.Textbox(
            label="What recording takes",
            interactive=False,
            lines=1,
            max_lines=4,
            scale=4,
            min_width=300,
            elem_id="model-forecast",
        )
        thin = gr.Checkbox(label="Where not all fits, record what does", scale=1, min_width=200)
    with gr.Row(equal_height=True):
        draw = gr.Button("Draw and record", variant="primary", min_width=160, elem_id="model-draw")
        picture = {"file_types": ["image"], "type": "filepath", "variant": "secondary", "min_width": 160}
        photo = gr.UploadButton(NO_PHOTO, elem_id="model-photo", **picture)
        mask = gr.UploadButton(NO_MASK, visible=False, elem_id="model-mask", **picture)
        look = gr.Button(f"Show it the photo, at {PHOTO_STEPS} noise levels", min_width=220, elem_id="model-look")
    skipped = gr.Textbox(
        label="Attention that is not shown, and why",
        interactive=False,
        visible=False,
        max_lines=8,
        elem_id="model-skipped",
    )
    numbers = {"steps": steps, "guidance": guidance, "seed": seed, "height": height, "width": width}
    rest = {
        "photo": photo,
        "mask": mask,
        "draw": draw,
        "look": look,
        "forecast": note,
        "thin": thin,
        "skipped": skipped,
    }
    return {"words": words, "prompt": prompt, "negative": negative, "sampler": sampler} | numbers | rest


def wire(box: Box, viewer: Viewer, live: ProgressStrip) -> None:
    """Connect the box to the viewer that shows its traces and the strip that shows their making."""
    settings = ["status", "settings", "opened", "words", "sampler", "guidance", "height", "width", "mask"]
    opened = [getattr(box, name) for name in settings]
    one, seen = {"concurrency_id": "open", "concurrency_limit": 1}, [box.forecast, box.skipped]
    for event, open_, what in ((box.open.click, _open, box.name), (box.upload.upload, _open_file, box.upload)):
        asked = [what, box.dtype, box.device, box.config]
        event(open_, asked, opened, **one, **PRIVATE).then(_forecast, box.asked(), seen, **PRIVATE)
    box.photo.upload(_chosen, box.photo, box.photo, **PRIVATE)
    box.mask.upload(_chosen, box.mask, box.mask, **PRIVATE)
    changed = [box.steps.change, box.height.change, box.width.change]
    gr.on(changed, _forecast, box.asked(), seen, trigger_mode="always_last", **PRIVATE)
    outputs = [viewer, live, box.skipped]
    model = {"concurrency_id": "model", "concurrency_limit": 1}
    asked = [*box.asked(), box.sampler, box.photo, box.mask, box.thin]
    box.draw.click(_draw, asked, outputs, **model, **PRIVATE)
    box.look.click(_look, asked, outputs, **model, **PRIVATE)


def _open(name: str | None, dtype: str, device: str, config: str | None) -> Iterator[tuple]:
    yield from _opening(name or "", None, dtype, device, config)


def _open_file(upload: str, dtype: str, device: str, config: str | None) -> Iterator[tuple]:
    yield from _opening("", upload, dtype, device, config)


def _opening(name: str, upload: str | None, dtype: str, device: str, config: str | None) -> Iterator[tuple]:
    skip = (gr.skip(),) * 8
    try:
        for news in opening(name, upload, dtype, device, config):
            yield _ready(news, dtype) if isinstance(news, Opened) else (news, *skip)
    except RecipeError as error:
        warn(str(error))
        yield str(error), gr.Column(visible=False), None, *skip[2:]
    except Exception as error:
        logging.exception("a model could not be opened")
        yield f"It could not be opened: {type(error).__name__}.", gr.Column(visible=False), None, *skip[2:]


def _ready(opened: Opened, dtype: str) -> tuple:
    height, width = opened.geometry.own_size
    kind = type(opened.pipeline).__name__
    return (
        f"{opened.name} is open: {kind}, {width}×{height} pixels, {dtype}, on {opened.pipeline.unet.device}.",
        gr.Column(visible=True),
        opened.name,
        gr.Row(visible=opened.prompted),
        gr.Dropdown(opened.samplers, value=opened.samplers[0]),
        gr.Number(visible=opened.prompted),
        height,
        width,
        gr.UploadButton(visible=opened.masked),
    )


def _chosen(photo: str | None) -> gr.UploadButton:
    return gr.UploadButton(f"{Path(photo).name[:40]} ✓" if photo else NO_PHOTO)


def _asked(values: tuple) -> tuple[Opened, object]:
    name, *rest = values
    opened = current(name)
    return opened, order_of(opened, dict(zip(ASKED, rest, strict=True)))


def _forecast(*values: object) -> tuple[str, gr.Textbox]:
    try:
        plan = planned(*_asked(values))
        words = skipped_words(plan)
        return forecast(plan), gr.Textbox(words, visible=bool(words))
    except (RecipeError, ValueError) as error:
        return str(error) if values[0] else "", gr.skip()


def _draw(
    name: str | None,
    prompt: str,
    negative: str,
    seed: float,
    steps: float,
    guidance: float,
    height: float,
    width: float,
    sampler: str,
    photo: str | None,
    mask: str | None,
    thin: bool,
    request: gr.Request,
) -> Iterator[tuple]:
    values = name, prompt, negative, seed, steps, guidance, height, width
    yield from _recorded(values, sampler, photo, mask, thin, draw, request)


def _look(
    name: str | None,
    prompt: str,
    negative: str,
    seed: float,
    steps: float,
    guidance: float,
    height: float,
    width: float,
    sampler: str,
    photo: str | None,
    mask: str | None,
    thin: bool,
    request: gr.Request,
) -> Iterator[tuple]:
    values = name, prompt, negative, seed, steps, guidance, height, width
    yield from _recorded(values, sampler, photo, mask, thin, look, request)


def _recorded(
    values: tuple, sampler: str, photo: str | None, mask: str | None, thin: bool, run: Run, request: gr.Request
) -> Iterator[tuple]:
    try:
        opened, order = _asked(values)
        order = masked(opened, order, Path(mask) if mask else None)
        steps = calls(opened, order)
        yield gr.skip(), describe_progress(0, steps), gr.skip()
        path = Path(photo) if photo else None
        with stoppable_run(request.session_hash) as stopped:
            for news in run_with_progress(
                lambda on_step: run(opened, order, sampler, path, thin, on_step), steps, stopped
            ):
                if isinstance(news, dict):
                    yield gr.skip(), news, gr.skip()
                else:
                    words = skipped_words(news)
                    yield present(news), None, gr.Textbox(words, visible=bool(words))
    except Stopped:
        yield gr.skip(), None, gr.skip()
    except ValueError as error:  # a RecipeError or PictureError among them: a sentence for the reader
        warn(str(error))
        yield gr.skip(), None, gr.skip()
    except Exception as error:
        logging.exception("a run failed")
        warn(f"It could not be drawn and recorded: {error}")
        yield gr.skip(), None, gr.skip()
