"""What an event carries. Any program can send any event data, so a value is used only once it has been checked.

number = number_in(event, "index", len(things))     # OddEvent, with a sentence, unless it is 0 … len(things) - 1
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from viz.checks import as_whole

NOT_UNDERSTOOD = "The request was not understood. Please reload the page."


class OddEvent(ValueError):
    """An event's data is not what the page sends; the message is one sentence."""

    def __init__(self) -> None:
        super().__init__(NOT_UNDERSTOOD)


def value_in(event: gr.EventData, name: str) -> Any:
    """A value of an event's data, of any kind; None if it has no such value.

    Handlers take `gr.EventData`: its subclasses read the data before a handler could check it.
    """
    try:
        return getattr(event, name)
    except (AttributeError, TypeError, IndexError):  # the data lacks it, or is no object at all
        return None


def number_in(event: gr.EventData, name: str, end: int) -> int:
    """A whole number of an event's data, from 0 to below `end`; raises OddEvent for anything else."""
    number = as_whole(value_in(event, name))
    if type(number) is not int or not 0 <= number < end:
        raise OddEvent
    return number


def path_in(value: object) -> object:
    """The path of the trace that a viewer shows, from its value; raises OddEvent if the value has none."""
    trace = value.get("trace") if isinstance(value, dict) else None
    if not isinstance(trace, dict) or "path" not in trace:
        raise OddEvent
    return trace["path"]
