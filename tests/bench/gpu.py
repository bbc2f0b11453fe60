"""Recording at Stable Diffusion's size on a CUDA GPU, in half precision: what it costs, and what waiting would cost.

    python -m tests.bench.gpu

The same U-Net with random weights as in `tests.bench.stable_diffusion`. Three kinds of run alternate, in random order:
a plain one, one that is recorded as always, beside the network, and one that is recorded as on a CPU, where every proof
and every copy makes the network wait. As in a pipeline, nothing waits for the GPU between the steps of a run: each is
timed from its second step to the moment when the GPU, and the recording, are done.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from diffusers import UNet2DConditionModel

from tests.bench.figures import Report, Value
from tests.bench.stable_diffusion import SD15, self_attention
from tests.bench.timing import median_with_interval
from viz import record
from viz.recording import deferred
from viz.trace import Trace

STEPS = 25  # of a run
KINDS = "plain", "beside", "waiting"


class Run:
    """One run: seconds of its first step and of each later one, and the peak of memory on the GPU."""

    def __init__(self, unet: UNet2DConditionModel, kind: str, steps: int) -> None:
        sample = torch.randn(1, 4, 64, 64, device="cuda", dtype=unet.dtype)
        words = torch.randn(2, 77, 768, device="cuda", dtype=unet.dtype)
        timesteps = torch.linspace(981, 1, steps, device="cuda").long()
        self.unet, self.arguments, self.timesteps = unet, (torch.cat([sample, sample]), words), timesteps
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        with watching(unet, kind) as self.trace:
            self.first = self._seconds(timesteps[:1])
            start = time.perf_counter()
            self._call(timesteps[1:])
        torch.cuda.synchronize()
        self.later = (time.perf_counter() - start) / (steps - 1)
        self.peak = torch.cuda.max_memory_allocated()

    @torch.no_grad()
    def _call(self, timesteps: torch.Tensor) -> None:
        sample, words = self.arguments
        for timestep in timesteps:
            self.unet(sample, timestep, words)

    def _seconds(self, timesteps: torch.Tensor) -> float:
        start = time.perf_counter()
        self._call(timesteps)
        torch.cuda.synchronize()
        return time.perf_counter() - start


@contextmanager
def watching(unet: UNet2DConditionModel, kind: str) -> Iterator[Trace | None]:
    """Record what is called within the `with` block, as a kind of run does."""
    if kind == "plain":
        yield None
        return
    makes_wait = patch.object(deferred, "runs_behind", lambda device: False)
    with (
        makes_wait if kind == "waiting" else nullcontext(),
        record(unet, guided=True, layers=self_attention) as trace,
    ):
        yield trace


def figures(rounds: int, steps: int) -> Iterator[tuple[str, Value]]:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**SD15).eval().half().cuda()
    for kind in KINDS:
        Run(unet, kind, 3)
    runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        for kind in random.sample(KINDS, len(KINDS)):
            run = Run(unet, kind, steps)
            assert run.trace is None or is_whole(run.trace, steps)
            run.trace = None
            runs[kind].append(run)
        last = ", ".join(f"{kind} {1000 * runs[kind][-1].later:.2f} ms a step" for kind in KINDS)
        print(f"round {number + 1} of {rounds}: {last}", flush=True)
    plain = runs["plain"]
    yield "plain_ms", 1000 * statistics.median(run.later for run in plain)
    for kind in KINDS[1:]:
        ratios = [run.later / other.later for run, other in zip(runs[kind], plain, strict=True)]
        yield f"{kind}_over_plain", median_with_interval(ratios)
    for kind in KINDS[1:]:
        yield f"{kind}_first_ms", 1000 * statistics.median(run.first for run in runs[kind])
        yield f"{kind}_peak_mb", (max(run.peak for run in runs[kind]) - max(run.peak for run in plain)) / 1e6


def is_whole(trace: Trace, steps: int) -> bool:
    """Whether a trace has everything that it should."""
    return len(trace.queries) == len(trace.keys) == 16 * steps and not trace.skipped and not any(trace.gaps.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    report = Report("gpu")
    report.add_all(figures(arguments.rounds, arguments.steps))
    report.write()
