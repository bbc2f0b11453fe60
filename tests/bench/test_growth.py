"""What the bench of growth records, and how it writes what it measured."""

import json

import numpy as np
import pytest

from tests.bench import growth_tables
from tests.bench.growth import SWEEPS, Size, record_beside_plain

SMALL = {"recorded_over_plain": 1.234, "kept_mb": 1.5, "file_mb": 1.61, "hover_ms": 0.91, "columns_s": 0.04}
SMALL |= {"request_ms": 18.6, "server_hover_ms": 50.2}
BIG = SMALL | {"kept_mb": 96.1, "columns_s": None}
CONTENT = {
    "date": "2026-01-02",
    "machine": {"cpu": "Z80", "cores": 1, "memory_gib": 4},
    "versions": {"torch": "1"},
    "sweeps": {"grid": [{"grid": 8, **SMALL}, {"grid": 64, **BIG}], "heads": [{"heads": 4, **SMALL}]},
}


@pytest.mark.parametrize("size", [Size(8, 2, 3, 4), Size(16, 1, 2, 6)])
def test_record_beside_plain_records_what_the_size_says(size):
    trace, ratio = record_beside_plain(size)
    assert [layer.heads for layer in trace] == [size.heads] * size.layers
    assert {layer.grid for layer in trace} == {(size.grid, size.grid)}
    assert len(trace.steps) == size.steps and trace.skipped == {} and ratio > 0
    assert trace.kept_bytes == 2 * 2 * 12 * size.heads * size.grid**2 * size.steps * size.layers
    assert trace.verify() and max(trace.verify().values()) < 0.05  # in half precision


def test_default_size_is_in_every_sweep():
    assert all(getattr(Size(), quantity) in values for quantity, values in SWEEPS.items())


def test_table_says_what_is_for_the_server_and_what_took_too_long():
    assert growth_tables.table("grid", CONTENT["sweeps"]["grid"]).splitlines() == [
        "| grid | a recorded step over a plain one | file | hover, in the browser | all columns, in the browser | "
        "one answer of the server | hover, from the server |",
        "|---|---|---|---|---|---|---|",
        "| 8² | 1.23 | 1.6 MB | 0.9 ms | 0.0 s | 19 ms | 50 ms |",
        "| 64², server | 1.23 | 1.6 MB | 0.9 ms | over 20 s | 19 ms | 50 ms |",
    ]


def test_with_tables_replaces_what_stands_between_the_markers():
    text = growth_tables.with_tables("before\n<!-- growth -->\nold\n<!-- end -->\nafter\n", CONTENT)
    assert text.startswith("before\n<!-- growth -->\nZ80, 1 core, 4 GiB; 2026-01-02; torch 1.\n\n| grid |")
    assert "| heads |" in text and "old" not in text and text.endswith("<!-- end -->\nafter\n")


def test_figure_draws_every_number_and_marks_what_is_for_the_server():
    traces = json.loads(growth_tables.figure(CONTENT["sweeps"]).to_json())["data"]
    assert len(traces) == 2 * 6  # two quantities; three lines of hovers and three of the rest
    of_grid = [trace for trace in traces if trace["x"] == [8, 64]]
    assert all(trace["marker"]["symbol"] == ["circle", "x"] for trace in of_grid) and len(of_grid) == 6
    drawn = sorted(np.float64(value) for trace in of_grid for value in trace["y"] if value is not None)
    names = [name for name in SMALL if name != "kept_mb"]
    assert drawn == sorted(row[name] for row in (SMALL, BIG) for name in names if row[name] is not None)


@pytest.mark.skipif(not growth_tables.FILE.is_file(), reason="`make bench-growth` has not been run")
def test_tables_of_growth_md_equal_the_file():
    page = growth_tables.FILE.with_suffix(".md").read_text()
    content = json.loads(growth_tables.FILE.read_text())
    assert growth_tables.with_tables(page, content) == page and "| layers |" in page
    assert growth_tables.FILE.with_suffix(".svg").stat().st_size < 500_000
    kept = [row["kept_mb"] * 1e6 > growth_tables.BROWSER_BYTES for rows in content["sweeps"].values() for row in rows]
    assert any(kept) and not all(kept)  # some for the browser, some for the server
