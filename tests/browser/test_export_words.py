"""Exports of a trace that holds words, in Chromium, from one HTML file with the network off."""

import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import load
from tests.support.chromium import VIEWER, export_file, open_offline
from tests.support.halves import trace_of_halves
from viz import Trace
from viz.export import for_browser, rows_on_show, write_html
from viz.view import View

TEXT = "a green monster with two yellow eyes"
WORDS = TEXT.split()
EYES, YELLOW = {"kind": "word", "text": "eyes"}, {"kind": "word", "text": "yellow"}
PADDING = {"kind": "word", "text": "padding", "of": "padding"}
PIXEL = {"kind": "pixel", "point": [0.4, 0.6]}
BOX = {"kind": "box", "from": [0.4, 0.3], "to": [0.62, 0.55]}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """Three steps of the bundled model, both halves of guidance, as the page has them."""
    path = tmp_path_factory.mktemp("words") / "words.safetensors"
    return for_browser(trace_of_halves(load("critters"), TEXT, 3)).save(path, compact=True)


@pytest.fixture(scope="module")
def trace(file) -> Trace:
    return Trace.load(file)


@pytest.fixture(scope="module")
def alone(chromium, file):
    """The trace's HTML file, opened from disk with the network off."""
    page = open_offline(chromium, write_html(file, file.with_suffix(".html")))
    yield page
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requested_urls), page.requested_urls


def set_view(page, **view) -> dict:
    """Change the view; returns the whole of it."""
    plain = {"pins": [], "active": -1, "mode": "row", "special": False, "winner": False, "bars": "layer", "head": -1}
    chosen = {"layer": "up_blocks.2.attentions.0.transformer_blocks.0.attn1", "step": 1, "point": PIXEL["point"]}
    page.evaluate(
        f"(view) => {VIEWER}.view(view)", plain | chosen | {"reading": "spent", "branch": "conditional"} | view
    )
    page.evaluate(f"{VIEWER}.whole()")
    return page.evaluate(f"{VIEWER}.viewNow()")


def svg_of(page) -> ElementTree.Element:
    return ElementTree.fromstring(export_file(page, "with real text")[1])


def texts_of(svg) -> list[str]:
    return ["".join(node.itertext()) for node in svg.iter(f"{SVG}text")]


