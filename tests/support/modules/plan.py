"""What a random attention network is like: a `Plan`, drawn from a seed. `tests.support.modules.net` builds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Literal

import torch

Family = Literal["separate", "query", "q_proj", "packed", "convolution", "multihead", "diffusers"]
# The more often in this list, the likelier.
FAMILIES: list[Family] = [
    "separate", "separate", "separate", "separate", "query", "q_proj", "packed", "packed", "convolution",
    "multihead", "multihead", "diffusers", "diffusers",
]  # fmt: skip
Arithmetic = Literal[
    "fused", "written", "folded", "einsum", "keys first", "both scaled", "upcast", "sliced heads", "sliced queries"
]
# What a change does at the steps at which it is active. The first five are masks.
ChangeKind = Literal[
    "padding", "box", "causal", "scattered", "bias",
    "temperature", "keys elsewhere", "tokens elsewhere", "identity", "overwritten query", "overwritten key", "gate",
]  # fmt: skip
MASKS = ("padding", "box", "causal", "scattered", "bias")
# What is odd about a network at every step; a recorder may name such a layer instead of recording it.
Oddity = Literal[
    "merged", "frames", "windows", "lines", "shuffled", "split pixels", "twice", "late keys", "rotary",
    "functional norm", "unstated scale", "no output", "grouped", "dropout",
]  # fmt: skip
LINEAR = ("separate", "query", "q_proj")


@dataclass(frozen=True)
class Change:
    """Something that is otherwise at some steps, for some pictures of the batch."""

    kind: ChangeKind
    steps: frozenset[int]
    pictures: frozenset[int]
    amount: float = 1.0


@dataclass(frozen=True)
class Plan:
    """One network, and how it is called.

    Attributes:
        keys: the segments of the keys in the order in which they are joined: "pixels", "words", "learned". Without
            "pixels" it is cross-attention.
        queries: the same for the queries; always with "pixels".
        size: (h, w) of the sample. stride: of the stem, so that the layer's map is coarser.
        key_map: how the map that the keys are made of differs from that of the queries.
        flatten: order of the pixels. flatten_at: which module flattens the map.
        norm: "shared" before all projections, "each" its own, "map" on the feature map.
        guided: whether the two halves of the batch are the same sample.
    """

    seed: int
    family: Family
    arithmetic: Arithmetic = "fused"
    heads: int = 2
    head_dim: int = 4
    batch: int = 1
    size: tuple[int, int] = (4, 6)
    stride: tuple[int, int] = (1, 1)
    keys: tuple[str, ...] = ("pixels",)
    queries: tuple[str, ...] = ("pixels",)
    key_map: Literal["same", "pooled", "convolved", "lower"] = "same"
    flatten: Literal["rows", "columns"] = "rows"
    flatten_at: Literal["stage", "network"] = "stage"
    norm: Literal["none", "shared", "each", "map", "functional"] = "none"
    qk_norm: bool = False
    positions: bool = False
    copies: bool = False
    packing: str = "3Hd"
    output: Literal["linear", "sequence", "list", "none"] = "linear"
    scaled_in_place: bool = False
    mask_as: Literal["bool", "float"] = "bool"
    gradients: bool = False
    checkpoint: bool = False
    dtype: torch.dtype = torch.float32
    steps: int = 3
    guided: bool = False
    timestep: Literal["int", "float", "tensor", "batch"] = "int"
    second: bool = False
    changes: tuple[Change, ...] = ()
    oddities: frozenset[Oddity] = field(default_factory=frozenset)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the feature map that the attention works on."""
        return self.size[0] // self.stride[0], self.size[1] // self.stride[1]

    @property
    def width(self) -> int:
        """C = H·d."""
        return self.heads * self.head_dim

    def active(self, step: int) -> list[Change]:
        return [change for change in self.changes if step in change.steps]

    def gated(self, step: int) -> bool:
        """Whether the attention is not called at a step."""
        return any(change.kind == "gate" for change in self.active(step))

    @property
    def due_steps(self) -> list[int]:
        """The steps at which a recorder has no excuse: nothing odd, in a precision that leaves no doubt, and no
        change at that step or before."""
        if self.oddities or self.dtype not in (torch.float32, torch.float64):
            return []
        changed = [step for change in self.changes if change.kind != "gate" for step in change.steps]
        first = min(changed, default=self.steps)
        return [step for step in range(first) if not self.gated(step)]


def draw(seed: int) -> Plan:
    """The plan of a seed: about half of all plans are plain, with no change and nothing odd."""
    random = Random(seed)
    family = random.choice(FAMILIES)
    keys, queries = _segments(random, family)
    plan = {
        "seed": seed,
        "family": family,
        "heads": random.choice([1, 2, 4]),
        "head_dim": random.choice([4, 8]),
        "batch": random.choice([1, 2, 2, 3, 4]),
        "size": random.choice([(4, 4), (4, 6), (6, 4), (8, 8), (8, 4), (6, 6), (8, 6)]),
        "stride": random.choice([(1, 1)] * 3 + [(2, 2), (1, 2), (2, 1)]),
        "keys": keys,
        "queries": queries,
        "flatten": random.choice(["rows", "rows", "columns"]),
        "flatten_at": random.choice(["stage", "stage", "network"]),
        "norm": random.choice(["none", "shared", "map", "functional"]),
        "gradients": random.random() < 0.25,
        "mask_as": random.choice(["bool", "float"]),
        "dtype": random.choice([torch.float32] * 5 + [torch.float64, torch.float16, torch.bfloat16]),
        "steps": random.choice([2, 3, 4]),
        "guided": random.random() < 0.3,
        "timestep": random.choice(["int", "float", "tensor", "batch"]),
        "second": random.random() < 0.3,
    }
    _draw_family(random, plan)
    if random.random() < 0.5:
        _complicate(random, plan)
    return Plan(**plan)  # type: ignore[arg-type]


