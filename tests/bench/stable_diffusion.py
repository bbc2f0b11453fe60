"""Recording at Stable Diffusion's size (`make bench-sd`): the U-Net of 1.5 with 860 million random weights."""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Report, Value
from tests.bench.timing import alternate, end_step, median_with_interval, seconds
from tests.support.memory import Peak

if TYPE_CHECKING:
    from viz import Trace

Figures = Iterator[tuple[str, Value]]

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

    def plain_run(self, steps: int) -> None:
        """A plain run of `alternate`."""
        for _ in range(steps):
            self.call()
            end_step()

    def recorded_run(self, steps: int, into: Path | None = None) -> None:
        """A recorded run of `alternate`; closing it, and with `into` writing the file, is its last step."""
        from viz import record

        with record(self.unet, guided=True, into=into, **self.options):
            self.plain_run(steps)

    def other(self) -> Bench:
        """The same with a network object of its own, which shares the weights."""
        other = copy.copy(self)
        weights = {id(tensor): tensor for tensor in [*self.unet.parameters(), *self.unet.buffers()]}
        other.unet = copy.deepcopy(self.unet, weights)
        return other


def rows_of_a_pixel(trace: Trace) -> float:
    """Median milliseconds for all rows of a pixel, from a trace that is mapped from its file."""
    from viz import Trace

    with tempfile.TemporaryDirectory() as folder:
        mapped = Trace.load(trace.save(Path(folder) / "sd.safetensors"))
        points = [(random.uniform(0, 64), random.uniform(0, 64)) for _ in range(11)]
        mapped.atlas(points[0])
        return 1000 * statistics.median(seconds(partial(mapped.atlas, point)) for point in points[1:])


def in_memory(bench: Bench, steps: int) -> Figures:
    """What recording takes beside a plain run."""
    with Peak() as plain:
        bench.call(2)
    with Peak() as recorded:
        trace = bench.record(steps)
    yield "kept_10_steps_mb", trace.kept_bytes / steps * 10 / 1e6
    yield "peak_over_planned", (recorded.most - plain.most) / bench.planned_bytes(steps)
    yield "rows_of_a_pixel_ms", rows_of_a_pixel(trace)


def in_turns(bench: Bench, steps: int) -> Figures:
    """What recording costs, from runs that advance alternately, step by step."""
    ways = [partial(each.plain_run, steps) for each in (bench.other(), bench.other())]
    recorded, one, other = alternate([partial(bench.recorded_run, steps), *ways])
    pairs = list(zip(recorded, one, other, strict=False))[:steps]
    ratios = [2 * with_it / (without + again) for with_it, without, again in pairs]
    yield "first_step_over_plain", ratios[0]
    yield "recorded_over_plain", median_with_interval(ratios[1:])
    yield "plain_over_plain", median_with_interval([without / again for _, without, again in pairs[1:]])


def into_a_file(bench: Bench, steps: int) -> Figures:
    """A run that is recorded into a file, beside a plain one that advances with it."""
    with Peak() as plain:
        bench.call(2)
    with tempfile.TemporaryDirectory() as folder, Peak() as recorded:
        file = Path(folder) / "sd.safetensors"
        with_it, without = alternate(
            [partial(bench.recorded_run, steps, file), partial(bench.other().plain_run, steps)]
        )
        kept = file.stat().st_size
    yield "file_kept_mb", kept / 1e6
    yield "file_peak_mb", (recorded.most - plain.most) / 1e6
    yield "file_run_over_plain", sum(with_it) / sum(without)
    ratios = [one / other for one, other in zip(with_it[:steps], without[:steps], strict=True)]
    yield "file_step_over_plain", median_with_interval(ratios)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10, help="of the run in memory")
    parser.add_argument("--turns", type=int, default=10, help="steps of the runs that advance alternately")
    parser.add_argument("--file-steps", type=int, default=50, help="of the run that is recorded into a file")
    arguments = parser.parse_args()
    report, bench = Report("stable_diffusion"), Bench()
    bench.call()
    report.add_all(in_memory(bench, arguments.steps))
    report.add_all(in_turns(bench, arguments.turns))
    report.add_all(into_a_file(bench, arguments.file_steps))
    report.write()
