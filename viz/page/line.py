"""The line in front of the model: one run at a time, in the order in which they were asked for.

A pipeline's scheduler keeps state, and two runs at once would take twice as long, so whatever calls a model waits for
its turn. Whoever waits is told how many come first and, once runs of their kinds have been seen, how long they take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from viz.recipe import RecipeError

PATIENCE = 0.1  # seconds between two looks at whether a visitor has pressed Stop
MOST_WAITING = 16
NEWEST = 0.3  # the weight of the newest run in the mean time of its kind


class Stopped(Exception):
    """The visitor stopped the run, or left the page."""


class Busy(RecipeError):
    """Too many runs wait already; the message is a sentence for the visitor."""


@dataclass(eq=False)
class Place:
    """A run in the line: of a kind, such as a model's name, and so many units long, such as steps."""

    kind: str
    units: int
    background: bool = False
    began: float | None = None  # as time.monotonic() counts


class Line:
    """Runs, the first of which has its turn."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self.most = most
        self._places: list[Place] = []
        self._seconds: dict[str, float] = {}  # {kind: of one unit}
        self._moved = threading.Condition()  # guards all of these

    def __len__(self) -> int:
        return len(self._places)

    @contextmanager
    def turn(
        self,
        stopped: threading.Event | None = None,
        *,
        kind: str = "",
        units: int = 1,
        background: bool = False,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> Iterator[None]:
        """Wait for a turn, which lasts as long as the block.

        Args:
            stopped: set to leave the line.
            kind, units: of the run, to estimate how long it takes. A run of no kind is never estimated.
            background: it may be asked to give way, so that nobody is refused because of it.
            tell: called with a sentence whenever the place in the line, or what is known of the time, has changed.

        Raises:
            Busy: when too many wait already.
            Stopped: when `stopped` was set before its turn had come.
        """
        place = self._enter(Place(kind, units, background))
        try:
            self._wait(place, stopped, tell)
            yield
            self._learn(place)
        finally:
            with self._moved:
                self._places.remove(place)
                self._moved.notify_all()

    def _enter(self, place: Place) -> Place:
        with self._moved:
            if not place.background and sum(not other.background for other in self._places) > self.most:
                raise Busy(f"{self.most} runs are waiting for the model already. Please try again in a minute.")
            self._places.append(place)
        return place

    def _wait(self, place: Place, stopped: threading.Event | None, tell: Callable[[str], None]) -> None:
        told = ""
        while True:
            with self._moved:
                if stopped is not None and stopped.is_set():
                    raise Stopped
                ahead = self._places[: self._places.index(place)]
                if not ahead:
                    place.began = time.monotonic()
                    return
                sentence = _describe([each for each in ahead if not each.background], self._seconds)
                if sentence == told:
                    self._moved.wait(PATIENCE)
            if sentence != told:  # told without the lock, because it may take its time
                tell(told := sentence)

    def _learn(self, place: Place) -> None:
        assert place.began is not None
        seconds = (time.monotonic() - place.began) / max(1, place.units)
        with self._moved:
            known = self._seconds.get(place.kind, seconds)
            if place.kind:
                self._seconds[place.kind] = known + NEWEST * (seconds - known)
            while len(self._seconds) > 100:
                del self._seconds[next(iter(self._seconds))]


def _describe(ahead: list[Place], seconds: dict[str, float]) -> str:
    """How many runs come first and, if that is known of all, about how long they take, in steps of 5 seconds."""
    if not ahead:
        return "Your run is next."
    text = "One run comes first" if len(ahead) == 1 else f"{len(ahead)} runs come first"
    if any(place.kind not in seconds for place in ahead):
        return f"{text}."
    now = time.monotonic()
    spent = sum(now - place.began for place in ahead if place.began is not None)
    left = max(1.0, sum(seconds[place.kind] * place.units for place in ahead) - spent)
    if left < 90:
        return f"{text}: about {5 * max(1, round(left / 5))} seconds."
    return f"{text}: about {round(left / 60)} minutes."


line = Line()  # the page's
