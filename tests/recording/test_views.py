"""Views of captured tensors: found once, they are the same part of every other tensor of the same layout."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from viz.recording.keeper import TraceKeeper
from viz.recording.views import find_views
from viz.trace import Trace


@st.composite
def layouts(draw):
    """A function that makes tensors of one layout, and one that takes the same view of each."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    order = draw(st.permutations(range(len(sizes))))
    axes = draw(st.permutations(range(len(sizes))))
    bounds = [sorted(draw(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)))) for size in sizes]
    steps = [draw(st.integers(1, 2)) for _ in sizes]
    slices = tuple(slice(low, high + 1, step) for (low, high), step in zip(bounds, steps, strict=True))

    def make(fill):
        return (torch.arange(torch.tensor(sizes).prod().item()) + fill).float().reshape(sizes).permute(order)

    def take(tensor):
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return tensor.permute(inverse)[slices].permute(axes)

    return make, take


@given(layouts(), st.sampled_from([torch.float32, torch.float64]))
def test_copies_of_views_equal_the_views(layout, dtype):
    make, take = layout
    first, captured = {1: make(0)}, {1: make(100)}
    (view,) = find_views([take(first[1])], first)
    captured[1].mul_(-2)  # as a module that writes into its queries after their projection
    trace = Trace()
    TraceKeeper(trace, dtype).keep(("conditional", "layer", 0), view.of(captured), take(captured[1]))
    expected = take(make(100)).mul(-2).to(dtype)
    captured[1].zero_()  # what the network does next
    for copies in (trace.queries, trace.keys):
        assert torch.equal(copies["conditional", "layer", 0], expected)


@pytest.mark.parametrize("other", [torch.randn(2, 5, 8), torch.randn(2, 8, 4).mT, torch.randn(2, 4, 8).double()])
def test_view_of_another_layout_is_none(other):
    captured = {0: torch.randn(2, 4, 8)}
    (view,) = find_views([captured[0][1]], captured)
    assert torch.equal(view.of(captured), captured[0][1])
    assert view.of({0: other}) is None


def test_find_views_takes_only_views():
    captured = {0: torch.randn(2, 10, 8)}
    assert find_views([captured[0] * 2], captured) is None, "it was computed"
    assert find_views([captured[0].view(torch.int32)], captured) is None, "it has another type"


def test_find_views_refuses_memory_that_several_tensors_share():
    q, k, v = torch.randn(3, 2, 10, 8)
    assert find_views([q[0]], {0: q, 1: k, 2: v}) is None, "other tensors need not lie side by side"
    assert find_views([q[0]], {1: k}) is None, "it begins before the captured tensor"
    assert find_views([v[0]], {1: k}) is None, "it ends after the captured tensor"
    assert find_views([k[1, 2:]], {1: k})
