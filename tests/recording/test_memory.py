"""Where recorded numbers lie: copies that stay as they are, in memory that is used again when nobody needs it."""

import gc

import pytest
import torch

from viz.recording.memory import Shelf, Shelved, _Pool
from viz.recording.views import Layout


def test_copies_stay_whatever_is_recorded_next():
    tensors = [torch.randn(3, 40, 8).transpose(0, 1), torch.arange(7.0), torch.randn(5, 5).half()]
    kept = Shelved()
    for step in range(3):
        shelf = Shelf()
        for index, tensor in enumerate(tensors):
            kept[step, index] = shelf.put(tensor + step)
    for (step, index), copy in kept.items():
        assert copy.dtype == tensors[index].dtype and torch.equal(copy, tensors[index] + step)


def test_memory_is_used_again_once_nobody_refers_to_it():
    pool = _Pool()
    first = pool.take(4096)
    second = pool.take(4096)
    assert first is not second
    tensor = torch.frombuffer(second, dtype=torch.uint8)
    addresses = {id(first), id(second)}
    del first, second
    gc.collect()
    again = pool.take(3500)
    assert id(again) in addresses
    assert pool.take(4096) is not again, "the other one still has a tensor"
    del tensor
    assert id(pool.take(4096)) in addresses


def test_a_tensor_of_a_dropped_trace_keeps_its_numbers():
    kept, numbers = Shelved(), torch.randn(1000, 8)
    kept["q"] = Shelf().put(numbers)
    tensor = kept["q"]
    del kept["q"]
    for _ in range(5):
        Shelf().put(torch.zeros(1000, 8))
    assert torch.equal(tensor, numbers)


def test_the_memory_that_waits_is_bounded():
    pool = _Pool()
    pool.MOST = 40_000
    held = [pool.take(9000) for _ in range(10)]
    assert sum(map(len, pool.mappings)) <= 40_000
    del held
    large = pool.take(30_000)  # idle ones give way
    assert large in pool.mappings and sum(map(len, pool.mappings)) <= 40_000
    assert len(pool.take(50_000)) == 50_000 and sum(map(len, pool.mappings)) <= 40_000


def test_a_mapping_far_too_large_is_left_alone():
    pool = _Pool()
    large = id(pool.take(100_000))
    assert id(pool.take(1000)) != large


@pytest.mark.parametrize("batch", [0, 1])
def test_where_parts_lie_is_found_once_and_used_for_others(batch):
    def parts(seen):
        q, packed = seen.values()
        return [
            q[batch].unflatten(-1, (4, 2)).transpose(0, 1)[:, 3:],
            packed[batch].unflatten(-1, (2, 6)).select(-2, 1),
        ]

    def new():
        return {0: torch.randn(2, 10, 8), 2: torch.randn(5, 2, 12).transpose(0, 1)}

    layout, others = Layout.find(parts(seen := new()), seen), new()
    for dtype in (None, torch.float64):  # as a block and number by number
        copies = [place.tensor() for place in layout.put(others, Shelf(), dtype)]
        assert all(map(torch.equal, copies, [part.to(dtype) for part in parts(others)]))
    assert layout.put(others | {2: others[2].contiguous()}, Shelf()) is None, "it lies in another order"
    assert layout.put(others | {0: others[0].double()}, Shelf()) is None


@pytest.mark.parametrize("most", [0, 2**20])
def test_blocks_and_tensors_share_a_shelf(monkeypatch, most):
    monkeypatch.setattr("viz.recording.views.AT_ONCE", most)
    seen = {0: torch.randn(2, 7, 6, requires_grad=True), 1: torch.randn(2, 7, 3).half()}
    parts = [seen[0][1].unflatten(-1, (2, 3)).transpose(0, 1), seen[1][1, 2:]]
    layout, shelf = Layout.find(parts, seen), Shelf()
    assert [view.is_block for view in layout.views] == [most > 0] * 2
    between = shelf.put(torch.arange(5))
    places = layout.put(seen, shelf)
    copies = [place.tensor() for place in places]
    assert all(map(torch.equal, copies, parts)) and not copies[0].requires_grad
    assert [copy.dtype for copy in copies] == [torch.float32, torch.float16]
    assert torch.equal(between.tensor(), torch.arange(5))


def test_what_was_computed_lies_nowhere():
    seen = {0: torch.randn(2, 10, 8)}
    assert Layout.find([seen[0] * 2], seen) is None
    assert Layout.find([seen[0].view(torch.int32)], seen) is None


def test_what_may_lie_in_several_is_looked_up_in_none():
    packed = torch.randn(3, 2, 10, 8)
    q, k, v = packed
    assert Layout.find([q[0]], {0: q, 1: k, 2: v}) is None, "other tensors need not lie beside one another"
    assert Layout.find([q[0]], {1: k}) is None, "before the tensor begins"
    assert Layout.find([v[0]], {1: k}) is None, "beyond its end"
    assert Layout.find([k[1, 2:]], {1: k})
