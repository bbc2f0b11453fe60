"""The gallery: the traces that come with the project."""

import numpy as np
import pytest
from PIL import Image

from models import load
from viz import Trace
from viz.page.gallery import exhibits
from viz.recording.run import perform


def test_gallery_has_at_least_six_exhibits():
    names = [exhibit.name for exhibit in exhibits()]
    assert len(names) == len(set(names)) >= 6


@pytest.mark.parametrize("exhibit", exhibits(), ids=lambda exhibit: exhibit.name)
def test_exhibit_is_complete_small_and_proved(exhibit):
    assert exhibit.trace.stat().st_size <= 10_000_000
    trace = Trace.load(exhibit.trace)
    assert (trace.recipe["caption"], trace.recipe["seed"]) == (exhibit.caption, exhibit.seed)
    assert len(trace.layers) == 10 and trace.skipped == {}
    assert len(trace.steps) == exhibit.kept and trace.steps == list(trace.previews)
    assert (trace.steps[0], trace.steps[-1]) == (0, 24)
    assert max(trace.proved.values()) < 1e-5 and max(trace.verify().values()) < 5e-3
    assert exhibit.layer in trace.layers and exhibit.step in trace.steps
    assert -1 <= exhibit.head < trace.layers[exhibit.layer].heads and all(0 <= place < 1 for place in exhibit.point)
    assert Image.open(exhibit.picture).size == (192, 192)


def test_exhibit_opens_with_a_pixel_that_looks_somewhere():
    for exhibit in exhibits():
        trace = Trace.load(exhibit.trace)
        place = tuple(place * side for place, side in zip(exhibit.point, trace.size, strict=True))
        rows = trace.rows(exhibit.layer, step=exhibit.step, query=trace.cell(exhibit.layer, place))
        weights = rows.mean(0) if exhibit.head < 0 else rows[exhibit.head]
        assert weights.max() * weights.numel() > 5, exhibit.name  # times uniform


@pytest.mark.slow
def test_exhibit_follows_from_its_recipe():
    """Kernels round differently from processor to processor, so pictures are compared, not bits."""
    exhibit = exhibits()[0]
    pipeline = load("critters", revision=exhibit.recipe.weights)
    kept, again = Trace.load(exhibit.trace), perform(exhibit.recipe, pipeline)
    assert again.recipe["revision"] == kept.recipe["revision"] == exhibit.revision
    assert np.abs(kept.picture.astype(int) - again.picture).mean() < 2
