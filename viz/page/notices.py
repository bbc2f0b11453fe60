"""A message to the reader that passes by."""

from __future__ import annotations

import html

import gradio as gr


def warn(text: str) -> None:
    """Show a warning. Gradio renders its messages as HTML, and there may be anything in them."""
    gr.Warning(html.escape(text, quote=False))