def _segments(random: Random, family: Family) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The segments of keys and queries that a family can have."""
    if family == "convolution":
        return random.choice([("pixels",), ("learned", "pixels")]), ("pixels",)
    joined = random.choice([
        ("pixels",), ("pixels",), ("learned", "pixels"), ("pixels", "learned"), ("pixels", "words"),
        ("words", "pixels"), ("learned", "pixels", "words"), ("words", "pixels", "learned"),
    ])  # fmt: skip
    if family == "packed":
        return joined, joined
    if random.random() < 0.35:
        return ("words",), ("pixels",)
    return joined, random.choice([("pixels",), joined])


def _draw_family(random: Random, plan: dict) -> None:
    """The choices that not every family has."""
    family = plan["family"]
    if family in ("multihead", "diffusers"):
        plan["arithmetic"] = random.choice(["fused", "written"])
    else:
        choices = ["fused", "fused", "written", "folded", "einsum", "keys first", "both scaled", "upcast"]
        plan["arithmetic"] = random.choice([*choices, "sliced heads", "sliced queries"])
        plan["qk_norm"] = random.random() < 0.25
        plan["scaled_in_place"] = not plan["gradients"] and random.random() < 0.15
    if family in (*LINEAR, "multihead"):
        plan["copies"] = random.random() < 0.2
        plan["positions"] = random.random() < 0.2
    if family in LINEAR:
        plan["norm"] = random.choice([plan["norm"], plan["norm"], "each"])
        pixels_alone = plan["keys"] == plan["queries"] == ("pixels",)
        if pixels_alone:
            plan["key_map"] = random.choice(["same", "same", "pooled", "convolved", "lower"])
    if family == "packed":
        plan["packing"] = random.choice(["3Hd", "H3d", "Hd3"])
        # Heads and parts in this order make copies, so that writing into q would be hidden from what was projected.
        plan["scaled_in_place"] = plan["scaled_in_place"] and plan["packing"] == "3Hd"
    if family == "convolution":
        plan["flatten_at"] = "stage"
        plan["arithmetic"] = plan["arithmetic"] if plan["keys"] == ("pixels",) else "written"
        plan["norm"] = random.choice(["none", "map"])
        plan["qk_norm"] = False
    outputs = {"separate": ["linear", "sequence", "list"], "query": ["linear", "none"]}
    plan["output"] = random.choice(outputs.get(family, ["linear"]))
    if plan["gradients"]:
        plan["checkpoint"] = random.random() < 0.4


def _complicate(random: Random, plan: dict) -> None:
    """One change or oddity, sometimes a second change."""
    if random.random() < 0.35:
        oddity = random.choice(_oddities(plan))
        plan["oddities"] = frozenset([oddity])
        if oddity in ("merged", "frames", "windows", "lines", "shuffled", "split pixels", "late keys"):
            plan |= {"keys": ("pixels",), "queries": ("pixels",), "key_map": "same", "positions": False}
            plan["stride"] = (1, 1)
        if oddity == "frames":
            plan["batch"] = random.choice([4, 8])
        if oddity == "no output":
            plan["output"] = "none"
        return
    for _ in range(random.choice([1, 1, 2])):
        plan["changes"] = (*plan.get("changes", ()), _change(random, plan))


def _oddities(plan: dict) -> list[str]:
    family = plan["family"]
    if family == "convolution":
        return ["shuffled", "twice"]
    general = ["merged", "merged", "frames", "windows", "lines", "shuffled", "split pixels", "twice"]
    if family in ("multihead", "diffusers"):
        return general
    general += ["rotary", "functional norm", "unstated scale", "dropout"]
    if family == "separate":
        return [*general, *("no output", "grouped", "late keys") * 2]
    return general


def _change(random: Random, plan: dict) -> Change:
    kinds: list[str] = ["padding", "box", "causal", "scattered", "bias", "gate", "gate"]
    family, batch, steps = plan["family"], plan["batch"], plan["steps"]
    if family not in ("multihead", "diffusers"):
        kinds += ["temperature", "identity"] + ["keys elsewhere"] * 2 * (batch > 1)
        if not plan["gradients"]:
            kinds += ["overwritten query", "overwritten key"]
    if batch > 1:
        kinds += ["tokens elsewhere"] * (family != "convolution")
    kind = random.choice(kinds)
    first = random.choice([0, 1, 1, steps - 1])
    active = range(first, steps) if random.random() < 0.6 else [first]
    if kind == "gate" and len(active) == steps:
        active = [0]
    pictures = range(batch) if random.random() < 0.6 else random.sample(range(batch), max(1, batch // 2))
    return Change(kind, frozenset(active), frozenset(pictures), random.choice([0.5, 1.5, 2.0]))  # type: ignore[arg-type]
