"""The store: traces of the bundled model on disk, shared by all visitors, each found by its recipe.

    path = store.find(recipe)                       # the trace's file, or None
    *news, kept = store.follow(recipe, make, stopped)    # the progress, then the file; one run, however many ask

A file is called by a hash of everything that its trace depends on (`address`) and a hash of its own content, so that a
damaged one is noticed and thrown away, and one that an older program wrote is not found. It is written whole or not at
all, and the one used longest ago goes first when all of them take more than the limit. Other processes may use the same
folder; other machines may share traces (`viz.page.shared_traces`). If nothing can be written there, a trace is kept in
Gradio's cache, as other files of the page are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import queue
import re
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from models.opening.revision import versions
from viz.page.line import PATIENCE, Stopped
from viz.page.progress import Progress
from viz.page.runs import BROWSER_STEPS, before_visitors
from viz.page.shared_traces import NAME, SharedTraces, digest
from viz.page.temporary import save_temporary
from viz.recipe import Recipe
from viz.recording.budget import amount, budget
from viz.trace_description import VERSION

if TYPE_CHECKING:  # torch is imported when a trace is written
    from viz.trace import Trace

FORMAT = 1  # raise it whenever other traces are recorded, or they are written differently, from the same recipe
LIMIT = 2_000_000_000  # bytes
TRACES = "traces"  # a folder of their own, because the page serves all that is in it

Make = Callable[[threading.Event], Iterator["Progress | Trace"]]  # follows a recipe until the event is set


@dataclass(frozen=True)
class Kept:
    """A trace's file. If it could not be put into the store, `problem` is a sentence that says why."""

    path: Path
    problem: str = ""


def default_folder() -> Path:
    """`traces` in $PIXELGAZE_CACHE, or in `pixelgaze` in the user's cache folder."""
    if folder := os.environ.get("PIXELGAZE_CACHE"):
        return Path(folder) / TRACES
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pixelgaze" / TRACES


def address(recipe: Recipe, *, both: bool = False) -> str:
    """64 hex digits: a hash of what the trace of a recipe depends on.

    Args:
        both: whether both halves of guidance are recorded. Without guidance there is one half only.
    """
    numbers = {"guidance": float(recipe.guidance), "both": both and recipe.guidance > 1}
    weights = {"revision": recipe.weights, "versions": versions()}
    form = {"store": FORMAT, "trace": VERSION, "most steps": BROWSER_STEPS}
    return hashlib.sha256(json.dumps(asdict(recipe) | numbers | weights | form, sort_keys=True).encode()).hexdigest()


@dataclass(eq=False)
class _Run:
    """A run. `waiting` has a queue of its news for each who waits, and whether they do so in the background."""

    stopped: threading.Event = field(default_factory=threading.Event)
    waiting: dict[queue.Queue, bool] = field(default_factory=dict)
    latest: Progress | None = None

    @property
    def is_background(self) -> bool:
        return all(self.waiting.values())

    def tell(self, news: Progress | Kept | Exception) -> None:
        if isinstance(news, dict):
            self.latest = news
        for each in list(self.waiting):
            each.put(news)


