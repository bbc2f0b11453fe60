"""Many visitors for minutes, against the real server (`make soak`): what they wait for, and what it costs the server.

Each session opens the page, points, draws, uploads, exports, asks for numbers as programs do, and leaves, some in the
middle of a run; then another begins. In the end the server is killed and started again on the same folders, and must
serve an old link. It writes docs/soak.json, the table of docs/soak.md and the figure docs/soak.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.bench.soak_pages import table, write_pages
from tests.bench.soak_server import Running, running_server
from tests.bench.soak_visitor import Failed, Log, Visitor

LOOK = 2.0  # seconds between two looks at what the server takes
BEAT = 0.05  # seconds between two looks at whether this process is late


async def soak(running: Running, sessions: int, seconds: float) -> dict[str, Any]:
    """Keep so many sessions busy for so long; returns what was seen (see `report`)."""
    log, samples = Log(), []
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=4 * sessions)
    async with httpx.AsyncClient(base_url=running.url, timeout=60, limits=limits) as connection:

        async def visitors(number: int) -> None:
            chance = random.Random(number)
            await asyncio.sleep(chance.uniform(0, min(30, seconds / 4)))  # not all at once
            while time.monotonic() < until:
                await Visitor(connection, log, chance).visit(until)

        async def sample() -> None:
            while time.monotonic() < until:
                samples.append({"at": time.monotonic() - log.began, **await asyncio.to_thread(running.sizes)})
                await asyncio.sleep(LOOK)

        async def beat() -> None:
            while time.monotonic() < until:
                began = time.monotonic()
                await asyncio.sleep(BEAT)
                log.late.append(time.monotonic() - began - BEAT)

        await asyncio.gather(sample(), beat(), *map(visitors, range(sessions)))
    spent = time.monotonic() - log.began
    running.kill()
    running.start()
    await log.time("an old link, after kill −9", lambda: _open_link(running.url, log))
    return report(log, samples, sessions, spent)


async def _open_link(url: str, log: Log) -> None:
    """What opening the page with a link does, on a server that has just been started: no model is needed."""
    if not log.links:
        raise Failed("no run was finished")
    async with httpx.AsyncClient(base_url=url, timeout=60) as connection:
        visitor = Visitor(connection, log, random.Random(0))
        if await visitor.open_link(log.links[0]) is None:
            raise Failed("the link's trace was not in the store")


def report(log: Log, samples: list[dict[str, float]], sessions: int, seconds: float) -> dict[str, Any]:
    """What was seen, as JSON.

    Returns:
        {"sessions", "seconds", "actions": {name: {"count", "per_minute", "p50" and "p95" in seconds, "refused": how
        often the server was too busy}}, "left": runs left halfway, "late": {"p50", "p95"} in seconds, by which this
        process itself was late, which every time above contains; "failures": sentences, "samples": [{"at" in seconds,
        "rss_mb", "threads", "files", "processes", "cache_mb"}], "rss_growth": the median memory of the last quarter
        over that of the second; 1 if it is flat after a warm-up}.
    """
    actions = {}
    for name in sorted(set(log.spent) | set(log.refused)):
        spent = [value for _, value in log.spent.get(name, [])]
        p50, p95 = np.percentile(spent, [50, 95]).tolist() if spent else (None, None)
        rate = 60 * len(spent) / seconds
        actions[name] = {"count": len(spent), "per_minute": rate, "p50": p50, "p95": p95, "refused": log.refused[name]}
    quarters = np.array_split([each["rss_mb"] for each in samples], 4)
    growth = float(np.median(quarters[3]) / np.median(quarters[1]))
    late = dict(zip(("p50", "p95"), np.percentile(log.late or [0], [50, 95]).tolist(), strict=True))
    found = {"sessions": sessions, "seconds": round(seconds), "actions": actions, "left": log.left, "late": late}
    return found | {"failures": log.failures, "samples": samples, "rss_growth": growth}


def run(sessions: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Start a server whose files all lie in a folder, and soak it."""
    with running_server(folder) as running:
        return asyncio.run(soak(running, sessions, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(arguments.sessions, 60 * arguments.minutes, Path(folder))
    print(table(found), *found["failures"][:20], sep="\n")
    write_pages(found)


if __name__ == "__main__":
    main()
