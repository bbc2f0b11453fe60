"""Judges a recording of a random network by the oracle and by the truth that the network states.

A layer at a step is recorded, or it is named with a reason: in `trace.skipped`, or in `trace.gaps`. What is recorded
has to be what the oracle saw, under names that the truth allows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

from tests.support.modules import Block, Label, Net, Plan, Truth
from tests.support.oracle import Oracle, Softmax
from viz import Trace, record
from viz.layer import Layer, Segment

TOLERANCE = 1e-5  # of weights, for float32 and float64; a half precision's is what the trace states
HALVES = (torch.float16, torch.bfloat16)
# Names that a trace may give to what the truth calls so. Keys whose kind cannot be known may be "unknown".
ALLOWED = {
    "pixels": {"pixels"},
    "words": {"words"},
    "learned": {"registers", "objects"},
    "frames": {"frames"},
    "merged": set(),
    "pieces": set(),
}
# Sentences of PyTorch's and Python's own, which say nothing to a reader.
FOREIGN = re.compile(
    r"tensor a|[Ss]izes? of|must match|has no attribute|NoneType|mat1|Traceback|unpack|subscript|Error:"
)


@dataclass
class Judgement:
    """What came of one seed.

    Attributes:
        recorded: number of layers × steps × branches that were compared with the oracle.
        unknown: how many of them have a key of unknown kind.
        gaps, skipped: {reason: how many}.
        faults: what is wrong; empty if the proof holds.
    """

    seed: int
    recorded: int = 0
    unknown: int = 0
    worst: float = 0.0
    gaps: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def judge(plan: Plan) -> Judgement:
    """Run a plan plainly, with the oracle, and recorded; and compare."""
    verdict = Judgement(plan.seed)
    network = Net(plan)
    plain = network.run()
    with Oracle(network) as oracle:
        network.run()
    options, pictures = choose_pictures(plan)
    recorded, trace = _record(network, options, verdict)
    if recorded is None or trace is None:
        return verdict
    if not all(torch.equal(before, after) for before, after in zip(plain, recorded, strict=True)):
        verdict.faults.append("the output is not the one of a plain run")
    if any(module._forward_hooks or module._forward_pre_hooks for module in network.modules()):
        verdict.faults.append("hooks were left behind")
    _judge_calls(trace, network, pictures, verdict)
    for path, block in network.attention_blocks().items():
        _judge_layer(trace, path, block, oracle, pictures, network.inputs(), verdict)
    strangers = set(trace.layers) - set(network.attention_blocks())
    if strangers:
        verdict.faults.append(f"{strangers} are no attention modules")
    verdict.skipped.update(trace.skipped.values())
    return verdict


def choose_pictures(plan: Plan) -> tuple[dict, dict[str, int]]:
    """Arguments of `record` that say which pictures to record, and {the branch that each must become: its index}."""
    random, batch = Random(plan.seed), plan.batch
    if batch > 1 and random.random() < 0.5:
        names = random.sample(["unconditional", "conditional", "perturbed", "edited"], k=4)
        names = names * 2 if batch <= 4 else names[:2]  # equal parts of the batch
        order = tuple(names[:batch]) if batch <= 4 else tuple(names)
        return {"branch": "both", "branch_order": order}, {
            name: part * (batch // len(order)) for part, name in enumerate(order)
        }
    picture = random.randrange(batch)
    return {"picture": picture}, {f"picture {picture + 1} of {batch}": picture}


def _record(network: Net, options: dict, verdict: Judgement) -> tuple[list[Tensor] | None, Trace | None]:
    """The outputs of a recorded run, and its trace; None where recording stopped it."""
    outputs = trace = None
    try:
        with record(network, **options) as trace:
            outputs = network.run()
    except ValueError as error:
        if outputs is None or "no layer could be recorded" not in str(error):
            verdict.faults.append(f"stopped the run: {error!r}")
    except Exception as error:
        verdict.faults.append(f"stopped the run: {error!r}")
    return outputs, trace


def _judge_calls(trace: Trace, network: Net, pictures: dict[str, int], verdict: Judgement) -> None:
    """What the trace says about the calls as a whole."""
    if trace.layers and sorted(trace.branches) != sorted(pictures):
        verdict.faults.append(f"branches {trace.branches}, expected {tuple(pictures)}")
    for step, timestep in trace.timesteps.items():
        told = float(torch.as_tensor(network.timestep(step)).flatten()[0])
        if timestep is None or abs(timestep - told) > 1e-6:
            verdict.faults.append(f"timestep {timestep} at step {step}, expected {told}")


def _judge_layer(
    trace: Trace,
    path: str,
    block: Block,
    oracle: Oracle,
    pictures: dict[str, int],
    inputs: Sequence[tuple],
    verdict: Judgement,
) -> None:
    """One attention module: recorded at its due steps, named at those that are missing, right where it is recorded."""
    plan = block.plan
    steps = trace.steps_of(path) if path in trace.layers else []
    if not steps and not trace.skipped.get(path, "").strip():
        verdict.faults.append(f"{path} is neither recorded nor named")
    for step in range(plan.steps):
        reason = trace.gaps.get(path, {}).get(step, "") if steps else trace.skipped.get(path, "")
        if step in steps:
            _judge_step(trace, trace.layers[path], step, block, oracle, pictures, inputs[step][0], verdict)
            continue
        if not reason.strip():
            verdict.faults.append(f"{path} has no reason for its gap at step {step}")
        if FOREIGN.search(reason):
            verdict.faults.append(f"{path}: not a reason for a reader: {reason}")
        verdict.gaps.update([reason] if steps else [])
        if step in plan.due_steps:
            verdict.faults.append(f"{path} is plain at step {step} and not recorded: {reason}")


def _judge_step(
    trace: Trace,
    layer: Layer,
    step: int,
    block: Block,
    oracle: Oracle,
    pictures: dict[str, int],
    sample: Tensor,
    verdict: Judgement,
) -> None:
    """One layer at one step: its weights, and the names of its queries and keys."""
    where, truth = f"{layer.name} at step {step}", block.truth.get(step)
    found = oracle.find(layer.name, step)
    for branch in trace.branches:
        picture = pictures.get(branch)
        if picture is None:
            continue  # a fault already
        if truth is None or not found or picture in truth.identity:
            verdict.faults.append(f"{where} is recorded, and no softmax ran")
            continue
        source = truth.sources[picture]
        own = source == picture or torch.equal(sample[source], sample[picture])
        order, problem = match_segments(layer, truth, own)
        if problem:
            verdict.faults.append(f"{where}, {branch}: {problem}")
            continue
        try:
            expected = join(found, block.plan)[picture][:, order[0]][:, :, order[1]]
        except ValueError as error:
            verdict.faults.append(f"{where} is recorded: {error}")
            continue
        verdict.recorded += 1
        verdict.unknown += any(segment.kind == "unknown" for segment in layer.keys)
        _compare(trace, layer, (branch, layer.name, step), expected, block.plan, verdict)


def _compare(trace: Trace, layer: Layer, key: tuple, expected: Tensor, plan: Plan, verdict: Judgement) -> None:
    q, k = trace.queries[key].double(), trace.keys[key].double()
    weights = torch.softmax(q @ k.transpose(-1, -2) * layer.scale, dim=-1)
    if weights.shape != expected.shape:
        verdict.faults.append(f"{key}: weights {tuple(weights.shape)}, expected {tuple(expected.shape)}")
        return
    error = (weights - expected).abs().max().item()
    allowed = max(TOLERANCE, trace.proved.get(layer.name, 0.0)) if plan.dtype in HALVES else TOLERANCE
    if plan.dtype not in HALVES:
        verdict.worst = max(verdict.worst, error)
    if not error <= allowed:
        verdict.faults.append(f"{key}: off by {error:.1e}, stated {trace.proved.get(layer.name, -1):.1e}")


def join(entries: list[Softmax], plan: Plan) -> Tensor:
    """(B, H, N, M) of a module that split its softmax into slices, or did not.

    Raises:
        ValueError: when there are several that belong to no known slices.
    """
    if plan.arithmetic == "sliced queries" and len(entries) == 2:
        return torch.cat([entry.per_picture(plan.batch) for entry in entries], dim=2)
    if plan.arithmetic == "sliced heads" and len(entries) == plan.batch * plan.heads:
        return torch.stack([entry.weights for entry in entries]).unflatten(0, (plan.batch, plan.heads))
    if len(entries) != 1:
        raise ValueError(f"{len(entries)} softmaxes ran in it")
    return entries[0].per_picture(plan.batch)


def match_segments(layer: Layer, truth: Truth, own: bool) -> tuple[tuple[list[int], list[int]], str]:
    """Where each recorded query and key is among those of the module, and what is wrong with their names.

    Args:
        own: whether the keys were made of the picture itself.
    """
    queries, problem = _match(layer.queries, truth.queries, truth.grid, may_be_unknown=False)
    keys, other = _match(layer.keys, truth.keys, truth.key_grid, may_be_unknown=True)
    if not own and any(segment.kind == "pixels" for segment in layer.keys):
        other = other or "pixels of another picture are called its own"
    return (queries, keys), problem or other


def _match(
    segments: tuple[Segment, ...], labels: tuple[Label, ...], grid: tuple[int, int], *, may_be_unknown: bool
) -> tuple[list[int], str]:
    """For each recorded token its index among the labels, and what is wrong."""
    order: list[int] = []
    if sum(segment.tokens for segment in segments) != len(labels):
        return order, f"{segments} for {len(labels)} tokens"
    for segment in segments:
        places = range(len(order), len(order) + segment.tokens)
        kinds = {labels[place][0] for place in places}
        if segment.kind == "pixels":
            if segment.grid != grid:
                return order, f"a grid of {segment.grid}, expected {grid}"
            index = {labels[place]: place for place in places}
            cells = [("pixels", row, column) for row in range(grid[0]) for column in range(grid[1])]
            if set(index) != set(cells):
                return order, f"{kinds} are called pixels"
            order += [index[cell] for cell in cells]
            continue
        unknown = segment.kind == "unknown" and (may_be_unknown or "pixels" not in kinds)
        if not unknown and any(segment.kind not in ALLOWED[kind] for kind in kinds):
            return order, f"{kinds} are called {segment.kind}"
        order += places
    return order, ""