class Store:
    """Traces in a folder. It is made when something is first written to it.

    Args:
        folder: by default `default_folder()`.
        limit: bytes that they may take together; 0 to keep none.
        shared: where traces that are not in the folder are looked for, and those that are made are sent.
    """

    def __init__(
        self, folder: str | Path | None = None, limit: int = LIMIT, shared: SharedTraces | None = None
    ) -> None:
        self._runs: dict[str, _Run] = {}
        self._guard = threading.Lock()  # of `_runs` and what is in them
        self._whole: dict[Path, int] = {}  # {file whose content was compared with its name: when it was changed, in ns}
        self.configure(folder, limit, shared)

    def configure(
        self, folder: str | Path | None = None, limit: int = LIMIT, shared: SharedTraces | None = None
    ) -> None:
        """Use another folder, limit or address; arguments as for the class."""
        self.folder = (Path(folder) if folder else default_folder()).expanduser().resolve()
        self.limit = limit
        self.shared = shared

    def find(self, recipe: Recipe, *, both: bool = False) -> Path | None:
        """The file of a recipe's trace, if it is kept and whole. Arguments as for `address`."""
        return self._find(address(recipe, both=both))

    def follow(
        self, recipe: Recipe, make: Make, stopped: threading.Event, *, both: bool = False, background: bool = False
    ) -> Generator[Progress | Kept]:
        """Yields the progress of a run and then its file. If the same run is in progress already, joins it.

        Args:
            make: follows the recipe; called as `make(stop)` in a thread of its own.
            stopped: set to leave. The run is stopped when nobody waits for it any more.
            both: as for `address`.
            background: nobody waits for the trace, so another run may stop this one (`stop_background`), and if it
                cannot be kept, it is not written at all.

        Raises:
            Stopped: when `stopped` was set, or the run was stopped in the background.
            Exception: whatever `make` raises; OSError if the trace cannot be written anywhere.
        """
        key = address(recipe, both=both)
        while (path := self._find(key)) is None:
            run, news = self._join(key, make, background)
            try:
                yield from _listen(news, stopped)
                return
            except Stopped:
                if stopped.is_set() or background:
                    raise
                # It was stopped as a background run just before it was joined: begin again.
            finally:
                self._leave(run, news)
        yield Kept(path)

    def stop_background(self) -> None:
        """Stop the runs that nobody waits for."""
        with self._guard:
            for run in self._runs.values():
                if run.is_background:
                    run.stopped.set()

    def sweep(self) -> None:
        """Delete what killed processes have left behind. What others are writing now stays."""
        with suppress(OSError):
            for path in list(self.folder.glob(".*")):
                if (match := re.search(r"[0-9a-f]{64}", path.name)) is not None:
                    with suppress(Timeout, OSError), self._lock(match.group()).acquire(timeout=0):
                        path.unlink(missing_ok=True)
            self._make_room()

    def _join(self, key: str, make: Make, background: bool) -> tuple[_Run, queue.Queue]:
        """The run of that address, begun if there is none, and a queue of its news."""
        with self._guard:
            run = self._runs.get(key)
            news: queue.Queue = queue.Queue()
            is_new = run is None or run.stopped.is_set()
            if is_new:
                run = self._runs[key] = _Run()
            assert run is not None
            run.waiting[news] = background
            if run.latest is not None:
                news.put(run.latest)
        if is_new:
            threading.Thread(target=self._work, args=(key, run, make), daemon=True).start()
        return run, news

    def _leave(self, run: _Run, news: queue.Queue) -> None:
        with self._guard:
            del run.waiting[news]
            if not run.waiting:
                run.stopped.set()

    def _work(self, key: str, run: _Run, make: Make) -> None:
        """Make a trace, unless another process has made it in the meantime, and tell all who wait for it."""
        outcome: Kept | Exception
        try:
            with self._alone(key, run.stopped):
                path = self._find(key)
                outcome = self._make(key, run, make) if path is None else Kept(path)
        except Exception as error:  # raised again in the threads that wait
            outcome = error
        with self._guard:
            if self._runs.get(key) is run:
                del self._runs[key]
            run.tell(outcome)

    def _make(self, key: str, run: _Run, make: Make) -> Kept:
        for update in make(run.stopped):
            if not isinstance(update, dict):
                return self._keep(key, update, run)
            run.tell(update)
        raise RuntimeError("the run ended without a trace")

    @contextmanager
    def _alone(self, key: str, stopped: threading.Event) -> Iterator[None]:
        """Wait until no other process makes this trace. Where files cannot be locked, both of them make it."""
        lock = None
        with suppress(OSError, NotImplementedError):
            while lock is None and self.limit:
                if stopped.is_set():
                    raise Stopped
                with suppress(Timeout):
                    lock = self._lock(key).acquire(timeout=PATIENCE)
        try:
            yield
        finally:
            if lock is not None:
                lock.lock.release()

    def _lock(self, key: str) -> FileLock:
        """One of 256 locks, so that their files need no sweeping; OSError if it cannot be written."""
        path = self.folder / "locks" / f"{key[:2]}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # to be told so: FileLock would wait for ever
        return FileLock(path)

    def _find(self, key: str) -> Path | None:
        """The newest whole file of that address; the others are deleted."""
        for path in sorted(self._files(), key=_used, reverse=True):
            match = NAME.fullmatch(path.name)
            if match is None or match.group(1) != key:
                continue
            with suppress(OSError):  # it is gone, or cannot be read
                if self._whole.get(path) != path.stat().st_mtime_ns and digest(path) != match.group(2):
                    logging.warning("the trace %s is damaged, and is made again", path)
                    path.unlink(missing_ok=True)
                    continue
                with suppress(PermissionError):  # a folder that can only be read
                    os.utime(path)
                self._whole[path] = path.stat().st_mtime_ns
                return path
        fetched = self.shared.fetch(key, self.folder) if self.shared is not None and self.limit else None
        if fetched is not None:
            self._make_room(fetched)
        return fetched

    def _files(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if NAME.fullmatch(path.name)]
        except OSError:
            return []

    def _keep(self, key: str, trace: Trace, run: _Run) -> Kept:
        """Write a trace, in the store if that is possible."""
        from viz.export import for_browser

        small = for_browser(trace)
        problem = ""
        if self.limit:
            try:
                return Kept(self._write(key, small))
            except OSError as error:
                logging.warning("a trace could not be kept in %s: %s", self.folder, error)
                problem = f"This trace could not be kept for next time: {error.strerror or 'it was not written'}."
        if run.is_background:
            raise OSError(problem or "no traces are kept")
        return Kept(save_temporary(small, compact=True), problem)

    def _write(self, key: str, trace: Trace) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{key}"
        try:
            trace.save(partial, compact=True)
            path = self.folder / f"{key}-{digest(partial)}.safetensors"
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        self._whole[path] = path.stat().st_mtime_ns
        self._make_room(path)
        if self.shared is not None:
            threading.Thread(target=self.shared.send, args=(path,), name="share", daemon=True).start()
        return path

    def _make_room(self, newest: Path | None = None) -> None:
        """Delete what was used longest ago until the rest takes no more than the limit; never the newest."""
        total = 0
        for path in sorted(self._files(), key=lambda path: (path == newest, _used(path)), reverse=True):
            with suppress(OSError):
                total += path.stat().st_size
                if total > self.limit and path != newest:
                    path.unlink(missing_ok=True)
                    logging.info("%s is deleted: the store takes %s", path.name, amount(total))


def _listen(news: queue.Queue, stopped: threading.Event) -> Iterator[Progress | Kept]:
    """The news of a run until its file; raises what the run raised."""
    while not stopped.is_set():
        try:
            latest = news.get(timeout=PATIENCE)
        except queue.Empty:
            continue
        if isinstance(latest, Exception):
            raise latest
        yield latest
        if isinstance(latest, Kept):
            return
    raise Stopped


def _used(path: Path) -> float:
    """When a file was used last; long ago if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


store = Store()  # the page's
before_visitors.append(store.stop_background)


def set_cache(folder: str | None, size: str, shared: str | None = None) -> None:
    """Set the page's cache folder, by default as for `default_folder`, and how much it may hold; "0" for nothing.

    Args:
        shared: an address at which traces are shared with other servers, as for `SharedTraces`.

    Raises:
        ValueError: when `size` is not an amount, or there is no such kind of address.
    """
    limit = 0 if size.strip() == "0" else budget(size)
    store.configure(Path(folder) / TRACES if folder else None, limit, SharedTraces(shared) if shared else None)
