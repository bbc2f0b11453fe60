"""Recording at Stable Diffusion's size (`make bench-sd`): 1.5's real U-Net with its 860 million weights made at random.

Progress on the way, one JSON object on the last line. A recorded step and a plain one are taken in turns, because
machines are noisy; what is printed is the median of their ratios.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from viz.query import Maps
from viz.view import Pixel

# The public configuration of Stable Diffusion 1.5's U-Net; what is not named is diffusers' default.
SD15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def resident() -> int:
    """Bytes of memory that this process has to itself or has shared, files it mapped left out."""
    with open("/proc/self/status") as file:
        sizes = {line.split(":")[0]: line.split()[1] for line in file if line.startswith(("RssAnon", "RssShmem"))}
    return sum(int(size) * 1024 for size in sizes.values())


class Peak:
    """The most memory that was resident within the `with` block, looked at every few milliseconds."""

    def __enter__(self) -> Peak:
        self.most, self.done = resident(), threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.done.wait(0.005):
            self.most = max(self.most, resident())

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


def self_attention(name: str) -> bool:
    return name.endswith("attn1")


def rows_of(maps: Maps, pixel: Pixel) -> None:
    """The rows of one pixel in every layer and step, as the page's server computes them for a hover."""
    for layer in maps.layers:
        for step in maps.trace.steps:
            maps.one(pixel, layer.name, step)


def main(steps: int, pairs: int) -> dict[str, float]:
    import torch
    from diffusers import UNet2DConditionModel

    import viz
    from viz import Trace, record

    torch.manual_seed(0)
    print("making 860 million random weights")
    unet = UNet2DConditionModel(**SD15).eval()
    sample, words = torch.randn(1, 4, 64, 64), torch.randn(2, 77, 768)
    call = torch.cat([sample, sample]), 500, words
    options = {"layers": self_attention, "dtype": torch.float16}
    planned = viz.plan(unet, *call, steps=steps, **options)

    @torch.no_grad()
    def plain() -> None:
        unet(*call)

    def recorded() -> tuple[float, float]:
        """Seconds of a first step, in which every layer is proved, and of the one after it."""
        with record(unet, **options):
            return seconds(plain), seconds(plain)

    print("warming up")
    plain()
    with Peak() as without:
        for _ in range(steps):
            plain()
    base = without.most
    with Peak() as within, torch.no_grad(), record(unet, **options) as trace:
        for _ in range(steps):
            unet(*call)
    firsts, ratios = [], []
    for i in range(pairs):
        (first, later), without_it = recorded(), seconds(plain)
        firsts.append(first / without_it)
        ratios.append(later / without_it)
        print(f"pair {i + 1} of {pairs}: {ratios[-1]:.3f}, with the proof {firsts[-1]:.3f}")
    with tempfile.TemporaryDirectory() as folder:
        mapped = Trace.load(trace.save(Path(folder) / "sd.safetensors"))
        maps = Maps(mapped)
        places = [Pixel((random.random(), random.random())) for _ in range(10)]
        rows_of(maps, places[0])
        rows = [1000 * seconds(lambda place=place: rows_of(maps, place)) for place in places]
    return {
        "steps": steps,
        "layers": len(trace.layers),
        "recorded_over_plain": round(statistics.median(ratios), 3) if ratios else None,
        "first_step_over_plain": round(statistics.median(firsts), 3) if firsts else None,
        "planned_bytes": planned.total,
        "kept_bytes": trace.kept_bytes,
        "kept_bytes_of_10_steps": round(trace.kept_bytes / steps * 10),
        "peak_over_plain_bytes": within.most - base,
        "peak_over_planned": round((within.most - base) / planned.total, 3),
        "rows_of_a_pixel_ms": round(statistics.median(rows), 1),
        "verified_to": max(trace.verify().values()),
        "proved_to": max(trace.proved.values()),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    print(json.dumps(main(arguments.steps, arguments.pairs)))
