"""PixelGaze beside attention-map-diffusers (`make bench-rivals`): one network, one run, both record, in turns.

The network is Stable Diffusion 1.5's U-Net with random weights. Both keep Q and K of all self-attention, all heads, in
half precision, on the CPU; attention-map-diffusers keeps both halves of a guided batch, because it cannot choose.
A table in Markdown at the end, and one JSON object on the last line.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable

from tests.bench.stable_diffusion import SD15, Peak, seconds, self_attention
from tests.support import rivals

ROWS = {
    "step": ("a recorded step over a plain one (median of pairs taken in turns)", "{:.3f}×"),
    "first": ("the first recorded step over a plain one (ours proves every layer in it)", "{:.3f}×"),
    "peak_bytes": ("peak memory over plain runs", "{:,.0f} B"),
    "kept_bytes": ("kept", "{:,.0f} B"),
    "maps_seconds": (
        "one pixel, chosen afterwards: until its maps of all layers, steps and heads are there",
        "{:.3f} s",
    ),
    "one_step_seconds": ("the same of one step", "{:.3f} s"),
}


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

    def ours(self):
        import torch

        from viz import record

        return record(self.unet, layers=self_attention, dtype=torch.float16)

    def theirs(self, **options):
        return rivals.captured(self.unet, dtype="float16", **options)

    def run(self, recording: Callable, steps: int):
        """What a run of some steps left behind, and the peak of its memory."""
        with Peak() as peak, recording() as kept:
            for step in range(steps):
                self.call(step)
        return kept, peak.most

    def times(self, recording: Callable) -> tuple[float, float]:
        """Seconds of a first recorded step and of the one after it."""
        with recording():
            return seconds(lambda: self.call(0)), seconds(lambda: self.call(1))


def main(steps: int, pairs: int, config: dict = SD15, side: int = 64) -> dict:
    bench = Bench(config, side)
    bench.call(0)
    with Peak() as plain:
        for step in range(steps):
            bench.call(step)
    ratios = {"ours": [], "theirs": []}
    for i in range(pairs):
        without = seconds(lambda: bench.call(0))
        for name, found in ratios.items():
            found.append([each / without for each in bench.times(getattr(bench, name))])
        print(f"pair {i + 1} of {pairs}: {ratios['ours'][-1]}, {ratios['theirs'][-1]}")
    figures = {name: _ratio(found) for name, found in ratios.items()}
    trace, peak = bench.run(bench.ours, steps)
    figures["ours"] |= {"peak_bytes": peak - plain.most, "kept_bytes": trace.kept_bytes} | _our_maps(trace)
    capture, peak = bench.run(bench.theirs, steps)
    figures["theirs"] |= {"peak_bytes": peak - plain.most, "kept_bytes": rivals.kept_bytes(capture)}
    agree = {}
    figures["theirs"] |= _their_maps(capture, trace, agree)
    return figures | agree | {"steps": steps, "side": side}


def _ratio(found: list[list[float]]) -> dict[str, float]:
    first, later = (statistics.median(column) for column in zip(*found, strict=True))
    return {"step": later, "first": first}


def _our_maps(trace) -> dict[str, float]:
    def rows(steps: list[int]) -> None:
        for name in trace.layers:
            for step in steps:
                trace.rows(name, step=step, query=trace.cell(name, (20, 20)))

    return {"maps_seconds": seconds(lambda: rows(trace.steps)), "one_step_seconds": seconds(lambda: rows([0]))}


def _their_maps(capture, trace, agree: dict) -> dict[str, float]:
    """It computes all maps of a record at once. So one record is computed after another and let go: all of them, of all
    heads, would take more memory than there is."""
    records, spent = list(capture.records), []
    for record in records:
        capture.collector.records[:] = [record]
        spent.append((record.step_index, seconds(capture.compute)))
        data = capture.collector.records[0].data
        if record.step_index == 0:
            agree["agree_to"] = max(agree.get("agree_to", 0), _difference(trace, record, data))
    first = sum(time for step, time in spent if step == 0)
    return {"maps_seconds": sum(time for _, time in spent), "one_step_seconds": first}


def _difference(trace, record, data) -> float:
    """The largest difference of one pixel's maps, as a share of the largest weight."""
    name = rivals.layer_of(record)
    row, column = trace.cell(name, (20, 20))
    ours = trace.rows(name, step=0, query=(row, column)).flatten(1)
    found = data[-1, :, row * trace.layers[name].grid[1] + column].float()
    return ((found - ours).abs().max() / ours.max()).item()


def table(found: dict) -> str:
    """The figures in Markdown."""
    lines = ["| | PixelGaze | attention-map-diffusers 1.0 |", "|---|---|---|"]
    for key, (words, form) in ROWS.items():
        lines.append(f"| {words} | {form.format(found['ours'][key])} | {form.format(found['theirs'][key])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    figures = main(arguments.steps, arguments.pairs)
    print(table(figures))
    print(json.dumps(figures))
