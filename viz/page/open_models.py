"""The models that visitors have opened: one each, in a budget of memory. A model itself is in `viz.page.own_model`.

Whoever opens another model closes their own first. If that is not enough, the ones used longest ago are closed, never
one that is running, and their owners are told at the next use. A page that is left loses its model after a while. One
that is loaded again is a new session, which takes the model over by its token.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cachetools import LRUCache

from viz.page import zero
from viz.page.interrupt import interruptible_opening
from viz.page.leaving import is_open
from viz.page.limits import models_limit, resolve_source
from viz.page.line import Stopped
from viz.page.runs import LOADING, Session, opening_lock, stream_thread
from viz.recipe import RecipeError
from viz.recording.budget import amount

if TYPE_CHECKING:
    from viz.page.own_model import OwnModel

HANDOVER = 3.0  # seconds in which a page that is loaded again has left: a proxy may notice it late
AWAY = 300.0  # seconds after which a page that was left loses its model: a phone that was asleep comes back earlier
NOT_OPEN = "No model is open. Open one first."
GONE = "Your model is no longer loaded. Open it again."
MADE_ROOM = "Your model was closed, because another visitor's needed its memory. Open it again."
LEFT = "Your model was closed, because this page was away for long. Open it again."
ELSEWHERE = "Your model is open in another tab. To use one here, open it here, too."


@dataclass(eq=False)
class _Place:
    """A visitor's open model: its bytes, its device, when it was used last, and how many runs use it now.

    The token is known to the page that opened it alone.
    """

    model: OwnModel
    size: int
    device: str
    used: float = field(default_factory=time.monotonic)
    runs: int = 0
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class OpenModels:
    """One open model for each session."""

    def __init__(self) -> None:
        self._places: dict[Session, _Place] = {}
        self._why: LRUCache[Session, str] = LRUCache(1000)  # {session that lost its model: a sentence}
        self._closed: LRUCache[str, str] = LRUCache(1000)  # {token of a model that was closed: a sentence}
        self._leaving: dict[Session, threading.Timer] = {}
        self._guard = threading.RLock()  # of all of these

    def open_model(
        self,
        session: Session,
        name: str,
        upload: str | None,
        dtype: str,
        device: str,
        config: str | None = None,
        stopped: threading.Event | None = None,
    ) -> Iterator[str | OwnModel]:
        """Close the session's model and open another; yields messages about its progress, then the model.

        Args:
            name: a model of the models folder, or a Hugging Face model ID.
            upload: a .safetensors file, to be opened instead of `name`.
            config: for a single file, the model (named as `name` is) that has its configuration and tokenizer.
            stopped: once it is set, no model is opened.

        Raises:
            RecipeError: when it cannot be opened, with the reason, or there is no room for it.
            Stopped: when `stopped` was set before it was open. The thread ends before the next parameter.
        """
        source = resolve_source(name, upload)
        config_source = resolve_source(config) if config and config.strip() else None

        def check() -> None:
            if stopped is not None and stopped.is_set():
                raise Stopped

        def work(report: Callable[[str], None]) -> OwnModel:
            def report_unless_stopped(message: str) -> None:
                check()
                report(message)

            report("Waiting until another model is loaded…" if opening_lock.locked() else LOADING)
            with opening_lock:
                report_unless_stopped(LOADING)
                self._close(session, GONE)
                # Imported here, under the lock: it loads torch and diffusers, and the page is served without them.
                from viz.page.own_model import exact_device, expected_bytes, open_model

                place = exact_device(device)
                if isinstance(source, Path):
                    self._make_room(expected_bytes(source, dtype), place)
                with interruptible_opening(stopped):
                    model = open_model(source, dtype, place, config_source, report_unless_stopped)
                check()
                if zero.is_present():
                    zero.remember(model, open_model, source, dtype, config_source)
                self._keep(session, model, place)
                return model

        yield from stream_thread(work, stopped)

    def _keep(self, session: Session, model: OwnModel, device: str) -> None:
        with self._guard:
            self._make_room(model.size, device, loaded=model.size)
            self._places[session] = _Place(model, model.size, device)
            self._why.pop(session, None)

    def _make_room(self, size: int, device: str, loaded: int = 0) -> None:
        """Close models on that device until one of `size` bytes fits, those used longest ago first.

        Args:
            loaded: bytes of it that are loaded already.

        Raises:
            RecipeError: when it does not fit even so.
        """
        from viz.page.own_model import free_bytes

        with self._guard:
            here = {session: place for session, place in self._places.items() if place.device == device}
            taken = sum(place.size for place in here.values())
            limit = models_limit(free_bytes(device) + taken + loaded)
            idle = sorted((place.used, str(session), session) for session, place in here.items() if not place.runs)
            busy = taken - sum(here[session].size for *_, session in idle)
            if size + busy > limit:
                others = f", of which other visitors' runs take {amount(busy)} now" if busy else ""
                raise RecipeError(
                    f"This model takes {amount(size)}; there are {amount(limit)} for models here{others}. "
                    + ("Please try again in a few minutes." if busy else "Try a lower precision.")
                )
            for *_, session in idle:
                if taken + size <= limit:
                    return
                taken -= here[session].size
                self._close(session, MADE_ROOM)

    def get(self, session: Session, name: str | None) -> OwnModel:
        """The session's open model, provided that it is the one called `name`.

        Raises:
            RecipeError: when it is not, saying why.
        """
        return self._find(session, name).model

    @contextmanager
    def in_use(self, session: Session, name: str | None) -> Iterator[OwnModel]:
        """The same, and it is not closed during this block to make room for another."""
        with self._guard:
            place = self._find(session, name)
            place.runs += 1
        try:
            yield place.model
        finally:
            with self._guard:
                place.runs -= 1
                place.used = time.monotonic()

    def _find(self, session: Session, name: str | None) -> _Place:
        with self._guard:
            place = self._places.get(session)
            if place is None or place.model.name != name:
                raise RecipeError(NOT_OPEN if name is None else self._why.get(session, GONE))
            place.used = time.monotonic()
            self._stay(session)
            return place

    def token(self, session: Session) -> str | None:
        """What the session's page shows to take its model over after a reload; None if none is open."""
        with self._guard:
            place = self._places.get(session)
            return None if place is None else place.token

    def take_over(self, token: str, session: Session) -> OwnModel:
        """The model of that token, which is the session's from now on. It waits until the page that had it has left.

        Raises:
            RecipeError: when it is not open any more, saying why, or that page is still open after `HANDOVER`.
        """
        end = time.monotonic() + HANDOVER
        while self._is_elsewhere(token, session) and time.monotonic() < end:
            time.sleep(0.05)
        with self._guard:
            if self._is_elsewhere(token, session):
                raise RecipeError(ELSEWHERE)
            owner = self._owner(token)
            if owner != session and session in self._places:  # another one was opened in the meantime
                self._close(owner, GONE)
            else:
                self._stay(owner)
                self._places[session] = self._places.pop(owner)
                self._why.pop(session, None)
            place = self._places[session]
            place.used = time.monotonic()
            if session is not None and not is_open(session):  # it was left in the meantime
                self.leave(session)
            return place.model

    def _is_elsewhere(self, token: str, session: Session) -> bool:
        owner = self._owner(token)
        return owner is not None and owner != session and is_open(owner)

    def _owner(self, token: str) -> Session:
        """The session with the model of that token; RecipeError if there is none."""
        with self._guard:
            for session, place in self._places.items():
                if secrets.compare_digest(place.token.encode(), token.encode(errors="replace")):
                    return session
            raise RecipeError(self._closed.get(token, GONE))

    def _close(self, session: Session, why: str) -> None:
        with self._guard:
            self._stay(session)
            if (place := self._places.pop(session, None)) is not None:
                self._why[session] = self._closed[place.token] = why

    def _stay(self, session: Session) -> None:
        if (timer := self._leaving.pop(session, None)) is not None:
            timer.cancel()

    def leave(self, session: Session) -> None:
        """Close the model of a page that was left, unless it comes back soon and uses it."""
        with self._guard:
            self._stay(session)
            if session in self._places:
                timer = self._leaving[session] = threading.Timer(AWAY, self._close, (session, LEFT))
                timer.daemon = True
                timer.start()


open_models = OpenModels()  # of this server
