"""Timing what is compared: machines are noisy, so both sides run alternately within one process."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from greenlet import getcurrent, greenlet


def seconds(run: Callable[[], object]) -> float:
    """How long one call of `run` takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def alternate(runs: Sequence[Callable[[], object]]) -> list[float]:
    """The seconds that each of several runs takes when they advance together, one step each, in random order.

    A run ends a step by calling `end_step`.
    """
    spent, started = [0.0] * len(runs), [greenlet(run) for run in runs]
    while not all(run.dead for run in started):
        for index in random.sample(range(len(runs)), len(runs)):
            if not started[index].dead:
                spent[index] += seconds(started[index].switch)
    return spent


def end_step() -> None:
    """Let the other runs of `alternate` advance."""
    getcurrent().parent.switch()
