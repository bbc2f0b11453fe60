"""The components of the model box, and what they show of an open model. What they do is in `own_model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from viz.page import public
from viz.page.forecast import PHOTO_STEPS
from viz.page.kept_model import KeptModel
from viz.page.limits import offered_names

if TYPE_CHECKING:
    from viz.page.own_model import OwnModel

NO_PHOTO, NO_MASK = "Choose photo…", "Choose mask… (white = repaint)"
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
    """The components of the box. `model` holds the name of the model that this visitor opened, or None; `kept` is what
    the tab keeps of it."""

    model: gr.State
    kept: KeptModel
    fold: gr.Accordion
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
    model, kept = gr.State(None), KeptModel(elem_id="kept-model")
    is_public = public.caps() is not None
    title = "Use another model" if is_public else "Use your own model"
    offered = not is_public or bool(offered_names())  # else every model would be refused
    with gr.Accordion(title, open=False, visible=offered, elem_id="model-box") as fold:
        source = _lay_out_source()
        status = gr.Textbox(
            "No model open.", label="Model", interactive=False, lines=1, max_lines=4, elem_id="model-status"
        )
        with gr.Column(visible=False, elem_id="model-settings") as settings:
            run = _lay_out_fields() | _lay_out_memory() | _lay_out_buttons()
    return ModelBox(model=model, kept=kept, fold=fold, status=status, settings=settings, **source, **run)


def _lay_out_source() -> dict[str, Any]:
    """Lay out the fields for the model to open."""
    names, is_open = offered_names(), public.caps() is None
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
        dtype = gr.Dropdown(
            ["float32", "float16", "bfloat16"], label="Precision", scale=1, min_width=130, elem_id="model-dtype"
        )
        device = gr.Dropdown(
            ["auto", "cpu", "cuda", "mps"], label="Device", scale=1, min_width=130, elem_id="model-device"
        )
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
        negative = gr.Textbox(label="Negative prompt", scale=1, min_width=200, max_lines=4, elem_id="model-negative")
    with gr.Row():
        return {
            "words": words,
            "prompt": prompt,
            "negative": negative,
            "sampler": gr.Dropdown([], label="Sampler", scale=2, min_width=210, elem_id="model-sampler"),
            "steps": gr.Number(10, label="Steps", precision=None, min_width=80, elem_id="model-steps"),
            "guidance": gr.Number(7.5, label="Guidance", step=0.5, min_width=90, elem_id="model-guidance"),
            "seed": gr.Number(0, label="Seed", precision=None, min_width=80, elem_id="model-seed"),
            "height": gr.Number(512, label="Height", precision=None, min_width=90, elem_id="model-height"),
            "width": gr.Number(512, label="Width", precision=None, min_width=90, elem_id="model-width"),
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
        thin = gr.Checkbox(
            label="If it doesn't all fit, record what does", scale=1, min_width=200, elem_id="model-thin"
        )
        both = gr.Checkbox(label="Both halves of guidance", visible=False, scale=1, min_width=200, elem_id="model-both")
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


def show_model(box: ModelBox, model: OwnModel, filled: Mapping[str, Any] | None = None) -> Values:
    """What the box shows of a model that is open.

    Args:
        filled: {name of a field: its value}, of fields that were filled in for this model before.
    """
    filled = dict(filled or {})
    height, width = model.geometry.own_size
    named: dict[str, Any] = {"sampler": model.samplers[0], "height": height, "width": width} | filled

    def given(name: str) -> dict[str, Any]:
        return {"value": filled[name]} if name in filled else {}

    return {getattr(box, name): value for name, value in named.items()} | {
        box.model: model.name,
        box.status: model.description,
        box.settings: gr.Column(visible=True),
        box.words: gr.Row(visible=model.takes_prompt),
        box.sampler: gr.Dropdown(model.samplers, value=named["sampler"]),
        box.guidance: gr.Number(visible=model.takes_prompt, **given("guidance")),
        box.both: gr.Checkbox(visible=model.has_halves, **given("both")),
        box.mask: gr.UploadButton(visible=model.takes_mask),
    }
