"""The names of the parts of a batch: said by the user, or known of the pipeline that calls, otherwise numbers."""

from __future__ import annotations

import pytest

from tests.support.batches import PIPELINES, Watched, run

GUIDED = ("unconditional", "conditional")


@pytest.mark.parametrize("name", PIPELINES)
def test_indices_name_the_parts_of_the_batch_of_a_pipeline(name):
    """Against what the network was given: words of 1 for the prompt, of -1 for the negative one."""
    for guidance in (True, False):
        calls = run(name, guidance)
        if calls is None:
            continue
        assert calls and any("conditional" in call.pictures for call in calls)
        assert any("unconditional" in call.pictures for call in calls) == guidance
        for call in calls:
            check(call)


def check(call: Watched) -> None:
    """Every part has its name, and no row of the batch that can be told apart has another."""
    assert call.pictures, "no name"
    count = call.batch // len(call.pictures)
    assert sorted(call.pictures.values()) == list(range(0, call.batch, count))
    for branch, first in call.pictures.items():
        kinds = set(call.kinds[first : first + count])
        assert kinds == {"unconditional" if branch == "unconditional" else "conditional"}, (branch, call)
