"""PixelGaze beside attention-map-diffusers (`make bench-rivals`): one network, one process, recorded alternately.

The network is Stable Diffusion 1.5's U-Net with random weights. Both keep Q and K of all self-attention, all heads, in
half precision, on the CPU; attention-map-diffusers keeps both halves of a guided batch, because it cannot choose.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Report, Value
from tests.bench.stable_diffusion import SD15, self_attention
from tests.bench.timing import seconds
from tests.support import rivals
from tests.support.memory import Peak

if TYPE_CHECKING:
    from viz import Trace

POINT = (20, 20)


class Bench:
    """The network, its calls, and both ways of recording them."""

    def __init__(self, config: dict, side: int) -> None:
        import torch
        from diffusers import UNet2DConditionModel

        torch.manual_seed(0)
        self.unet = UNet2DConditionModel(**config).eval()
        sample = torch.randn(1, 4, side, side)
        self.sample, self.words = torch.cat([sample, sample]), torch.randn(2, 77, 768)

    def call(self, step: int) -> None:
        import torch

        with torch.no_grad():
            self.unet(self.sample, 900 - step, self.words)

    def ours(self) -> AbstractContextManager[Any]:
        import torch

        from viz import record

        return record(self.unet, layers=self_attention, guided=True, dtype=torch.float16)

    def theirs(self) -> AbstractContextManager[Any]:
        return rivals.captured(self.unet, dtype="float16")

    def peak_of_plain_steps(self, steps: int) -> int:
        with Peak() as peak:
            for step in range(steps):
                self.call(step)
        return peak.most

    def record(self, recording: Callable[[], AbstractContextManager[Any]], steps: int) -> tuple[Any, int]:
        """What recording some steps left behind, and the peak of memory."""
        with Peak() as peak, recording() as kept:
            for step in range(steps):
                self.call(step)
        return kept, peak.most

    def first_and_second_step(self, recording: Callable[[], AbstractContextManager[Any]]) -> tuple[float, float]:
        """Seconds of a first recorded step and of the one after it."""
        with recording():
            return seconds(lambda: self.call(0)), seconds(lambda: self.call(1))


def figures(steps: int, pairs: int, config: dict = SD15, side: int = 64) -> dict[str, Value]:
    """{name: {"ours": number, "theirs": number}}, and "agree_to", one number."""
    bench = Bench(config, side)
    bench.call(0)
    found: dict[str, Value] = {**step_ratios(bench, pairs)}
    plain = bench.peak_of_plain_steps(steps)
    trace, our_peak = bench.record(bench.ours, steps)
    ours = our_maps(trace)
    capture, their_peak = bench.record(bench.theirs, steps)
    kept = {"ours": trace.kept_bytes / 1e6, "theirs": rivals.kept_bytes(capture) / 1e6}
    theirs, agree_to = their_maps(capture, trace)
    found["peak_mb"] = {"ours": (our_peak - plain) / 1e6, "theirs": (their_peak - plain) / 1e6}
    found["kept_mb"] = kept
    found |= {name: {"ours": ours[name], "theirs": theirs[name]} for name in ours}
    return found | {"agree_to": agree_to}


def step_ratios(bench: Bench, pairs: int) -> dict[str, dict[str, float]]:
    """Medians of recorded steps over plain ones."""
    ratios: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for pair in range(pairs):
        plain = seconds(lambda: bench.call(0))
        for name, recording in (("ours", bench.ours), ("theirs", bench.theirs)):
            first, second = bench.first_and_second_step(recording)
            ratios[name].append((first / plain, second / plain))
        print(f"pair {pair + 1} of {pairs}: {ratios['ours'][-1]}, {ratios['theirs'][-1]}", flush=True)
    return {
        figure: {name: statistics.median(each[index] for each in pairs) for name, pairs in ratios.items()}
        for index, figure in enumerate(("first", "step"))
    }


def our_maps(trace: Trace) -> dict[str, float]:
    """Seconds until the maps of one pixel are there: of all steps, and of the first one."""

    def rows(steps: list[int]) -> None:
        for name in trace.layers:
            for step in steps:
                trace.rows(name, step=step, query=trace.cell(name, POINT))

    return {"maps_s": seconds(lambda: rows(trace.steps)), "one_step_s": seconds(lambda: rows([0]))}


def their_maps(capture, trace: Trace) -> tuple[dict[str, float], float]:
    """The same for a capture, and the largest difference between its maps and ours.

    It computes all maps of a record at once. All of them, of all heads, would take more memory than most machines
    have, so one record is computed after another and dropped.
    """
    records = list(capture.records)
    all_steps = first_step = difference = 0.0
    for record in records:
        capture.collector.records[:] = [record]
        spent = seconds(capture.compute)
        all_steps += spent
        if record.step_index == 0:
            first_step += spent
            difference = max(difference, largest_difference(trace, record, capture.collector.records[0].data))
    return {"maps_s": all_steps, "one_step_s": first_step}, difference


def largest_difference(trace: Trace, record, maps) -> float:
    """The largest difference of one pixel's maps, as a share of the largest weight."""
    name = rivals.layer_of(record)
    row, column = trace.cell(name, POINT)
    ours = trace.rows(name, step=0, query=(row, column)).flatten(1)
    theirs = maps[-1, :, row * trace.layers[name].grid[1] + column].float()
    return ((theirs - ours).abs().max() / ours.max()).item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    report = Report("rivals")
    report.add_all(figures(arguments.steps, arguments.pairs).items())
    report.write()
