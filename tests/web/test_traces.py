"""Traces that Python wrote, opened by viz/web/core: both versions of the format, and the same numbers as in Python."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.support.opened import map_of, opened
from tests.support.traces import save_first_version, trace_of_segments, trace_with_everything
from viz import Trace
from viz.page.gallery import exhibits
from viz.query import Maps
from viz.view import Box, Pixel, Region

QUERIES = (Pixel((0.7, 0.3)), Box((0.1, 0.2), (0.6, 0.9)), Region((2, 2), b"\x90"))


@pytest.mark.parametrize("query", QUERIES, ids=["pixel", "box", "region"])
def test_answers_equal_python_where_queries_and_keys_are_of_many_kinds(tmp_path, query):
    trace = trace_of_segments()
    path, maps = trace.save(tmp_path / "run.safetensors"), Maps(trace)
    choices = [
        (layer, step, head, mode, special)
        for layer, step in ((0, 1), (1, 2))
        for head in (-1, 1)
        for mode, special in (("row", False), ("row", True), ("column", False))
    ]
    numbers = opened(
        path, f"[{', '.join(map_of(layer, step, head, query, *rest) for layer, step, head, *rest in choices)}]"
    )
    for (layer, step, head, mode, special), values in zip(choices, numbers, strict=True):
        name = maps.layers[layer].name
        expected = maps.one(query, name, trace.steps[step], head=head, mode=mode, special=special).flatten()
        assert np.abs(np.array(values) - expected).max() < 1e-3, (name, head, mode, special)


def test_open_trace_reads_every_field_of_version_2(tmp_path):
    path = trace_with_everything().save(tmp_path / "run.safetensors")
    fields = opened(
        path,
        """({
            layers: trace.layers.map(({ name, height, width, tokens, keyGrid, ...layer }) => [
                ...[name, height, width, tokens, layer.firstQuery, layer.queryCount],
                ...[keyGrid.height, keyGrid.width, layer.firstKey, layer.keyCount],
            ]),
            others: trace.layers.map(({ otherKeys }) => otherKeys),
            gaps: trace.layers.map(({ gaps }) => [...gaps]),
            calls: [...trace.calls], branch: trace.branch, proof: trace.proof,
            missing: [0, 1].map((step) => trace.layers[1].numbers(step) === null),
            keys: [...core.floatsOf(trace.layers[0].numbers(1).k)],
        })""",
    )
    assert fields["layers"] == [["a", 2, 2, 4, 1, 5, 2, 2, 0, 5], ["d", 2, 2, 4, 0, 4, 1, 2, 1, 3]]
    assert fields["others"] == [{"objects": 1}, {"frames": 1}]
    assert fields["gaps"] == [[], [[0, "its gate was closed"]]] and fields["missing"] == [True, False]
    assert fields["calls"] == [[1, [2, 2]]] and fields["branch"] == "picture 2 of 2"
    assert fields["proof"] == {
        "layers": 1,
        "error": 0.25,
        "rows": 4,
        "stored": pytest.approx(fields["proof"]["stored"]),
    }
    trace = Trace.load(path)
    assert fields["keys"] == trace.keys["picture 2 of 2", "a", 3].flatten().tolist()


def test_open_trace_reads_the_outline_of_a_trace_that_stays_on_the_server(tmp_path):
    outline = replace(trace_of_segments(), queries={}, keys={}, proofs={})
    path = outline.save(tmp_path / "outline.safetensors")
    gaps, keys = opened(
        path,
        "[trace.layers.map(({ gaps }) => [...gaps]), [0, 1, 2].map((step) => trace.layers[0].numbers(step))]",
        remote="{}",
    )
    assert gaps == [[[2, "its output could not be recomputed"]], [[1, "it did not run"]]] and keys == [None] * 3


def test_open_trace_reads_version_1_as_segments(tmp_path):
    save_first_version(tmp_path / "old.safetensors")
    layer, proof, badge = opened(
        tmp_path / "old.safetensors", "[trace.layers[0], trace.proof, core.describeProof(trace)]"
    )
    assert badge["badge"].startswith("1 of 3 layers verified at one step, to ") and len(badge["missing"]) == 1
    assert badge["details"][0].endswith("relative to the output's largest entry.")
    names = ("name", "height", "width", "firstQuery", "queryCount", "keyGrid", "firstKey", "keyCount", "otherKeys")
    grid = {"height": 2, "width": 3, "tokens": 6}
    assert [layer[name] for name in names] == ["a", 2, 3, 0, 6, grid, 1, 7, {"registers": 1}]
    assert proof == {"layers": 1, "error": 1e-7, "rows": None, "stored": 2e-7}
    trace = Trace.load(tmp_path / "old.safetensors")
    for mode in ("row", "column"):
        values = opened(tmp_path / "old.safetensors", map_of(0, 1, 0, QUERIES[0], mode, False))
        expected = Maps(trace).one(QUERIES[0], "a", 2, head=0, mode=mode).flatten()
        assert np.abs(np.array(values) - expected).max() < 1e-3


def test_open_trace_reads_the_gallery():
    exhibit = exhibits()[0]
    trace = Trace.load(exhibit.trace)
    badge, values = opened(exhibit.trace, f"[core.describeProof(trace), {map_of(2, 3, -1, QUERIES[1], 'row', True)}]")
    assert re.match(r"20 layers verified at .* steps, [\d,]+ rows, to ", badge["badge"]) and badge["missing"] == []
    name = [layer.name for layer in trace if layer.kind == "self"][2]
    expected = Maps(trace).one(QUERIES[1], name, trace.steps[3], special=True).flatten()
    assert np.abs(np.array(values) - expected).max() < 1e-2


def test_proof_and_gaps_in_words(tmp_path):
    path = trace_of_segments().save(tmp_path / "run.safetensors")
    proof, keys, gaps, step = opened(
        path,
        """[core.describeProof(trace), trace.layers.map((layer) => [core.formatKeys(layer), core.formatGrids(layer)]),
            trace.layers.map((layer) => core.formatGaps(trace, layer)), core.formatStep(trace, 1)]""",
    )
    assert proof["badge"] == "3 of 4 layers verified, 448 rows, to 7e\u20117; 1 left out, 2 with gaps"
    assert "relative to how far apart the values of different keys lie" in proof["details"][0]
    assert proof["missing"] == [
        ["refused", "left out: a mask is added to its scores"],
        ["joint", "no map at step 6: its output could not be recomputed"],
        ["plain", "no map at step 4: it did not run"],
    ]
    assert keys == [
        ["looks at 2×2 cells of a coarser map, 2 words and 3 registers", "3×4 → 2×2 + 5"],
        ["self-attention · 3×4", "3×4"],
    ]
    assert gaps == [["no map at step 6: its output could not be recomputed"], ["no map at step 4: it did not run"]]
    assert step == "step 4, t = 900, call 2 of 2"
