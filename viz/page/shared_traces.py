"""Traces at an address that several servers use: a bucket, a dataset of the Hub, or whatever else fsspec reaches.

    shared = SharedTraces("s3://bucket/traces")
    path = shared.fetch(key, folder)      # the trace's file, copied into the folder; None if there is none
    shared.send(path)                     # copies a file of the store to the address

Files there have the names that they have in the store, so one that was half sent is noticed. Nothing can be locked at
such an address: two servers that are asked for one recipe at the same moment both run it. What fails there is logged,
and done without.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from viz.recording.budget import amount

LIMIT = 20_000_000_000  # bytes
NAME = re.compile(r"([0-9a-f]{64})-([0-9a-f]{32})\.safetensors")  # what the trace depends on, and a hash of its content


def digest(path: Path) -> str:
    """32 hex digits, a hash of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class SharedTraces:
    """Traces at an address.

    Args:
        address: as fsspec takes it, such as "s3://bucket/traces" or "hf://datasets/me/traces".
        limit: bytes that they may take together; those sent longest ago go first.

    Raises:
        ValueError: if fsspec knows no such address, or lacks a package that it needs for it.
    """

    def __init__(self, address: str, limit: int = LIMIT) -> None:
        from fsspec.core import url_to_fs  # after the page has started, and by those alone who share traces

        self.address = address
        self.limit = limit
        try:
            self._there, self._root = url_to_fs(address, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise ValueError(f"traces cannot be shared at {address!r}: {error}") from None

    def fetch(self, key: str, folder: Path) -> Path | None:
        """Copy the trace of that key into a folder, if there is a whole one.

        Args:
            key: 64 hex digits, with which its name begins.
        """
        with self._survived("read"):
            for name in self._sizes():
                if name.startswith(key) and (path := self._copy(name, folder)) is not None:
                    return path
        return None

    def send(self, path: Path) -> None:
        """Copy a file to the address, unless it is there already, and make room for it."""
        with self._survived("written"):
            self._there.makedirs(self._root, exist_ok=True)
            if self._sizes().get(path.name) != path.stat().st_size:
                self._there.put_file(str(path), self._at(path.name))
            self._make_room(path.name)

    def _copy(self, name: str, folder: Path) -> Path | None:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{name}-{uuid.uuid4().hex}"  # the store sweeps those that are left behind
        try:
            self._there.get_file(self._at(name), str(partial))
            if digest(partial) not in name:
                logging.warning("the trace %s at %s is damaged or not whole", name, self.address)
                return None
            os.replace(partial, folder / name)
            return folder / name
        finally:
            partial.unlink(missing_ok=True)

    def _sizes(self) -> dict[str, int]:
        """The traces there and the bytes that each takes."""
        try:
            listed = self._there.ls(self._root, detail=True)
        except FileNotFoundError:
            return {}
        names = {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in listed}
        return {name: size for name, size in names.items() if NAME.fullmatch(name)}

    def _make_room(self, newest: str) -> None:
        sizes = self._sizes()
        surplus = sum(sizes.values()) - self.limit
        if surplus <= 0:
            return
        for name in sorted(sizes.keys() - {newest}, key=lambda name: self._there.modified(self._at(name))):
            if surplus <= 0:
                return
            with suppress(FileNotFoundError):  # another server was faster
                self._there.rm_file(self._at(name))
            surplus -= sizes[name]
            logging.info("%s is deleted: all traces at %s took over %s", name, self.address, amount(self.limit))

    def _at(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextmanager
    def _survived(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # those of many services
            logging.warning("traces at %s could not be %s: %s", self.address, what, error)
