"""The bench of growth at a small size, on its two real pages."""

import re

import pytest

from tests.bench import growth_tables
from tests.bench.growth import Size, measure_all


def test_measure_all_measures_in_the_browser_and_from_the_server(chromium):
    sweeps = measure_all(chromium, {"steps": (2, 3)}, Size(8, 2, 3, 4), hovers=3)
    few, more = sweeps["steps"]
    assert (few["steps"], more["steps"]) == (2, 3) and few["kept_mb"] * 1.5 == pytest.approx(more["kept_mb"], rel=1e-3)
    assert set(growth_tables.COLUMNS) | {"kept_mb", "steps"} == few.keys() == more.keys()
    assert all(value > 0 for row in (few, more) for value in row.values())
    text = growth_tables.as_svg(chromium, growth_tables.figure(sweeps))
    assert text.startswith("<svg") and "ms of a hover" in text and len(re.findall("<path", text)) > 20
    assert len(text) < 500_000
