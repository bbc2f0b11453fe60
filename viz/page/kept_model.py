"""What the tab keeps of a visitor's own model, so that it is open after a reload, which Gradio takes for a new visitor.

That is a token which `viz.page.open_models` made up when the model was opened: whoever shows it gets the model. A
session's name would not do, because it stands in addresses, and so in logs.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from viz.page.script import js_on_load


class KeptModel(gr.HTML):
    """Shows nothing. `kept_model` makes its value.

    Its `returned` event holds what the tab kept: the "token", whether the box was "unfolded", and in "fields" the
    values of its fields by their names.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(
            None,
            html_template="<span></span>",
            js_on_load=js_on_load("startKeptModel", "returned"),
            apply_default_css=False,
            **arguments,
        )

    def api_info(self) -> dict:
        return {"type": "object", "description": "the token of the model that is open"}


def kept_model(token: str | None) -> dict[str, str | None]:
    """The value that makes the tab keep the token of the model that is open, or with None forget the one before."""
    return {"token": token}
