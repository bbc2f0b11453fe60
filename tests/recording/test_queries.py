"""`record(queries=…)`: only what is asked for is kept, and it is exactly what a whole trace has there."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import viz
from models import load
from tests.support.faults import DOWN, MID, calls, unet, watch
from tests.support.joint import joint_calls, mmdit
from tests.support.processors import Processor
from tests.support.random_weights import numbers
from viz import Trace, record
from viz.areas import coverage, shares
from viz.export import write_html
from viz.query import Maps
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.view import Box, Pixel, Region

BOTH = {"branch": "both", "guided": True}
SELF, WORDS = f"{DOWN}.attn1", f"{DOWN}.attn2"
POINT = (0.4, 0.7)  # the cell (3, 5) of 8×8 and (1, 2) of 4×4
BOX = Box((0.1, 0.1), (0.3, 0.55))  # of 8×8: rows 0 to 2, columns 0 to 4
PLACES = [POINT, BOX]


@pytest.fixture(scope="module")
def whole() -> Trace:
    return watch(unet, calls(), **BOTH).trace


@pytest.fixture(scope="module")
def some() -> Trace:
    watched = watch(unet, calls(), **BOTH, queries=PLACES)  # compares the network's outputs with a plain run's
    assert not watched.error
    return watched.trace


def every_step(trace: Trace):
    """The keyword arguments of every recorded layer, step and branch."""
    for name in trace.layers:
        for step in trace.steps_of(name):
            for branch in trace.branches:
                yield name, {"step": step, "branch": branch}


def touched(trace: Trace, name: str) -> set[tuple[int, int]]:
    """The cells of a layer that `PLACES` touch, from their corners, written out."""
    height, width = trace.layers[name].grid
    cells = {(int(POINT[0] * height), int(POINT[1] * width))}
    for row in range(height):
        for column in range(width):
            rows = row / height < BOX.end[0] and BOX.start[0] < (row + 1) / height
            columns = column / width < BOX.end[1] and BOX.start[1] < (column + 1) / width
            if rows and columns:
                cells.add((row, column))
    return cells


def test_rows_of_kept_queries_equal_the_whole_traces(whole, some):
    assert some.layers == whole.layers and not some.gaps and some.skipped == whole.skipped
    compared = 0
    for name, where in every_step(some):
        for cell in touched(some, name):
            assert torch.equal(some.rows(name, query=cell, **where), whole.rows(name, query=cell, **where))
            compared += 1
        for head in range(some.layers[name].heads):
            query = sorted(touched(some, name))[0]
            one = some.rows(name, query=query, head=head, **where)
            assert torch.equal(one, whole.rows(name, query=query, head=head, **where))
    assert compared > 3 * 2 * 4
    for key, q in some.queries.items():
        width = some.layers[key[1]].grid[1]
        places = sorted(row * width + column for row, column in touched(some, key[1]))
        assert torch.equal(q, whole.queries[key][:, places])
        assert torch.equal(some.keys[key], whole.keys[key])


def test_rows_of_other_queries_are_refused_by_name(some):
    with pytest.raises(
        KeyError, match=r"cell \(7, 7\) of .*attn1' was not asked for .* cells \(0, 0\), \(0, 1\), .*8×8"
    ):
        some.rows(SELF, step=0, query=(7, 7))
    with pytest.raises(IndexError, match="outside the 8x8 grid"):
        some.rows(SELF, step=0, query=(8, 0))


def test_atlas_regions_shares_and_maps_of_a_view_equal_the_whole_traces(whole, some):
    point = tuple(place * side for place, side in zip(POINT, some.size, strict=True))
    for branch in some.branches:
        mine, theirs = some.atlas(point, branch=branch), whole.atlas(point, branch=branch)
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    for name, where in every_step(some):
        layer = some.layers[name]
        weights = torch.from_numpy(shares(BOX, layer.grid))
        if layer.kind == "self":
            assert torch.equal(
                some.region_rows(name, weights=weights, **where), whole.region_rows(name, weights=weights, **where)
            )
            for query in (Pixel(POINT), BOX):
                one, other = (Maps(trace).one(query, name, **where) for trace in (some, whole))
                assert (one == other).all()
        else:
            for query in (weights, min(touched(some, name))):
                one, other = (trace.word_shares(name, query=query, **where) for trace in (some, whole))
                assert torch.equal(one, other)


def test_a_region_that_is_only_partly_kept_is_refused(some):
    with pytest.raises(KeyError, match=r"cell \(0, 5\) and 2 more of"):
        some.region_rows(SELF, step=0, weights=torch.from_numpy(coverage(Box((0, 0), (0.375, 0.75)), (8, 8))))


@pytest.mark.parametrize(
    "ask",
    [
        lambda trace: trace.columns(SELF, step=0, key=(3, 5)),
        lambda trace: trace.mean_row(SELF, step=0),
        lambda trace: trace.row_sums(SELF, step=0),
        lambda trace: trace.word_map(WORDS, "1", step=0),
        lambda trace: trace.mean_word_map("1"),
        lambda trace: Maps(trace).one(Pixel(POINT), SELF, 0, mode="column"),
        lambda trace: Maps(trace).one(Pixel(POINT), SELF, 0, special=True),
    ],
)
def test_what_needs_every_query_is_refused_with_the_reason(some, ask):
    with pytest.raises(ValueError, match=r"are made of every pixel's query, and of .* keeps \d+ of 64 queries"):
        ask(some)


def test_every_kept_row_is_proved(some):
    """16 or fewer are compared at every step; a fault in one of them alone is found."""

    class OneRow(Processor):
        """From step 1 on, one cell of the 8×8 grid looks at itself only."""

        def attend(self, q, k, v):
            out = super().attend(q, k, v).clone()
            if self.on and q.shape[2] == k.shape[2] == 64:
                out[:, :, 29] = v[:, :, 29]  # (3, 5)
            return out

    def prepare(network, step):
        if step == 0:
            network.set_attn_processor(OneRow())
        for module in network.attn_processors.values():
            module.on = step >= 1

    trace = watch(unet, calls(prepare), guided=True, queries=POINT).trace
    assert trace.steps_of(SELF) == [0] and "its output is not softmax" in trace.gaps[SELF][1]
    assert trace.steps_of(WORDS) == [0, 1, 2] and trace.steps_of(f"{MID}.attn1") == [0, 1, 2]
    assert max(some.proved.values()) < 1e-5 and some.proofs.keys() == some.layers.keys()
    for name, proof in some.proofs.items():
        assert set(proof.queries.tolist()) <= set(some.kept_queries[name])
    assert max(some.verify().values()) < 1e-5


def test_faults_elsewhere_are_still_found():
    class Elsewhere(Processor):
        """The last rows of the 8×8 grid are their values' mean."""

        def attend(self, q, k, v):
            out = super().attend(q, k, v).clone()
            if q.shape[2] == k.shape[2] == 64:
                out[:, :, 48:] = v.mean(2, keepdim=True)
            return out

    def prepare(network, step):
        network.set_attn_processor(Elsewhere())

    trace = watch(unet, calls(prepare), guided=True, queries=POINT).trace
    assert SELF not in trace.layers and "its output is not softmax" in trace.skipped[SELF]
    assert WORDS in trace.layers


