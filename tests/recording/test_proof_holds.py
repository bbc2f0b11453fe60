"""What is recorded equals the oracle, or it is named with a reason: for attention networks made at random.

python -m tests.recording.test_proof_holds --seeds 10000 [--first 0]     # prints counts, and every fault
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch

from tests.support import judge as judging
from tests.support.judge import Judgement, judge
from tests.support.modules import Plan, draw
from tests.support.oracle import Oracle

SEEDS, QUICK = 320, 80  # the first of them also in the quick tests
PER_TEST = 40


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=() if first < QUICK else pytest.mark.slow) for first in range(0, SEEDS, PER_TEST)],
)
def test_recorded_weights_equal_the_oracle_or_the_layer_is_named(first):
    verdicts = [judge(draw(seed)) for seed in range(first, first + PER_TEST)]
    faults = [f"seed {verdict.seed}: {fault}" for verdict in verdicts for fault in verdict.faults]
    assert not faults, "\n".join(faults)
    assert sum(verdict.recorded for verdict in verdicts) > PER_TEST


PLAIN = Plan(seed=3, family="separate", batch=2, steps=3)
FAMILIES = ["separate", "query", "q_proj", "packed", "convolution", "multihead", "diffusers"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("flatten", ["rows", "columns"])
def test_plain_module_is_recorded_at_every_step(family, flatten):
    verdict = judge(replace(PLAIN, family=family, flatten=flatten))
    assert not verdict.faults and not verdict.skipped and not verdict.gaps
    assert verdict.recorded >= 3 and verdict.worst < judging.TOLERANCE


# -- self or cross ----------------------------------------------------------------------------------------------------

WAYS = {
    "each": {"norm": "each"},
    "positions": {"positions": True},
    "copies": {"copies": True},
    "both": {"positions": True, "copies": True},
    "functional norm": {"norm": "functional"},
    "all": {"norm": "each", "positions": True, "copies": True},
}


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["separate", "multihead"])
def test_self_attention_is_known_however_its_tokens_are_prepared(way, gradients, family):
    options = {k: v for k, v in WAYS[way].items() if family == "separate" or v != "each"}
    verdict = judge(replace(PLAIN, family=family, gradients=gradients, **options))
    assert not verdict.faults and verdict.recorded >= 2 and not verdict.unknown


@pytest.mark.parametrize("gradients", [False, True])
def test_cross_attention_is_known_whatever_is_done_to_its_words(gradients):
    verdict = judge(replace(PLAIN, keys=("words",), norm="each", copies=True, gradients=gradients))
    assert not verdict.faults and verdict.recorded >= 2


# -- the judge has teeth ---------------------------------------------------------------------------------------------


def faults_of(plan: Plan, monkeypatch, tamper) -> list[str]:
    """The faults of a recording that is tampered with before it is judged."""
    keep = judging._record

    def record_and_tamper(*arguments):
        outputs, trace = keep(*arguments)
        tamper(outputs, trace)
        return outputs, trace

    monkeypatch.setattr(judging, "_record", record_and_tamper)
    return judge(plan).faults


def tamper_weights(outputs, trace):
    key = next(reversed(trace.keys))
    trace.keys[key] = trace.keys[key] + 1e-3 * torch.randn_like(trace.keys[key])


def swap_keys(outputs, trace):
    key = next(iter(trace.keys))
    trace.keys[key] = trace.keys[key].flip(1)


def drop_a_step(outputs, trace):
    (name,) = trace.layers
    for store in (trace.queries, trace.keys):
        store.pop(next(key for key in store if key[2] == 1))
    trace.gaps.setdefault(name, {})[1] = "some reason"


def drop_a_reason(outputs, trace):
    drop_a_step(outputs, trace)
    (name,) = trace.layers
    trace.gaps[name][1] = " "


def call_pixels_words(outputs, trace):
    (layer,) = trace.layers.values()
    keys = (replace(layer.keys[0], kind="words", grid=None),)
    trace.layers[layer.name] = replace(layer, keys=keys)


def turn_the_grid(outputs, trace):
    (layer,) = trace.layers.values()
    turned = (replace(layer.keys[0], grid=layer.grid[::-1]),)
    trace.layers[layer.name] = replace(layer, queries=turned, keys=turned)


def change_the_output(outputs, trace):
    outputs[1][0, 0, 0, 0] += 1


def name_halves(outputs, trace):
    trace.branches = ("conditional",)


TAMPERINGS = {
    "off by": tamper_weights,
    r"off by \d\.": swap_keys,
    "plain at step 1 and not recorded": drop_a_step,
    "no reason": drop_a_reason,
    "pixels.* are called words": call_pixels_words,
    r"a grid of \(6, 4\)": turn_the_grid,
    "not the one of a plain run": change_the_output,
    "branches": name_halves,
}


@pytest.mark.parametrize("fault", TAMPERINGS)
def test_judge_finds_what_is_wrong(fault, monkeypatch):
    faults = faults_of(PLAIN, monkeypatch, TAMPERINGS[fault])
    assert any(re.search(fault, found) for found in faults), faults


def test_judge_finds_a_layer_that_is_recorded_where_no_attention_ran(monkeypatch):
    find = Oracle.find
    assert faults_of(PLAIN, monkeypatch, lambda outputs, trace: None) == []
    monkeypatch.setattr(Oracle, "find", lambda self, path, call: [] if call == 1 else find(self, path, call))
    assert any("no softmax ran" in fault for fault in faults_of(PLAIN, monkeypatch, lambda outputs, trace: None))


# -- ten thousand ----------------------------------------------------------------------------------------------------


def report(verdicts: Iterable[Judgement]) -> int:
    """Print every fault as it is found, and in the end the counts; returns the number of seeds with a fault."""
    counts: Counter[str] = Counter()
    gaps: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    worst, started = 0.0, time.monotonic()
    for verdict in verdicts:
        counts.update(
            seeds=1, recorded=verdict.recorded, unknown=verdict.unknown, wrong=bool(verdict.faults),
            gaps=verdict.gaps.total(), skipped=verdict.skipped.total(),
        )  # fmt: skip
        worst = max(worst, worst if verdict.faults else verdict.worst)
        gaps.update(map(_shortened, verdict.gaps.elements()))
        skipped.update(map(_shortened, verdict.skipped.elements()))
        for fault in verdict.faults:
            print(f"seed {verdict.seed}: {fault}", flush=True)
    print(f"{dict(counts)}; largest error {worst:.1e}; {time.monotonic() - started:.0f} s")
    for name, reasons in (("gaps", gaps), ("skipped", skipped)):
        for reason, count in reasons.most_common():
            print(f"{name} {count:6} {reason}")
    return counts["wrong"]


def _shortened(reason: str) -> str:
    """A reason without its numbers, so that equal ones count together."""
    return re.sub(r"\d[\d.e+-]*", "…", reason)[:160]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    raise SystemExit(
        report(judge(draw(seed)) for seed in range(arguments.first, arguments.first + arguments.seeds)) > 0
    )
