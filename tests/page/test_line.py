"""The line in front of the model: turns in order, places told, estimates from what runs have taken."""

from __future__ import annotations

import threading
import time

import pytest

from viz.page.line import Busy, Line, Stopped


def wait_for(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


class Visitor(threading.Thread):
    """Stands in a line, and notes what it is told; `go` ends its turn."""

    def __init__(self, line: Line, order: list[str], name: str, **arguments) -> None:
        super().__init__(daemon=True)
        self.line, self.order, self.visitor, self.arguments = line, order, name, arguments
        self.stopped, self.go = threading.Event(), threading.Event()
        self.told: list[str] = []
        self.problem: Stopped | Busy | None = None
        places = len(line)
        self.start()
        wait_for(lambda: len(line) > places or self.problem is not None)

    def run(self) -> None:
        try:
            with self.line.turn(self.stopped, tell=self.told.append, **self.arguments):
                self.order.append(self.visitor)
                assert self.go.wait(timeout=20)
        except (Stopped, Busy) as error:
            self.problem = error


def test_turns_come_in_order_one_at_a_time_and_places_are_told():
    line, order = Line(), []
    visitors = [Visitor(line, order, name) for name in "abc"]
    for number, visitor in enumerate(visitors):
        wait_for(lambda number=number: len(order) == number + 1)
        time.sleep(0.05)
        assert len(order) == number + 1
        visitor.go.set()
    for visitor in visitors:
        visitor.join(timeout=10)
    assert order == ["a", "b", "c"]
    assert [visitor.told for visitor in visitors] == [
        [],
        ["One run comes first."],
        ["2 runs come first.", "One run comes first."],
    ]


def test_leaving_the_line_moves_the_others_up():
    line, order = Line(), []
    first, second, third = (Visitor(line, order, name) for name in "abc")
    second.stopped.set()
    second.join(timeout=10)
    assert isinstance(second.problem, Stopped)
    wait_for(lambda: third.told[-1] == "One run comes first.")
    first.go.set(), third.go.set()
    third.join(timeout=10)
    assert order == ["a", "c"]


def test_too_many_are_refused_but_never_because_of_the_background():
    line, order = Line(most=2), []
    visitors = [Visitor(line, order, "background", background=True)]
    visitors += [Visitor(line, order, str(number)) for number in range(3)]
    assert [visitor.problem for visitor in visitors] == [None] * 4
    with pytest.raises(Busy, match="2 runs are waiting"), line.turn():
        pass
    for visitor in visitors:
        visitor.go.set()
        visitor.join(timeout=10)
    with line.turn():
        pass


def test_error_in_a_turn_ends_it():
    line = Line()
    with pytest.raises(ZeroDivisionError), line.turn(kind="a"):
        _ = 1 / 0
    with line.turn():
        assert len(line) == 1


def test_wait_is_estimated_from_the_runs_before(monkeypatch):
    now = 0.0
    monkeypatch.setattr("viz.page.line.time.monotonic", lambda: now)
    line = Line()
    for kind, units, seconds in (("critters", 25, 50), ("mine", 10, 100)):
        with line.turn(kind=kind, units=units):
            now += seconds
    told: list[str] = []

    def ask(**arguments) -> str:
        """What one is told who joins now."""
        stopped = threading.Event()

        def hear(text: str) -> None:
            told.append(text)
            stopped.set()

        with pytest.raises(Stopped), line.turn(stopped, tell=hear):
            pass
        return told[-1]

    with line.turn(kind="critters", units=10):  # 2 seconds for each step
        assert ask() == "One run comes first: about 20 seconds."
        now += 15
        assert ask() == "One run comes first: about 5 seconds."
        now += 500
        assert ask() == "One run comes first: about 5 seconds."  # it must end sometime
    with line.turn(kind="mine", units=30):
        assert ask() == "One run comes first: about 5 minutes."
    with line.turn(kind="unknown", units=30):
        assert ask() == "One run comes first."
