"""The page's temporary files: a folder for each server, swept while it runs and deleted after it, however it ended.

Gradio forgets the files that events write while they go on, and those of a server that was killed. So each server has a
folder of its own, with a lock that ends with its process; the next one deletes the folders that nobody has locked.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

from filelock import FileLock, Timeout

AGE = 3600  # seconds without use after which a file goes
LIMIT = 2_000_000_000  # bytes of all files; those used longest ago go first
YOUNG = 60  # seconds in which a file is never deleted: it may still be being written, or on its way to a browser
PAUSE = 30  # seconds between two sweeps
_LOCK = "lock"

_kept: dict[Path, frozenset[Path]] = {}  # {folder that is kept swept: files in it that stay}


def open_folder(root: Path | None = None) -> tuple[Path, FileLock]:
    """A new folder for this server, which Gradio uses from now on, and its lock; folders of servers that ended go.

    Call it before any component is made. Keep the lock as long as the server runs.

    Args:
        root: of all servers' folders; by default in $GRADIO_TEMP_DIR, or else in the system's temporary folder.
    """
    root = root or Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()) / f"pixelgaze-{_user()}"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(root / _LOCK):  # so that no server's folder is deleted before it is locked
        for folder in [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]:
            with suppress(Timeout, OSError):
                with FileLock(folder / _LOCK).acquire(timeout=0):
                    pass
                rmtree(folder, ignore_errors=True)
        folder = root / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        lock = FileLock(folder / _LOCK)
        lock.acquire()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder, lock


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "all"


def sweep(folder: Path, kept: frozenset[Path] = frozenset(), *, age: float = AGE, limit: int = LIMIT) -> None:
    """Delete files not used for long, and further ones, used longest ago, until all take no more than the limit.

    Args:
        kept: files that stay, such as those that the page itself shows.
    """
    files = []
    for path in files_in(folder):
        with suppress(OSError):  # it was deleted in the meantime
            if path.is_file() and not path.is_symlink() and path not in kept and path.name != _LOCK:
                about = path.stat()
                files.append((about.st_mtime, about.st_size, path))
    now, total = time.time(), 0
    for used, size, path in sorted(files, reverse=True):
        total += size
        if now - used > age or (total > limit and now - used > YOUNG):
            with suppress(OSError):
                path.unlink()
                total -= size
            with suppress(OSError):  # it has other files
                if path.parent != folder:
                    path.parent.rmdir()


def files_in(folder: Path) -> Iterator[Path]:
    """All files below a folder, from which files and folders may vanish meanwhile; `Path.rglob` would raise."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def taken(folder: Path) -> int:
    """Bytes of all files in a folder."""
    total = 0
    for path in files_in(folder):
        with suppress(OSError):  # it was deleted in the meantime
            total += path.stat().st_size if path.is_file() else 0
    return total


def make_room(folder: Path, limit: int) -> None:
    """Sweep a folder until its files take no more than `limit` bytes, without those that the page itself shows."""
    sweep(folder, _kept.get(folder, frozenset()), limit=limit)


def keep_swept(folder: Path) -> None:
    """Sweep a folder from time to time, in a thread of its own. What is in it now stays."""
    kept = _kept[folder] = frozenset(files_in(folder))

    def work() -> None:
        while True:
            time.sleep(PAUSE)
            try:
                sweep(folder, kept)
            except Exception:
                logging.exception("temporary files could not be deleted")

    threading.Thread(target=work, daemon=True).start()