@pytest.mark.parametrize("compact", [False, True])
def test_trace_of_some_queries_is_saved_and_opened(some, tmp_path, compact):
    loaded = Trace.load(some.save(tmp_path / "some.safetensors", compact=compact))
    assert loaded.kept_queries == some.kept_queries and loaded.layers == some.layers
    assert all(torch.equal(loaded.keys[key], k) for key, k in some.keys.items())
    for key, q in some.queries.items():
        assert loaded.queries[key].shape == q.shape
        assert torch.equal(loaded.queries[key], q) or (compact and some.layers[key[1]].kind == "cross")
    cell = next(iter(touched(some, SELF)))
    assert torch.equal(loaded.rows(SELF, step=2, query=cell), some.rows(SELF, step=2, query=cell))
    with pytest.raises(KeyError, match="was not asked for"):
        loaded.rows(SELF, step=2, query=(7, 7))


def test_select_keeps_what_record_would_have_kept(whole, some, tmp_path):
    selected = whole.select(queries=PLACES)
    assert selected.kept_queries == some.kept_queries and selected.queries.keys() == some.queries.keys()
    assert all(torch.equal(selected.queries[key], q) for key, q in some.queries.items())
    assert max(selected.verify().values()) < 1e-5 and selected.verify()
    assert Trace.load(selected.save(tmp_path / "some.safetensors")).kept_queries == some.kept_queries
    fewer = some.select(queries=POINT, steps=[1], layers=[SELF], dtype=torch.float16)
    assert fewer.kept_queries == {SELF: (29,)} and all(q.shape[1] == 1 for q in fewer.queries.values())
    assert some.select(steps=[0]).kept_queries == some.kept_queries
    with pytest.raises(KeyError, match=r"cell \(7, 7\) of"):
        some.select(queries=(0.99, 0.99))


def test_plan_counts_the_queries_that_are_kept():
    whole, planned = (viz.plan(unet(), *example(), steps=3, branches=2, **each) for each in ({}, {"queries": PLACES}))
    trace = watch(unet, calls(), **BOTH, queries=PLACES).trace
    proofs = sum(t.nbytes for proof in trace.proofs.values() for t in (proof.queries, proof.value, proof.output))
    assert planned.layers == whole.layers and planned.total == trace.kept_bytes + proofs
    assert planned.by_layer[WORDS] < whole.by_layer[WORDS]


