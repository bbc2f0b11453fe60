"""Amounts of memory: what recordings may take, and how that is said."""

from __future__ import annotations

import os

SHARE = 0.25  # of the free memory, where nobody says how much may be used


def free_memory() -> int:
    """Bytes of memory that programs can still have."""
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def budget(asked: str | None = None) -> int:
    """Bytes that recordings may take: "2GiB", "500 MB", "3e9", or a quarter of the free memory.

    Raises:
        ValueError: when it is not an amount of memory.
    """
    if not asked:
        return int(free_memory() * SHARE)
    text = asked.strip().lower().replace(" ", "")
    units = {"gib": 2**30, "gb": 10**9, "g": 2**30, "mib": 2**20, "mb": 10**6, "m": 2**20, "": 1}
    digits = text.rstrip("gimb")
    try:
        found = float(digits) * units[text[len(digits) :]]
    except (ValueError, KeyError):
        found = -1
    if not 0 < found < 2**60:
        raise ValueError(f"expected an amount of memory such as 2GiB or 500MB, got {asked[:40]!r}")
    return int(found)


def amount(size: int) -> str:
    """Bytes for people: "431 MB", "2.1 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
