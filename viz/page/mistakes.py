"""Requests that make no sense, or find the disk full: a sentence, where Gradio would answer with a traceback and 500.

Gradio looks components and functions up by the numbers in a request, and takes values for what the page would send.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Any

from gradio.route_utils import FnIndexInferError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

MISTAKES = (
    *(KeyError, IndexError, TypeError, AttributeError, ValueError, AssertionError, OverflowError, RecursionError),
    FnIndexInferError,  # no endpoint of that name
)


def exception_handlers() -> dict[type[Exception], Callable[[Request, Any], Response]]:
    """For `launch(app_kwargs={"exception_handlers": exception_handlers()})`."""
    return {**dict.fromkeys(MISTAKES, _answer), OSError: _answer_disk}


def _answer(request: Request, error: Exception) -> Response:
    """One line in the log, so that a fault of our own is not lost."""
    logging.warning("%s %s was refused: %s", request.method, request.url.path[:100], repr(error)[:300])
    return PlainTextResponse("The request was not understood.\n", 400)


def _answer_disk(request: Request, error: OSError) -> Response:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise error
    logging.error("nothing can be written: %s", error)
    return PlainTextResponse(f"The server could not write the file: {error.strerror}.\n", 507)