def example():
    return numbers(2, 4, 8, 8, seed=1), 900, numbers(2, 5, 16, seed=2)


def test_record_into_a_file_keeps_only_some_queries(some, tmp_path):
    network, path = unet(), tmp_path / "run.safetensors"
    with record(network, queries=PLACES, into=path, **BOTH):
        calls()(network)
    loaded = Trace.load(path)
    assert loaded.kept_queries == some.kept_queries
    assert all(torch.equal(loaded.queries[key], q) for key, q in some.queries.items())


@pytest.mark.parametrize("queries", ["words", [POINT, "words"], POINT])
def test_words_of_joint_attention_are_kept_on_request(queries):
    joint = "transformer_blocks.0.attn"
    whole = watch(mmdit, joint_calls(), **BOTH).trace
    some = watch(mmdit, joint_calls(), **BOTH, queries=queries).trace
    cell = (int(POINT[0] * 4), int(POINT[1] * 6))
    own = [] if queries == "words" else [cell[0] * 6 + cell[1]]
    words = [] if queries == POINT else [*range(24, 31)]
    assert some.kept_queries[joint] == (*own, *words)
    for _, where in every_step(some):
        if own:
            assert torch.equal(some.rows(joint, query=cell, **where), whole.rows(joint, query=cell, **where))
        if words:
            assert torch.equal(some.rows(joint, query="3", **where), whole.rows(joint, query="3", **where))
            assert torch.equal(some.word_matrix(joint, **where), whole.word_matrix(joint, **where))
    if not own:
        with pytest.raises(KeyError, match=r"cell \(0, 0\) of .*queries are 7 that are no cells"):
            some.rows(joint, step=0, query=(0, 0))
    if not words:
        with pytest.raises(KeyError, match="query 26, which is no cell, of"):
            some.rows(joint, step=0, query="3")


def test_layers_without_a_query_that_is_asked_for_are_named():
    trace = watch(unet, calls(), queries="words", guided=True)
    assert "no layer could be recorded" in trace.error and "in it words are no queries" in trace.error
    selected = watch(unet, calls(), guided=True).trace.select(queries="words")
    assert not selected.layers and "words are no queries" in selected.skipped[SELF]


def test_queries_of_the_whole_picture_keep_a_whole_trace(whole):
    trace = watch(unet, calls(), **BOTH, queries=Box((0, 0), (1, 1))).trace
    assert not trace.kept_queries and torch.equal(trace.mean_row(SELF, step=0), whole.mean_row(SELF, step=0))


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ((14, 10), r"from 0 to 1; got .*Region\.of_cells"),
        ([(0.5, 0.5), (0.5, 1.5)], "from 0 to 1"),
        (Box((0.5, 0.5), (0.5, 0.9)), "a height and a width"),
        ([], "queries is empty"),
        ("eyes", "or “words”; got eyes"),
        ([POINT, 3], "got 3"),
        (0.5, "got 0.5"),
        ((float("nan"), 0.5), "from 0 to 1"),
    ],
)
def test_queries_that_are_no_places_are_refused_before_the_network_runs(queries, message):
    with pytest.raises(ValueError, match=message), record(unet(), queries=queries):
        pytest.fail("the block ran")


def test_region_of_cells_covers_exactly_these():
    region = Region.of_cells((5, 7), [(0, 0), (4, 6), (2, 3), (2, 3)])
    covered = coverage(region, (5, 7))
    assert {tuple(cell) for cell in zip(*covered.nonzero(), strict=True)} == {(0, 0), (2, 3), (4, 6)}
    assert (covered[covered > 0] == pytest.approx(1)) and (coverage(region, (10, 14)) > 0).sum() == 12
    for cells in ([], [(5, 0)], [(-1, 0)]):
        with pytest.raises(ValueError, match=r"outside the 5×7 grid|at least one cell"):
            Region.of_cells((5, 7), cells)


def test_perform_and_look_at_pass_queries_on():
    pipeline = load("critters")
    trace = perform(Recipe("a red monster", seed=1, steps=2), pipeline, queries=POINT)
    assert trace.kept_queries.keys() == trace.layers.keys()
    assert all(len(queries) == 1 for queries in trace.kept_queries.values())
    photo = Image.new("RGB", (16, 16), (200, 30, 30))
    looked = viz.look_at(pipeline, photo, steps=1, queries=POINT, budget=10**9)
    assert looked.kept_queries == trace.kept_queries


def test_browser_is_not_given_a_trace_of_some_queries(some, tmp_path: Path):
    with pytest.raises(ValueError, match="only the queries that were asked for"):
        write_html(some, tmp_path / "run.html")
    assert not list(tmp_path.iterdir())
