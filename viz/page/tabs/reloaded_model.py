"""The model box after a reload: the model that was open is open, and its fields are filled in as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from viz.checks import FLOAT_INTEGERS, is_number
from viz.page.events import value_in
from viz.page.kept_model import kept_model
from viz.page.notices import inform
from viz.page.open_models import open_models
from viz.page.runs import Session
from viz.page.tabs.model_box import ModelBox, Values, show_model
from viz.recipe import RecipeError

if TYPE_CHECKING:
    from viz.page.own_model import OwnModel

# viz/web/hosts/kept_model.js reads the fields of these names, each the element "model-" and its name.
TEXTS, NUMBERS = ("prompt", "negative"), ("steps", "guidance", "seed", "height", "width")
CHOICES, TICKS = ("name", "config", "dtype", "device", "sampler"), ("thin", "both")
LONGEST = 10_000  # characters of a text


def filled_in(box: ModelBox) -> list[gr.components.Component]:
    """The components that a reload fills in."""
    return [getattr(box, name) for name in (*TEXTS, *NUMBERS, *CHOICES, *TICKS)]


def bring_back(box: ModelBox, event: gr.EventData, session: Session) -> Values:
    """Show the model whose token the tab kept, with the box as it was; or say once why it is not open any more."""
    token, fields = value_in(event, "token"), value_in(event, "fields")
    try:
        model = open_models.take_over(token if isinstance(token, str) else "", session)
    except RecipeError as error:
        inform(str(error))
        return {box.status: str(error), box.kept: kept_model(None)}
    shown = show_model(box, model, _checked(box, model, fields if isinstance(fields, dict) else {}))
    shown[box.kept] = kept_model(open_models.token(session))
    if value_in(event, "unfolded") is True:
        shown[box.fold] = gr.Accordion(open=True)
    return shown


def _checked(box: ModelBox, model: OwnModel, fields: dict) -> dict[str, Any]:
    """The values of the fields that could have been filled in on the page; the others keep what they begin with."""
    checks = dict.fromkeys(TEXTS, _is_text) | dict.fromkeys(NUMBERS, _is_finite)
    checks |= dict.fromkeys(TICKS, lambda value: isinstance(value, bool))
    checked = {name: fields[name] for name, check in checks.items() if check(fields.get(name))}
    for name in CHOICES:
        value, field = fields.get(name), getattr(box, name)
        offered = model.samplers if name == "sampler" else [choice for _, choice in field.choices]
        if value in offered or (field.allow_custom_value and value and _is_text(value)):
            checked[name] = value
    return checked


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or len(value) > LONGEST:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in value)  # halves of letters, which cannot be sent back


def _is_finite(value: object) -> bool:
    return is_number(value) and abs(value) <= FLOAT_INTEGERS
