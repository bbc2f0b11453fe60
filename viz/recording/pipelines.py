"""The order of a batch, from the pipeline that calls the network: the nearest one on the call stack that holds it.

A pipeline may say the order itself, in a method `branch_order(pictures)`. For diffusers' own pipelines the order is
written down in `viz.recording.orders`, by the function whose code makes the call: a subclass with a `__call__` of its
own is another function, of which nothing is known. Diffusers is not imported here.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from torch import nn

from viz.recording.caller import Caller
from viz.recording.orders import GUIDER_ORDERS, ORDERS

GUIDER_BATCH = "guider_state_batch"  # the variable of the loop in which diffusers calls a network for a guider
# Frames between the network's call and its caller's: PyTorch's, and the recorder's hooks.
BETWEEN = ("torch.", "viz.recording.", "accelerate.")


def order_by_caller(network: nn.Module, args: tuple, kwargs: dict, batch: int) -> tuple[str, ...] | None:
    """The names of the equal parts of the batch that a network is called with, or None where that is not known.

    To be called while the network runs, from a hook of it.
    """
    arguments = (*args, *kwargs.values())
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith(BETWEEN):
            found, order = _order_of_frame(frame, network, arguments, batch)
            if found:
                return order
        frame = frame.f_back
    return None


def pipeline_calling(network: nn.Module) -> tuple[Any, dict[str, Any]] | None:
    """The pipeline that calls a network, and the local variables of its function that does; None if none does.

    To be called while the network runs, from a hook of it.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith(BETWEEN) and frame.f_code.co_varnames[:1] == ("self",):
            pipeline = frame.f_locals.get("self")
            if _component(pipeline, network) is not None:
                return pipeline, dict(frame.f_locals)
        frame = frame.f_back
    return None


def _order_of_frame(
    frame: FrameType, network: nn.Module, arguments: tuple, batch: int
) -> tuple[bool, tuple[str, ...] | None]:
    """Whether a frame is the one that calls the network for a pipeline, and the order that it gives the batch."""
    code, from_diffusers = frame.f_code, frame.f_globals.get("__name__", "").startswith("diffusers.")
    if from_diffusers and GUIDER_BATCH in code.co_varnames + code.co_cellvars:
        return True, _order_of_guider(frame.f_locals[GUIDER_BATCH])
    if code.co_varnames[:1] != ("self",) or code.co_argcount == 0:
        return False, None
    pipeline: Any = frame.f_locals.get("self")
    component = _component(pipeline, network)
    if component is None:
        return False, None
    if callable(getattr(pipeline, "branch_order", None)):
        return True, pipeline.branch_order(batch)
    rule = ORDERS.get(code.co_qualname) if from_diffusers else None
    if rule is None:
        return True, None
    caller = Caller(pipeline, component, dict(frame.f_locals), arguments, batch)
    order = rule(caller)
    return True, order if order is not None and caller.agrees(order) else None


def _component(pipeline: Any, network: nn.Module) -> str | None:
    """The attribute of a pipeline that is the network, or the compiled form of it."""
    for name, value in getattr(pipeline, "__dict__", {}).items():
        if value is network or (isinstance(value, nn.Module) and getattr(value, "_orig_mod", None) is network):
            return name
    return None


def _order_of_guider(batch: Any) -> tuple[str, ...] | None:
    """Guiders call the network once for each condition, and write on each batch which one it is."""
    name = GUIDER_ORDERS.get(getattr(batch, "__guidance_identifier__", ""))
    return None if name is None else (name,)
