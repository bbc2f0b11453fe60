"""A stand-in for the package `spaces` on a ZeroGPU Space: a generator runs in a forked process, which may be met again.

As there: arguments and what is yielded are pickled, an error comes back as the name of its class, and closing the
generator ends it at its next yield.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch

_context = multiprocessing.get_context("fork")
asked: list[float] = []  # seconds of each call
workers: list[Any] = []  # all processes, the newest last


class WorkerError(Exception):
    """What `spaces` makes of any error but a gr.Error."""


def module() -> ModuleType:
    """A fresh stand-in, without processes."""
    asked.clear()
    workers.clear()
    spaces = ModuleType("spaces")
    spaces.GPU = _gpu  # type: ignore[attr-defined]
    return spaces


def end() -> None:
    for process in workers:
        process.kill()
        process.join()


def _gpu(*, duration: Callable[[Any], float]) -> Callable[[Callable], Callable]:
    def decorate(task: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
        idle: list[tuple[Any, Any]] = []

        def lent(argument: Any) -> Iterator[Any]:
            asked.append(duration(argument))
            stop, pipe = idle.pop() if idle else _start(task)
            stop.clear()
            pipe.send(argument)
            try:
                while (answer := pipe.recv())[0] == "yield":
                    yield answer[1]
            except GeneratorExit:
                stop.set()
                while pipe.recv()[0] == "yield":
                    pass
                idle.append((stop, pipe))
                raise
            idle.append((stop, pipe))
            if answer[0] == "error":
                raise WorkerError(answer[1])

        return lent

    return decorate


def _start(task: Callable[[Any], Iterator[Any]]) -> tuple[Any, Any]:
    stop = _context.Event()
    here, there = _context.Pipe()
    process = _context.Process(target=_work, args=(task, stop, there), daemon=True)
    process.start()
    workers.append(process)
    return stop, here


def _work(task: Callable[[Any], Iterator[Any]], stop: Any, pipe: Any) -> None:
    torch.set_num_threads(1)  # OpenMP's threads are not forked
    os.environ["LENT_GPU"] = "1"
    while True:
        updates = task(pipe.recv())
        try:
            for update in updates:
                if stop.is_set():
                    updates.close()  # type: ignore[attr-defined]
                    break
                pipe.send(("yield", update))
            pipe.send(("end", None))
        except Exception as error:
            pipe.send(("error", type(error).__name__))
