"""The gallery: recipes with a poster each, and the trace that the page opens with."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from models import load
from tests.support.gallery import kept_trace
from viz import Trace
from viz.__main__ import _early_head, build
from viz.page import gallery
from viz.page.gallery import GALLERY, LESSON, exhibits, first_trace, steps_to_keep
from viz.page.tabs import api, lesson
from viz.recording.run import perform
from viz.view import View


def test_gallery_has_at_least_six_exhibits():
    names = [exhibit.name for exhibit in exhibits()]
    assert len(names) == len(set(names)) >= 6


def test_only_the_first_exhibit_comes_with_a_trace():
    """A repository keeps every version of a file."""
    assert [path.stem for path in GALLERY.glob("*.safetensors") if path != LESSON] == [exhibits()[0].name]
    assert [exhibit.trace for exhibit in exhibits()[1:]] == [None] * (len(exhibits()) - 1)


def test_first_exhibit_is_complete_small_and_proved():
    exhibit = exhibits()[0]
    assert exhibit.trace.stat().st_size <= 12_000_000
    trace = Trace.load(exhibit.trace)
    assert (trace.recipe["caption"], trace.recipe["seed"]) == (exhibit.caption, exhibit.seed)
    assert len(trace.layers) == 20 and trace.skipped == trace.gaps == {}
    assert trace.words["conditional"].text == exhibit.caption
    assert trace.steps == exhibit.steps == steps_to_keep(exhibit) and trace.steps == list(trace.previews)
    assert (len(trace.steps), trace.steps[0], trace.steps[-1]) == (exhibit.kept, 0, 24)
    assert max(np.diff(trace.steps)) <= 4 and exhibit.step in trace.steps
    assert max(trace.proved.values()) < 1e-5 and max(trace.verify().values()) < 5e-3


def test_first_exhibits_file_begins_with_its_view():
    exhibit = exhibits()[0]
    with open(exhibit.trace, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    ends = {name: entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"}
    shown = [f"conditional/{part}/{exhibit.layer}/{exhibit.step}" for part in ("query", "key")]
    assert max(ends[name] for name in ["picture", *shown]) < 300_000


@pytest.mark.parametrize("exhibit", exhibits(), ids=lambda exhibit: exhibit.name)
def test_exhibit_has_a_poster_and_a_view(exhibit):
    layer = Trace.load(first_trace()).layers[exhibit.layer]
    assert -1 <= exhibit.head < layer.heads and 0 <= exhibit.step < exhibit.recipe.steps
    assert exhibit.view == View(exhibit.point, exhibit.layer, exhibit.step, exhibit.head)
    assert exhibit.recipe.weights == exhibit.revision
    assert Image.open(exhibit.picture).size == (192, 192)


@pytest.mark.slow
@pytest.mark.parametrize("exhibit", exhibits()[:3], ids=lambda exhibit: exhibit.name)
def test_exhibit_is_whole_and_opens_with_a_pixel_that_looks_somewhere(exhibit):
    trace = Trace.load(kept_trace(exhibit))
    assert trace.steps == list(range(25)) == list(trace.previews) and trace.words and len(trace.layers) == 20
    poster = np.asarray(Image.open(exhibit.picture).convert("RGB"))[1::3, 1::3]
    assert np.abs(poster.astype(int) - trace.picture).mean() < 2
    for shown in [trace, Trace.load(exhibit.trace)] if exhibit.trace else [trace]:
        place = tuple(place * side for place, side in zip(exhibit.point, shown.size, strict=True))
        rows = shown.rows(exhibit.layer, step=exhibit.step, query=shown.cell(exhibit.layer, place))
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


@pytest.fixture
def own_gallery(tmp_path, monkeypatch):
    """A copy of the gallery that a test may damage."""
    folder = Path(shutil.copytree(GALLERY, tmp_path / "gallery"))
    monkeypatch.setattr(gallery, "GALLERY", folder)
    monkeypatch.setattr(lesson, "LESSON", folder / LESSON.name)
    caches = (exhibits, lesson._lesson_layers, lesson._bundled_layers)
    for cache in caches:
        cache.cache_clear()
    yield folder
    for cache in caches:
        cache.cache_clear()


def opened_with(page) -> dict[str, Any]:
    """{elem_id: value} of the viewer and the lesson of a page."""
    return {each.elem_id: each.value for each in page.blocks.values() if each.elem_id in ("viewer", "lesson")}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("twins.safetensors", b"\xff" * 100),
        ("twins.safetensors", b""),
        ("twins.safetensors", None),
        ("twins.safetensors", (10).to_bytes(8, "little") + b'{"a": nope'),
        ("twins.png", b"no picture"),
        ("index.json", b"[{"),
        ("index.json", b'[3, {"name": "twins"}]'),
    ],
)
def test_damaged_exhibit_is_left_out_with_a_sentence(own_gallery, caplog, name, content):
    (own_gallery / name).unlink() if content is None else (own_gallery / name).write_bytes(content)
    values = opened_with(build())
    assert values["viewer"]["message"].startswith("The recording that belongs here is damaged. ")
    assert values["lesson"]["note"].startswith("The recording that belongs here is damaged. ")
    assert "twins" not in [exhibit.name for exhibit in exhibits()]
    assert len(exhibits()) == (0 if name == "index.json" else 5)
    early = _early_head(frozenset({"html"}))
    assert "requestEarly" not in early and "followAddress" in early
    assert "Install PixelGaze again." in caplog.text and "Traceback" not in caplog.text
    assert len({record.getMessage() for record in caplog.records}) == len(caplog.records) <= 2


@pytest.mark.parametrize("content", [b"", b"\xff" * 100])
def test_damaged_lesson_is_left_out_with_a_sentence(own_gallery, caplog, content):
    layers = list(lesson._bundled_layers())
    lesson._lesson_layers.cache_clear(), lesson._bundled_layers.cache_clear()
    (own_gallery / LESSON.name).write_bytes(content)
    values = opened_with(build())
    assert "note" in values["lesson"] and "trace" in values["viewer"]
    assert lesson._bundled_layers() == layers  # the model's own
    assert "The first lesson is left out, because it is damaged" in caplog.text


def test_layers_are_not_known_to_programs_where_the_recording_is_damaged(own_gallery):
    (own_gallery / "twins.safetensors").write_bytes(b"")
    with pytest.raises(gr.Error, match="is damaged"):
        api.list_models()
