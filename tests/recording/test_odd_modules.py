"""Recording unusual modules: they write into their queries, skip steps, share projections or change sizes."""

import pytest
import torch
from torch import nn

from viz import Trace, record
from viz.probes import PROBES, Reading, Site, into, out_of, to_heads


class Odd(nn.Module):
    """Attention with two heads that may write into its queries after making its keys, in several ways."""

    def __init__(self):
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(16, 16) for _ in range(4))
        self.write = lambda q: None
        self.scores = lambda q, k, v: (to_heads(q, 2), to_heads(k, 2))

    def forward(self, hidden):
        q, k, v = self.to_q(hidden), self.to_k(hidden), self.to_v(hidden)
        self.write(q)
        q, k, v = (x.unflatten(-1, (2, 8)).transpose(1, 2) for x in (q, k, v))
        return self.to_out((torch.softmax(q @ k.transpose(-1, -2) * 8**-0.5, -1) @ v).transpose(1, 2).flatten(2))


class OddNet(nn.Module):
    """Two of them in a row; those in `left_out` are not called."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = Odd()
        self.second = Odd()
        self.left_out = ()

    def forward(self, sample, t):
        hidden = sample.flatten(2).transpose(1, 2)
        for layer in (self.first, self.second):
            hidden = hidden if layer in self.left_out else hidden + layer(hidden)
        return hidden


@pytest.fixture
def odd():
    def probe(module):
        if not isinstance(module, Odd):
            return None
        taps = out_of(module.to_q), out_of(module.to_k), out_of(module.to_v)
        return Site(taps, into(module.to_out), (Reading(module.scores, lambda q, k, v: to_heads(v, 2)),))

    PROBES.insert(0, probe)
    yield OddNet()
    PROBES.remove(probe)


WRITES = {
    "none": lambda q: None,
    "in place": lambda q: q.mul_(0.5),
    "unseen": lambda q: q.data.mul_(0.5),
    "a part": lambda q: q[:, :5].zero_(),
}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("when", [0, 1])
@pytest.mark.parametrize("write", WRITES)
def test_record_keeps_the_queries_that_the_scores_are_made_of(odd, write, when, mode):
    """Also when q is written to after the keys are made, from the first step on or only later."""
    samples = torch.randn(3, 1, 16, 6, 4)
    with mode(), record(odd) as trace:
        for step, sample in enumerate(samples):
            odd.first.write = WRITES[write if step >= when else "none"]
            odd(sample, step)
    assert not trace.skipped
    with torch.no_grad():
        for step, sample in enumerate(samples):
            odd.first.write = WRITES[write if step >= when else "none"]
            hidden = sample.flatten(2).transpose(1, 2)
            for name, layer in odd.named_children():
                q, k = layer.to_q(hidden), layer.to_k(hidden)
                layer.write(q)
                hidden = hidden + layer(hidden)
                assert torch.equal(trace.queries[trace.branches[0], name, step], to_heads(q[0], 2))
                assert torch.equal(trace.keys[trace.branches[0], name, step], to_heads(k[0], 2))


@torch.no_grad()
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_record_leaves_a_gap_where_a_step_skips_a_layer(odd, missing, tmp_path):
    with record(odd) as trace:
        for step, sample in enumerate(torch.randn(3, 1, 16, 6, 4)):
            odd.left_out = (odd.second,) if step == missing else ()
            odd(sample, step)
    assert not trace.skipped and set(trace.layers) == {"first", "second"}
    loaded = Trace.load(trace.save(tmp_path / "run.safetensors"))
    assert loaded.gaps == {"second": {missing: "it was not called at this step"}} and not loaded.skipped
    assert loaded.steps_of("second") == [step for step in range(3) if step != missing]
    assert loaded.steps_of("first") == loaded.steps == [0, 1, 2]


@torch.no_grad()
def test_record_drops_the_first_of_two_layers_that_share_a_projection(odd):
    odd.second.to_k = odd.first.to_k
    samples = torch.randn(2, 1, 16, 6, 4)
    with record(odd) as trace:
        for step, sample in enumerate(samples):
            odd(sample, step)
    for step, sample in enumerate(samples):
        hidden = sample.flatten(2).transpose(1, 2)
        hidden = hidden + odd.first(hidden)
        assert list(trace.layers) == ["second"], "whether the first one was called again is unknown"
        assert torch.equal(trace.keys[trace.branches[0], "second", step], to_heads(odd.second.to_k(hidden)[0], 2))


@torch.no_grad()
def test_record_keeps_the_steps_before_a_size_that_changes(odd):
    with record(odd) as trace:
        for step, size in enumerate([(6, 4), (8, 8), (6, 4)]):
            odd(torch.randn(1, 16, *size), step)
    assert trace.steps_of("first") == [0] and set(trace.gaps["first"]) == {1, 2}
    assert trace.gaps["first"][1] == "it has 64 queries and 64 keys, and had 24 and 24 before"


@torch.no_grad()
def test_record_gives_every_tap_to_the_reading_at_every_step(odd):
    odd.second.scores = lambda q, k, v: (to_heads(q, v.shape[1] // 8), to_heads(k, 2))
    samples = torch.randn(3, 1, 16, 6, 4)
    with record(odd) as trace:
        for step, sample in enumerate(samples):
            odd(sample, step)
    assert not trace.skipped
    hidden = samples[2].flatten(2).transpose(1, 2)
    hidden = hidden + odd.first(hidden)
    assert torch.equal(trace.queries[trace.branches[0], "second", 2], to_heads(odd.second.to_q(hidden)[0], 2))
