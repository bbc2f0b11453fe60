"""A process of its own for maps, so that pointing is never behind a run: a run's threads hold the interpreter's lock.

    maps = MapProcess()
    maps.ask(asked, is_gone)    # None while it starts: then the caller computes the answer itself

The process starts when something is asked, ends after `IDLE` seconds without a question, and with its server. Both
sides send pickled objects through its standard streams: `(number, Asked)`, or `(number, None)` once the page was left,
and back `(number, answer)`.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import IO

from viz.page.line import Stopped
from viz.page.map_answers import MOST_WAITING, Asked, compute
from viz.recording.heap import share_arenas
from viz.view import ViewError

IDLE = 900.0  # seconds
AGAIN = 60.0  # seconds after its end in which it is not started again
SPARE = 8  # threads for those that are told that there is no place
LOOK = 0.5  # seconds between two looks at whether the page was left
LOST = "The map could not be computed: the process that computes maps ended. Please point again."


class MapProcess:
    """The process, as its server sees it. Threads may share it.

    Args:
        idle: seconds without a question after which it ends.
    """

    def __init__(self, idle: float = IDLE) -> None:
        self._idle = idle
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._may_start = 0.0  # from when on, as time.monotonic() counts
        self._replies: dict[int, Future[dict | None]] = {}
        self._numbers = itertools.count()
        self._guard = threading.Lock()  # of all of these
        self._sending = threading.Lock()  # never taken while `_guard` is held: `_read` needs that, and sending may wait

    def ask(self, asked: Asked, is_gone: Callable[[], bool]) -> dict | None:
        """The answer of `viz.page.map_answers.compute`; None if the process is not there yet, or no longer.

        Raises:
            Stopped: when `is_gone()` came true before there was one.
            ViewError: when the process was ended by something else while it computed.
        """
        with self._guard:
            if not self._is_ready:
                self._start()
                return None
            process, number, reply = self._process, next(self._numbers), Future[dict | None]()
            self._replies[number] = reply
        self._send(process, number, asked)
        while True:
            try:
                return reply.result(LOOK)
            except TimeoutError:
                if is_gone():
                    self._send(process, number, None)
                    raise Stopped from None

    def end(self) -> None:
        """End the process, if there is one."""
        with self._guard:
            process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _start(self) -> None:
        if self._process is not None or time.monotonic() < self._may_start:
            return
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        try:
            # A session of its own: Ctrl-C in the terminal is meant for the server, with which this process ends.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "viz.page.map_process", str(self._idle)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError:
            self._may_start = time.monotonic() + AGAIN
            logging.exception("maps are computed by the server itself, since no process could be started for them")
        else:
            threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _send(self, process: subprocess.Popen[bytes] | None, number: int, asked: Asked | None) -> None:
        assert process is not None and process.stdin is not None
        with self._sending, suppress(OSError, ValueError):  # if it has ended, `_read` notices that, too
            _write(process.stdin, (number, asked))

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on the answers of a process until it ends."""
        assert process.stdout is not None
        with suppress(EOFError, OSError, pickle.UnpicklingError):
            while True:
                number, answer = pickle.load(process.stdout)
                with self._guard:
                    self._is_ready = True
                    reply = self._replies.pop(number, None)
                if reply is not None:
                    reply.set_result(answer)
        process.kill()
        is_idle = process.wait() == 0
        with self._guard:
            lost, self._replies = list(self._replies.values()), {}
            self._process, self._is_ready = None, False
            self._may_start = time.monotonic() + (0 if is_idle else AGAIN)
        for reply in lost:
            if is_idle:
                reply.set_result(None)
            else:
                reply.set_exception(ViewError(LOST))


def _write(stream: IO[bytes], message: object) -> None:
    stream.write(pickle.dumps(message))
    stream.flush()


class _Answering:
    """The process, as it sees itself."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes], idle: float) -> None:
        self._requests, self._answers, self._idle = requests, answers, idle
        self._left: dict[int, threading.Event] = {}
        self._used = time.monotonic()
        self._guard = threading.Lock()  # of both
        self._sending = threading.Lock()

    def serve(self) -> None:
        """Answer until the server has ended, or nothing was asked for long."""
        threading.Thread(target=self._watch, daemon=True).start()
        self._send(-1, {})  # it is ready
        with ThreadPoolExecutor(MOST_WAITING + SPARE) as threads:
            while True:
                try:
                    number, asked = pickle.load(self._requests)
                except (EOFError, OSError):
                    os._exit(0)  # without waiting for what is still computed
                with self._guard:
                    self._used = time.monotonic()
                    if asked is not None:
                        self._left[number] = threading.Event()
                    elif number in self._left:
                        self._left[number].set()
                if asked is not None:
                    threads.submit(self._answer, number, asked)

    def _answer(self, number: int, asked: Asked) -> None:
        try:
            answer = compute(asked, self._left[number].is_set)
        except Exception:
            logging.exception("a map could not be computed")
            answer = {"turn": -1, "error": "The map could not be computed."}
        self._send(number, answer)
        with self._guard:
            del self._left[number]
            self._used = time.monotonic()

    def _send(self, number: int, answer: dict) -> None:
        try:
            with self._sending:
                _write(self._answers, (number, answer))
        except OSError:
            os._exit(0)

    def _watch(self) -> None:
        while True:
            time.sleep(self._idle / 10)
            with self._guard:
                if not self._left and time.monotonic() - self._used > self._idle:
                    os._exit(0)


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not be among the answers
    share_arenas()
    import viz.query
    import viz.trace  # noqa: F401  before it says that it is ready

    _Answering(sys.stdin.buffer, answers, float(sys.argv[1])).serve()


if __name__ == "__main__":
    main()
