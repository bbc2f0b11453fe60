"""Where recorded numbers lie: copies that stay as they are, in memory that is used again when nobody needs it."""

import gc

import pytest
import torch

from viz.layout import Layout
from viz.shelf import Shelf, Shelved, _Pool


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
        q, packed = seen
        return [
            q[batch].unflatten(-1, (4, 2)).transpose(0, 1)[:, 3:],
            packed[batch].unflatten(-1, (2, 6)).select(-2, 1),
        ]

    def new():
        return [torch.randn(2, 10, 8), torch.randn(5, 2, 12).transpose(0, 1)]

    layout, others = Layout.find(parts(seen := new()), seen), new()
    assert all(map(torch.equal, layout.apply(others), parts(others)))
    assert layout.apply([others[0], others[1].contiguous()]) is None, "it lies in another order"
    assert layout.apply([others[0].double(), others[1]]) is None


def test_what_was_computed_lies_nowhere():
    seen = [torch.randn(2, 10, 8)]
    assert Layout.find([seen[0] * 2], seen) is None
    assert Layout.find([seen[0].view(torch.int32)], seen) is None
