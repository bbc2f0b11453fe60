"""The pages and programs that events come from: how many may wait, and whether those who wait are still there.

Gradio runs an event to its end even if nobody will read the outcome: its page was closed, or a program asked and never
came back for the answer. So runs watch their caller (`watched`), and the queue drops events whose caller reads nothing
(`PageQueue`). It also counts long events and short ones apart, so that neither fills the queue for the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import fastapi
import gradio as gr
from anyio import from_thread
from gradio.context import LocalContext
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Event, Queue
from gradio.server_messages import ProcessCompletedMessage

from viz.page.tool_calls import call_of

# Long events wait in `viz.page.line`, which tells them their place; Gradio lets through a few more than may wait there,
# so that the others are refused with a sentence.
HEAVY: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 24}
THREADS = 80  # more than long events can take
HEAVY_QUEUED, LIGHT_QUEUED, PER_SESSION = 24, 2000, 40

DEAF = 20.0  # seconds without reading a message after which a caller counts as gone
AWAY = "This page was away for long, so what it asked for was not done. Please ask again."
LOOK = 0.5  # seconds between two looks

_watched: dict[threading.Event, Caller] = {}  # {set when the caller is gone}
_waking = threading.Condition()  # guards it


class Caller:
    """Who waits for an event of the queue."""

    def __init__(self, queue: Queue, event: Event) -> None:
        self._queue, self._event = queue, event
        self._call = call_of(event.request)
        self._next: Any = None  # the message that is read next
        self._next_since = 0.0

    def is_gone(self) -> bool:
        """Whether the connection was closed, or nothing has been read from it for long, or a tool was cancelled."""
        if self._call is not None:
            return self._call.gone.is_set()
        if not self._event.alive:
            return True
        messages = self._queue.pending_messages_per_session.get(self._event.session_hash)
        if messages is None:
            return True
        # There may be one at every look, of a run that reports often: what counts is whether it is still the same.
        following = None if messages.empty() else messages._queue[0]
        if following is None or following is not self._next:
            self._next, self._next_since = following, time.monotonic()
        return following is not None and time.monotonic() - self._next_since > DEAF


def session_of(request: gr.Request | None) -> str | None:
    """The session that a request counts for: of tools (`viz.page.tool_calls`), that of whoever calls the tool."""
    call = call_of(request)
    if call is not None:
        return call.session
    return request.session_hash if request is not None else None


def present_caller() -> Caller | None:
    """The caller of the event that this thread works for; None outside of Gradio's queue."""
    page, name = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    if page is None or name is None:
        return None
    event = page._queue.event_ids_to_events.get(name)
    return None if event is None else Caller(page._queue, event)


@contextmanager
def watched(stopped: threading.Event) -> Iterator[None]:
    """Set `stopped` if the present caller goes away during this block."""
    caller = present_caller()
    if caller is None:
        yield
        return
    with _waking:
        if not _watched:
            threading.Thread(target=_watch, daemon=True).start()
        _watched[stopped] = caller
    try:
        yield
    finally:
        with _waking:
            _watched.pop(stopped, None)


def departed(request: fastapi.Request | gr.Request | None) -> Callable[[], bool]:
    """A function that says whether the connection of a request was closed, which it looks up now and then.

    It is for the thread in which Gradio answers the request; elsewhere nobody is ever gone.
    """
    looked, is_gone = time.monotonic(), False

    def look() -> bool:
        nonlocal looked, is_gone
        if request is not None and not is_gone and time.monotonic() - looked > LOOK:
            with suppress(RuntimeError):  # another thread
                is_gone = from_thread.run(request.is_disconnected)
            looked = time.monotonic()
        return is_gone

    return look


def _watch() -> None:
    """Look after the callers until there are none."""
    while True:
        with _waking:
            _waking.wait(LOOK)
            if not _watched:
                return
            for stopped, caller in _watched.items():
                if caller.is_gone():
                    stopped.set()


class PageQueue(Queue):
    """Gradio's queue with a limit for long events, one for short ones, and one for those of a session."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._callers: dict[Event, Caller] = {}  # of those that wait

    async def push(self, body: PredictBodyInternal, request: fastapi.Request, username: str | None) -> Any:
        if problem := self._refusal(body, request):
            return False, problem, "queue_full"
        return await super().push(body, request, username)

    def _refusal(self, body: PredictBodyInternal, request: fastapi.Request) -> str | None:
        """Why an event is not taken, in a sentence; None if it is."""
        waiting = [event for each in self.event_queue_per_concurrency_id.values() for event in each.queue]
        call = call_of(request)
        if call is not None and call.gone.is_set():
            return "This call was cancelled."
        if call is None and sum(event.session_hash == body.session_hash for event in waiting) >= PER_SESSION:
            return "This page has asked for too much at once. Please wait a moment."
        function = self.blocks.fns.get(body.fn_index) if body.fn_index is not None else None
        is_heavy = function is not None and function.concurrency_id == HEAVY["concurrency_id"]
        alike = sum((event.concurrency_id == HEAVY["concurrency_id"]) == is_heavy for event in waiting)
        if alike >= (HEAVY_QUEUED if is_heavy else LIGHT_QUEUED):
            return "Too many visitors are waiting already. Please try again in a minute."
        return None

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The next events to run, without those whose callers have stopped reading."""
        lines = self.event_queue_per_concurrency_id.values()
        self._callers = {e: self._callers.get(e) or Caller(self, e) for each in lines for e in each.queue}
        for each in lines:
            for event in list(each.queue):
                if self._callers[event].is_gone():
                    each.queue.remove(event)
                    self.event_ids_to_events.pop(event._id, None)
                    self._say_goodbye(event)
        return super().get_events()

    def _say_goodbye(self, event: Event) -> None:
        """Leave a sentence for a caller who comes back after all, and would wait for ever."""
        if event.session_hash in self.pending_messages_per_session:
            self.send_message(event, ProcessCompletedMessage(output={"error": AWAY}, success=False))


class Page(gr.Blocks):
    """Blocks with such a queue, which can't be passed by."""

    def queue(self, **options: Any) -> Page:
        """As Gradio's, but without its one limit for all events, and nobody may call functions without queueing."""
        super().queue(**{"api_open": False, **options, "max_size": None})
        plain = self._queue
        self._queue = PageQueue(
            live_updates=plain.live_updates,
            concurrency_count=plain.max_thread_count,
            update_intervals=plain.update_intervals,
            max_size=None,
            blocks=self,
            default_concurrency_limit=plain.default_concurrency_limit,
        )
        return self
