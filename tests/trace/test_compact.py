"""The compact form of cross-attention: how far it is from the numbers, in Python and in the browser's code."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.support.node import evaluate
from viz.compact import pack, unpack, vector_bytes
from viz.export import for_browser
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.trace import Trace
from viz.trace_file import TraceFileError
from viz.web import WEB

SHARE = 4e-3  # the most by which a share of a word may differ


@pytest.fixture(scope="module")
def exhibit_trace(shared_pipeline):
    return perform(Recipe("a green monster with two yellow eyes", seed=3, steps=4), shared_pipeline)


@pytest.fixture(scope="module")
def compact(exhibit_trace, tmp_path_factory):
    path = tmp_path_factory.mktemp("compact") / "trace.safetensors"
    return for_browser(exhibit_trace).save(path, compact=True)


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 13), st.integers(0, 2**16), st.floats(1e-3, 1e3))
def test_packed_numbers_are_within_half_a_step_of_their_channel(heads, count, head_dim, seed, size):
    q = size * torch.randn(heads, count, head_dim, generator=torch.Generator().manual_seed(seed))
    q[..., 0] = 0
    packed = pack(q)
    assert packed.shape == (heads, 4 * head_dim + count * vector_bytes(head_dim)) and packed.dtype == torch.uint8
    step = q.abs().amax(1, keepdim=True) / 511
    unpacked = unpack(packed, count, head_dim)
    assert ((unpacked - q).abs() <= 0.501 * step).all()
    assert torch.allclose(unpack(pack(unpacked), count, head_dim), unpacked, rtol=1e-6)


def test_packed_bytes_are_ten_bits_a_number_in_order():
    q = torch.tensor([[[511.0, -511.0, 0.0, 1.0, 2.0]], [[0.0] * 5]])
    (first, second) = pack(q).tolist()
    scales, vector = first[:20], first[20:]
    assert np.array(scales, np.uint8).view("<f4").tolist()[:2] == [1.0, 1.0]
    bits = "".join(f"{byte:08b}" for byte in vector)
    assert [int(bits[i : i + 10], 2) - 512 for i in (0, 10, 20)] == [511, -511, 0] and len(vector) == 10
    assert unpack(pack(q), 1, 5)[1].tolist() == [[0.0] * 5] and len(second) == len(first)


def test_compact_trace_has_the_shares_of_the_whole_one(exhibit_trace, compact):
    loaded, layers = Trace.load(compact), [layer for layer in exhibit_trace if layer.kind == "cross"]
    assert layers and loaded.words == exhibit_trace.words and set(loaded.keys) == set(exhibit_trace.keys)
    for layer in layers:
        for step in exhibit_trace.steps_of(layer.name):
            for cell in ((0, 0), (layer.grid[0] // 2, layer.grid[1] // 3)):
                shares = [t.word_shares(layer.name, query=cell, step=step) for t in (exhibit_trace, loaded)]
                assert (shares[0] - shares[1]).abs().max() < SHARE
    for layer in (layer for layer in exhibit_trace if layer.kind == "self"):
        key = exhibit_trace.branches[-1], layer.name, exhibit_trace.steps[0]
        assert torch.equal(loaded.queries[key], exhibit_trace.queries[key].half())


def test_compact_trace_is_at_most_a_third_larger_than_self_attention_alone(exhibit_trace, compact, tmp_path):
    pixels = [layer.name for layer in exhibit_trace if layer.kind == "self"]
    alone = for_browser(exhibit_trace.select(layers=pixels)).save(tmp_path / "alone.safetensors")
    assert compact.stat().st_size < 4 / 3 * alone.stat().st_size


def test_compact_trace_states_the_error_of_what_it_stores(compact):
    description = json.loads(_metadata(compact)["trace"])
    assert description["verified"] == pytest.approx(max(Trace.load(compact).verify().values()), rel=1e-3)


def test_compact_trace_saved_again_is_within_a_step(compact, tmp_path):
    again = for_browser(Trace.load(compact)).save(tmp_path / "again.safetensors", compact=True)
    assert load_file(compact).keys() == load_file(again).keys()
    first, second = (Trace.load(path) for path in (compact, again))
    for layer in (layer for layer in first if layer.kind == "cross"):
        key = first.branches[-1], layer.name, first.steps[0]
        step = first.queries[key].abs().amax(1, keepdim=True) / 511
        assert ((first.queries[key] - second.queries[key]).abs() <= 1.01 * step).all()


@pytest.mark.parametrize("damage", ["a byte less", "one head", "infinite scales"])
def test_damaged_compact_queries_are_refused(compact, tmp_path, damage):
    tensors = load_file(compact)
    name = next(name for name, tensor in tensors.items() if tensor.dtype == torch.uint8 and "/query/" in name)
    if damage == "infinite scales":
        tensors[name][0, :4] = torch.tensor([0x00, 0x00, 0x80, 0x7F], dtype=torch.uint8)
    else:
        tensors[name] = (tensors[name][:, :-1] if damage == "a byte less" else tensors[name][:1]).contiguous()
    save_file(tensors, tmp_path / "damaged.safetensors", _metadata(compact))
    with pytest.raises(TraceFileError, match="query"):
        Trace.load(tmp_path / "damaged.safetensors")


def test_browser_reads_compact_queries_and_keys_as_python_does(compact):
    trace = Trace.load(compact)
    layer = next(layer for layer in trace if layer.kind == "cross")
    last = len(trace.steps) - 1
    q, k = evaluate(f"""
        import {{ readFileSync }} from "node:fs";
        import {{ floatsOf }} from {json.dumps((WEB / "core" / "compact.js").as_uri())};
        import {{ openTrace }} from {json.dumps((WEB / "core" / "trace.js").as_uri())};
        const bytes = readFileSync({json.dumps(str(compact))});
        const trace = openTrace(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
        const layer = trace.all.find(({{ name }}) => name === {json.dumps(layer.name)});
        const {{ q, k }} = layer.numbers({last}, trace.branch);
        answer([Array.from(floatsOf(q, layer)), Array.from(floatsOf(k, layer))]);
    """)
    key = trace.branches[-1], layer.name, trace.steps[last]
    np.testing.assert_allclose(np.array(q), trace.queries[key].numpy().ravel(), rtol=1e-6)
    np.testing.assert_allclose(np.array(k), trace.keys[key].float().numpy().ravel(), rtol=1e-6)


def _metadata(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()
