"""Messages that appear on the page for a few seconds, and errors turned into sentences."""

from __future__ import annotations

import html
import re

import gradio as gr


def warn(text: str) -> None:
    """Show a warning. Gradio renders messages as HTML, and `text` may quote a visitor, so it is escaped."""
    gr.Warning(html.escape(text, quote=False))


def inform(text: str) -> None:
    """Show a message that is no warning, for 6 seconds instead of Gradio's 10; escaped likewise."""
    gr.Info(html.escape(text, quote=False), duration=6)


def as_sentence(error: Exception) -> str:
    """An error's message with a capital and a full stop; a file or model name at its beginning is left as it is."""
    message = str(error)
    if re.match(r"[a-z]+(\s|$)", message):
        message = message[0].upper() + message[1:]
    return message if message.endswith((".", "?", "!")) else message + "."


def without_folders(text: str) -> str:
    """A message without the folders of absolute paths, which are the server's business; files keep their names."""
    return re.sub(r"(?<![\w.:/])/(?:[^\s/'\"()]+/)+", "", text)


def describe_failure(error: Exception) -> str:
    """Why something failed that should not have, in one sentence for the visitor."""
    text = next(iter(str(error).splitlines()), "")
    is_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text  # on a GPU, on a CPU
    if isinstance(error, MemoryError) or is_torch:
        return "there is not enough memory for it now. Choose a smaller size or fewer steps, or try again later."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    text = without_folders(text[:300]) or type(error).__name__
    return text if text.endswith((".", "?", "!")) else f"{text}."
