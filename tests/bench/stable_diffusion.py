"""Recording at Stable Diffusion's size (`make bench-sd`): the U-Net of 1.5 with 860 million random weights."""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Report, Value
from tests.bench.timing import seconds
from tests.support.memory import Peak

if TYPE_CHECKING:
    from viz import Trace

# The public configuration of Stable Diffusion 1.5's U-Net where it differs from diffusers' defaults.
SD15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}


def self_attention(name: str) -> bool:
    return name.endswith("attn1")


class Bench:
    """The network, the call that is repeated, and how it is recorded."""

    def __init__(self) -> None:
        import torch
        from diffusers import UNet2DConditionModel

        torch.manual_seed(0)
        print("making 860 million random weights", flush=True)
        self.unet = UNet2DConditionModel(**SD15).eval()
        sample, words = torch.randn(1, 4, 64, 64), torch.randn(2, 77, 768)
        self.arguments = torch.cat([sample, sample]), 500, words
        self.options: dict[str, Any] = {"layers": self_attention, "dtype": torch.float16}

    def call(self, steps: int = 1) -> None:
        import torch

        with torch.no_grad():
            for _ in range(steps):
                self.unet(*self.arguments)

    def planned_bytes(self, steps: int) -> int:
        from viz import plan

        return plan(self.unet, *self.arguments, steps=steps, **self.options).total

    def record(self, steps: int) -> Trace:
        from viz import record

        with record(self.unet, guided=True, **self.options) as trace:
            self.call(steps)
        return trace

    def first_and_second_step(self) -> tuple[float, float]:
        """Seconds of a first recorded step, in which every layer is proved, and of the one after it."""
        from viz import record

        with record(self.unet, guided=True, **self.options):
            return seconds(self.call), seconds(self.call)


def rows_of_a_pixel(trace: Trace) -> float:
    """Median milliseconds for all rows of a pixel, from a trace that is mapped from its file."""
    from viz import Trace

    with tempfile.TemporaryDirectory() as folder:
        mapped = Trace.load(trace.save(Path(folder) / "sd.safetensors"))
        points = [(random.uniform(0, 64), random.uniform(0, 64)) for _ in range(11)]
        mapped.atlas(points[0])
        return 1000 * statistics.median(seconds(partial(mapped.atlas, point)) for point in points[1:])


def figures(steps: int, pairs: int) -> Iterator[tuple[str, Value]]:
    bench = Bench()
    bench.call()
    with Peak() as plain:
        bench.call(steps)
    with Peak() as recorded:
        trace = bench.record(steps)
    yield "kept_10_steps_mb", trace.kept_bytes / steps * 10 / 1e6
    yield "peak_over_planned", (recorded.most - plain.most) / bench.planned_bytes(steps)
    yield "rows_of_a_pixel_ms", rows_of_a_pixel(trace)
    ratios = []
    for _ in range(pairs):
        first, second = bench.first_and_second_step()
        without = seconds(bench.call)
        ratios.append((first / without, second / without))
        print(f"pair {len(ratios)} of {pairs}: first step {ratios[-1][0]:.3f}, second {ratios[-1][1]:.3f}", flush=True)
    yield "first_step_over_plain", statistics.median(first for first, _ in ratios)
    yield "recorded_over_plain", statistics.median(second for _, second in ratios)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    report = Report("stable_diffusion")
    report.add_all(figures(arguments.steps, arguments.pairs))
    report.write()
