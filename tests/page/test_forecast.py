"""Sentences about a run before it begins."""

import pytest

from viz.page import limits
from viz.page.forecast import describe_memory, describe_skipped
from viz.page.own_model import open_model
from viz.recording.budget import amount


@pytest.fixture(scope="module")
def plan(saved_models):
    model = open_model(saved_models / "DDPM", "float32", "cpu")
    fields = {"prompt": "", "negative": "", "seed": 1, "steps": 8, "guidance": None, "height": 16, "width": 24}
    return model.plan_run(model.build_order(**fields))


def test_describe_memory_says_what_is_needed(plan, monkeypatch):
    monkeypatch.setattr(limits, "_limits", limits.Limits("1GB"))
    assert describe_memory(plan) == (f"{amount(plan.total)} (4 layers × 8 calls of the network); the limit is 1.0 GB.")


def test_describe_memory_says_what_fits_if_not_all_does(plan, monkeypatch):
    monkeypatch.setattr(limits, "_limits", limits.Limits(str(plan.total - 1)))
    assert "That is too much. All 4 layers and 7 of its 8 steps" in describe_memory(plan)


def test_describe_memory_says_that_a_browser_cannot_hold_it(plan, monkeypatch):
    monkeypatch.setattr(limits, "_limits", limits.Limits("1GB", None, str(plan.total)))
    assert "browser" not in describe_memory(plan)
    monkeypatch.setattr(limits, "_limits", limits.Limits("1GB", None, str(plan.total - 1)))
    assert "too large to send to a browser" in describe_memory(plan)


def test_describe_skipped_gives_each_layer_a_line():
    assert describe_skipped({}, {}) == ""
    assert (
        describe_skipped({"up.attn": "is fused", "": "is compiled"}, {})
        == "up.attn: is fused\nthe network: is compiled"
    )
    gaps = {"mid.attn": {3: "it did not run", 4: "it did not run"}}
    assert describe_skipped({"up.attn": "is fused"}, gaps) == (
        "up.attn: is fused\nmid.attn: no map at steps 3 and 4: it did not run"
    )
