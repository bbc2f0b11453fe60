"""Timing what is compared: machines are noisy, so both sides run alternately within one process."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence

from greenlet import getcurrent, greenlet


def seconds(run: Callable[[], object]) -> float:
    """How long one call of `run` takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def alternate(runs: Sequence[Callable[[], object]]) -> list[list[float]]:
    """The seconds of each step of several runs that advance together, one step each, in random order.

    A run ends a step by calling `end_step`; what it does after the last is one more.
    """
    spent: list[list[float]] = [[] for _ in runs]
    started = [greenlet(run) for run in runs]
    while not all(run.dead for run in started):
        for index in random.sample(range(len(runs)), len(runs)):
            if not started[index].dead:
                spent[index].append(seconds(started[index].switch))
    return spent


def median_with_interval(numbers: Sequence[float]) -> list[float]:
    """The median, and the 95 % interval of medians of 2,000 samples drawn from the numbers with replacement."""
    generator = random.Random(0)
    medians = sorted(statistics.median(generator.choices(numbers, k=len(numbers))) for _ in range(2000))
    return [statistics.median(numbers), medians[50], medians[-51]]


def end_step() -> None:
    """Let the other runs of `alternate` advance."""
    getcurrent().parent.switch()
