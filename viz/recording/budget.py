"""Amounts of memory: parsed, formatted for people, and the amount that recordings may take."""

from __future__ import annotations

import os
import re

from pydantic import ByteSize, TypeAdapter

SHARE = 0.25  # of the free memory, if no amount is given
LARGEST = 2**60  # beyond any machine
LONGEST = 40  # characters
_SIZE = TypeAdapter(ByteSize)


def free_memory() -> int:
    """Bytes of memory available to programs."""
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def budget(text: str | None = None) -> int:
    """Bytes that recordings may take.

    Args:
        text: "2GiB", "500 MB", "3e9"; units as in `pydantic.ByteSize`. By default a quarter of the free memory.

    Raises:
        ValueError: if `text` is not an amount of memory.
    """
    if not text:
        return int(free_memory() * SHARE)
    size = _read(text)
    if not 0 < size < LARGEST:
        raise ValueError(f"expected an amount of memory such as 2GiB or 500MB, got {text[:LONGEST]!r}")
    return size


def _read(text: str) -> int:
    """Bytes; 0 if it is not an amount."""
    match = re.fullmatch(r"(\d*\.?\d+)(e\d{1,2})?\s*([kmgtpe]?i?b?)", text.strip(), re.ASCII | re.IGNORECASE)
    if not match or len(text) > LONGEST:
        return 0
    number, exponent, unit = match.groups()
    if exponent:  # ByteSize knows none
        return 0 if unit else int(float(number + exponent))
    try:
        return _SIZE.validate_python(text)
    except ValueError:
        return 0


def amount(size: int) -> str:
    """A number of bytes for people to read: "431 MB", "2.1 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
