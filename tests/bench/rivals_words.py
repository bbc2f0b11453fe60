"""Words, in PixelGaze and in attention-map-diffusers (the second half of `make bench-rivals`).

The network is the one of Stable Diffusion 3 for pictures of 512x512, with two of its 24 blocks and random weights:
32x32 pixels and 333 words (77 of CLIP, 256 of T5) share one softmax: pixels look at words, and words at pixels.
Both keep Q and K, all heads, in half precision, on the CPU. attention-map-diffusers is asked for "image->text" and
"text->image" only, which share what it keeps.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Report, Value
from tests.bench.timing import seconds
from tests.support import rivals
from tests.support.memory import Peak

if TYPE_CHECKING:
    from viz import Trace

# The public configuration of Stable Diffusion 3 Medium's network, but for its size and the number of its blocks.
SD3 = {
    "sample_size": 64,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 2,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
WORDS = 77 + 256
WORD = "5"  # nobody told us the caption, so words are numbered
INDEX = int(WORD) - 1


class Bench:
    """The network, its calls, and both ways of recording them."""

    def __init__(self, config: dict, words: int) -> None:
        import torch
        from diffusers import SD3Transformer2DModel

        torch.manual_seed(0)
        self.network = SD3Transformer2DModel(**config).eval()
        side, channels = config["sample_size"], config["in_channels"]
        sample = torch.randn(1, channels, side, side)
        self.arguments = {  # by name: the other reads no other timestep
            "hidden_states": torch.cat([sample, sample]),
            "encoder_hidden_states": torch.randn(2, words, config["joint_attention_dim"]),
            "pooled_projections": torch.randn(2, config["pooled_projection_dim"]),
        }

    def call(self, step: int = 0) -> None:
        import torch

        with torch.no_grad():
            self.network(**self.arguments, timestep=torch.tensor([900 - step, 900 - step]))

    def ours(self) -> AbstractContextManager[Any]:
        import torch

        from viz import record

        return record(self.network, guided=True, dtype=torch.float16)

    def theirs(self) -> AbstractContextManager[Any]:
        return rivals.captured(self.network, rivals.WORDS, rivals.LOOKS, dtype="float16")

    def record(self, name: str, steps: int) -> tuple[Any, int]:
        """What recording some steps left behind, and the peak of memory."""
        with Peak() as peak, getattr(self, name)() as kept:
            for step in range(steps):
                self.call(step)
        return kept, peak.most


def figures(steps: int, pairs: int, config: dict = SD3, words: int = WORDS) -> dict[str, Value]:
    """{name: {"ours": number, "theirs": number}}, and how far maps agree, one number each."""
    bench = Bench(config, words)
    bench.call()
    found: dict[str, Value] = {"step": step_ratios(bench, pairs)}
    with Peak() as plain:
        for step in range(steps):
            bench.call(step)
    trace, our_peak = bench.record("ours", steps)
    ours = our_seconds(trace)
    capture, their_peak = bench.record("theirs", steps)
    kept = {"ours": trace.kept_bytes / 1e6, "theirs": rivals.kept_bytes(capture) / 1e6}
    theirs, differences = their_seconds(capture, trace)
    found["peak_mb"] = {"ours": (our_peak - plain.most) / 1e6, "theirs": (their_peak - plain.most) / 1e6}
    found["kept_mb"] = kept
    found |= {name: {"ours": ours[name], "theirs": theirs[name]} for name in ours}
    return found | differences


def step_ratios(bench: Bench, pairs: int) -> dict[str, float]:
    """Medians of a second recorded step over a plain one."""
    ratios: dict[str, list[float]] = {"ours": [], "theirs": []}
    for pair in range(pairs):
        plain = seconds(bench.call)
        for name, recorded in ratios.items():
            with getattr(bench, name)():
                bench.call(0)
                recorded.append(seconds(lambda: bench.call(1)) / plain)
        print(f"pair {pair + 1} of {pairs}: {ratios['ours'][-1]:.3f}, {ratios['theirs'][-1]:.3f}", flush=True)
    return {name: statistics.median(each) for name, each in ratios.items()}


def our_seconds(trace: Trace) -> dict[str, float]:
    """Seconds until a word's maps of all layers, heads and steps are there: what is spent on it, what it looks at."""

    def maps() -> None:
        for name in trace.layers:
            for step in trace.steps:
                trace.word_map(name, WORD, step=step)

    def rows() -> None:
        for name in trace.layers:
            for step in trace.steps:
                trace.rows(name, step=step, query=WORD)

    return {"map_s": seconds(maps), "row_s": seconds(rows)}


def their_seconds(capture, trace: Trace) -> tuple[dict[str, float], dict[str, float]]:
    """The same for a capture, and the largest differences from our maps, as shares of our largest weight.

    It computes all maps of a record at once. One record is computed after another and dropped, to bound its memory.
    """
    spent = {rivals.WORDS: 0.0, rivals.LOOKS: 0.0}
    differences = dict.fromkeys(spent, 0.0)
    for record in list(capture.records):
        capture.collector.records[:] = [record]
        spent[record.relation] += seconds(capture.compute)
        maps = capture.collector.records[0].data[-1]  # (H, n, m) of the conditional half
        name, step = rivals.layer_of(record), record.step_index
        if record.relation == rivals.WORDS:
            theirs, ours = maps[..., INDEX], trace.word_map(name, WORD, step=step)
        else:
            theirs, ours = maps[:, INDEX], trace.rows(name, step=step, query=WORD)
        difference = (theirs.float() - ours.flatten(1)).abs().max() / ours.max()
        differences[record.relation] = max(differences[record.relation], difference.item())
    return (
        {"map_s": spent[rivals.WORDS], "row_s": spent[rivals.LOOKS]},
        {"map_agree_to": differences[rivals.WORDS], "row_agree_to": differences[rivals.LOOKS]},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    report = Report("rivals_words")
    report.add_all(figures(arguments.steps, arguments.pairs).items())
    report.write()
