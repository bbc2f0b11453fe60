"""Messages that appear on the page for a few seconds."""

from __future__ import annotations

import html

import gradio as gr


def warn(text: str) -> None:
    """Show a warning. Gradio renders messages as HTML, and `text` may quote a visitor, so it is escaped."""
    gr.Warning(html.escape(text, quote=False))