CHANGES = {
    "a pixel": {},
    "a rectangle, in a head": {"pins": [BOX], "active": 0, "head": 2},
    "a word": {"pins": [EYES, PIXEL, YELLOW], "active": 0},
    "a word's use": {"pins": [PADDING], "active": 0, "reading": "used", "head": 1},
    "a word and a column": {"pins": [BOX, EYES], "active": 0, "mode": "column"},
    "the unconditional half": {"branch": "unconditional", "pins": [PADDING], "active": 0},
    "the difference": {"branch": "difference", "pins": [PADDING, EYES], "active": 0},
    "a word that is not there": {"pins": [{"kind": "word", "text": "horns"}], "active": 0},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_npz_of_words_equals_python(alone, trace, changes):
    document = set_view(alone, **changes)
    expected = rows_on_show(trace, View.from_json(document))
    with np.load(io.BytesIO(export_file(alone, "the maps of the atlas and the pins")[1])) as rows:
        assert set(rows) == set(expected)
        assert sum(name.startswith("word_shares_") for name in rows) == 10
        for name, values in expected.items():
            if name.startswith(("maps_", "pin_", "word_shares_")):
                largest = np.nanmax(np.abs(values), initial=1)
                assert rows[name].shape == values.shape
                assert np.allclose(rows[name], values, rtol=0, atol=1e-3 * largest, equal_nan=True), name
            elif name not in ("view", "recipe", "timesteps"):
                assert np.array_equal(rows[name], values), name
        assert json.loads(str(rows["view"])) == document


def test_svg_shows_the_words_with_the_bars_of_the_screen(alone):
    set_view(alone)
    svg, shown = svg_of(alone), alone.evaluate(f"{VIEWER}.exported.words")
    texts = texts_of(svg)
    assert [*WORDS, "padding ×17"] == [text for text in texts if text in {*WORDS, "padding ×17"}]
    shares = alone.locator(".pg-strip .pg-share").all_inner_texts()
    assert [text for text in texts if text in shares] == shares and len(shares) == len(WORDS) + 1
    assert shown["note"] in " ".join(texts)
    bars = [float(rect.get("height")) for rect in svg.iter(f"{SVG}rect") if rect.get("fill") in ("#c2410c", "#565d6b")]
    sizes = [min(1, entry["share"] / shown["full"]) for entry in shown["words"]]
    assert np.allclose(bars, 15 * np.array(sizes), atol=0.01) and max(bars) > 2


def test_svg_of_a_word_names_it_and_shows_the_layers_with_words(alone, trace):
    set_view(alone, pins=[EYES, YELLOW, PIXEL], active=0)
    svg = svg_of(alone)
    texts = texts_of(svg)
    assert "The word “eyes”" in " ".join(texts) and {"“eyes”", "“yellow”"} <= set(texts)
    assert sum("→ words" in text for text in texts) == 10
    assert "up_blocks.2.attentions.0.transformer_blocks.0.attn2" in " ".join(texts)
    images = list(svg.iter(f"{SVG}image"))
    assert len(images) == (10 + 3) * len(trace.steps) + 1
    fills = [circle.get("fill") for circle in svg.iter(f"{SVG}circle")]
    assert fills == ["#56b4e9", "#e69f00", "#e69f00", "#56b4e9", "#009e73"]  # in the strip, then the pins' rows


def test_svg_names_the_branch(alone):
    for branch, text in {"unconditional": "unconditional", "difference": "conditional minus unconditional"}.items():
        set_view(alone, branch=branch)
        assert f"self-attention · 32×32, mean of 4 heads, {text}" in " ".join(texts_of(svg_of(alone)))


def test_svg_says_why_a_word_has_no_map(alone):
    set_view(alone, pins=[{"kind": "word", "text": "horns"}], active=0)
    svg = svg_of(alone)
    reasons = ["".join(path.itertext()) for path in svg.iter(f"{SVG}path")]
    assert len(reasons) == (10 + 1) * 3 and all("has no “horns”" in reason for reason in reasons)


def test_png_of_areas_shows_the_words_colours(alone):
    def sheet() -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(export_file(alone, "1 times the size")[1])).convert("RGB"), int)

    set_view(alone)
    plain = sheet()
    set_view(alone, winner=True)
    areas, texts = sheet(), texts_of(svg_of(alone))
    text = " ".join(texts)
    assert "Over the picture: each cell in the colour of the word on which it spends most (up_blocks.2" in text
    assert "attn2, mean of 4 heads, conditional)" in text
    differing = (plain[-400:, : plain.shape[1] // 3] != areas[-400:, : plain.shape[1] // 3]).any(-1)
    assert differing.mean() > 0.2  # of the picture


def test_gif_of_a_word_names_it_at_every_step(alone, trace):
    frames = {}
    for name, changes in {"word": {"pins": [EYES], "active": 0}, "pixel": {}, "areas": {"winner": True}}.items():
        set_view(alone, **changes)
        gif = Image.open(io.BytesIO(export_file(alone, "the map over the picture")[1]))
        assert gif.n_frames == len(trace.steps)
        frames[name] = np.asarray(gif.convert("RGB"), int)
    width = frames["word"].shape[1]
    assert np.abs(frames["word"][:width] - frames["pixel"][:width]).mean() > 2
    assert np.abs(frames["areas"][:width] - frames["pixel"][:width]).mean() > 2


def test_html_file_answers_words(alone):
    """Pointing at a word shows its map, and a click pins it, without a server."""
    set_view(alone)
    chip = alone.locator(".pg-strip").get_by_role("button", name="eyes")
    chip.hover()
    alone.evaluate(f"{VIEWER}.whole()")
    assert "“eyes”" in alone.locator(".pg-sentence").inner_text()
    chip.click()
    assert alone.evaluate(f"{VIEWER}.viewNow().pins") == [EYES]
    set_view(alone)
