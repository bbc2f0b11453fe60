"""Exported files, made in Python."""

import base64
import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.support.gallery import without_words
from tests.support.traces import trace_of_segments
from viz import Trace
from viz.export import rows_on_show, write_gif, write_html, write_npz
from viz.page.gallery import exhibits, first_trace
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.trace_header import HeaderError, read_description
from viz.view import Box, Pixel, View

EXHIBIT = exhibits()[0]
VIEW = View(EXHIBIT.point, EXHIBIT.layer, EXHIBIT.step, EXHIBIT.head)
HOSTILE = "</script><img src=x onerror=alert(1)> ${1+1} ${ \"'` <!-- " + "x" * 10_000


@pytest.fixture(scope="module")
def trace() -> Trace:
    return without_words(first_trace())


def parts(path) -> tuple[str, dict, bytes]:
    document = path.read_text()
    (page,) = re.findall(r'<script type="application/json" id="pg-page">(.*?)</script>', document, re.DOTALL)
    (held,) = re.findall(r'<script type="text/plain" id="pg-trace">(.*?)</script>', document, re.DOTALL)
    return document, json.loads(page), gzip.decompress(base64.b64decode(held))


def test_write_html_of_the_first_exhibit_is_below_15_mb(tmp_path):
    path = write_html(EXHIBIT.trace, tmp_path / "page.html", VIEW)
    assert path.stat().st_size < 15_000_000
    document, page, held = parts(path)
    assert held == EXHIBIT.trace.read_bytes()
    assert page["view"] == json.loads(json.dumps(VIEW.to_json()))
    assert EXHIBIT.caption in document[:2000]


def test_write_html_allows_no_network_and_no_other_script(tmp_path):
    document, _, _ = parts(write_html(EXHIBIT.trace, tmp_path / "page.html"))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', document)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.count("unsafe") == policy.count("'wasm-unsafe-eval'") == 1  # compiles bytes that the script contains
    assert "http" not in policy and "*" not in policy
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", document)


def test_write_html_escapes_the_texts_of_a_trace_in_memory(tmp_path, shared_pipeline):
    trace = perform(Recipe("a red monster", steps=2), shared_pipeline)
    trace.recipe["caption"] = trace.recipe["more"] = HOSTILE
    document, page, held = parts(write_html(trace, tmp_path / "page.html"))
    assert page["view"] == {}
    (tmp_path / "held").write_bytes(held)
    assert Trace.load(tmp_path / "held").recipe["caption"] == HOSTILE
    assert HOSTILE[:20] not in document and "<img" not in document and document.count("</script>") == 3
    assert "&lt;img src=x onerror=alert(1)&gt; ${1+1}" in document[:3000]  # the title


def test_write_html_refuses_a_file_that_is_no_trace(tmp_path):
    for content in (b"", b"short", b"\x02" + bytes(7) + b"{}", bytes(100)):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(HeaderError, match="expected the file of a trace"):
            write_html(tmp_path / "file", tmp_path / "page.html")
    assert read_description(first_trace())["recipe"]["seed"] == EXHIBIT.seed
    assert EXHIBIT.steps == Trace.load(first_trace()).steps


def test_rows_on_show_are_the_rows_of_the_trace(trace, tmp_path):
    pins = (Pixel((0.2, 0.2)), Box((0.1, 0.1), (0.4, 0.3)))
    view = View(EXHIBIT.point, EXHIBIT.layer, EXHIBIT.step, 2, pins=pins, active=-1)
    with np.load(write_npz(trace, tmp_path / "rows.npz", view)) as rows:
        assert list(rows["layers"]) == list(trace.layers) and list(rows["steps"]) == trace.steps
        assert json.loads(str(rows["view"]))["head"] == 2
        place = tuple(part * 64 for part in EXHIBIT.point)
        for i, (name, layer) in enumerate(trace.layers.items()):
            expected = [trace.rows(name, step=s, query=trace.cell(name, place), head=2) for s in trace.steps]
            assert np.allclose(rows[f"maps_{i:02}"], np.stack(expected) * layer.tokens, atol=1e-4)
        pinned = trace.rows(EXHIBIT.layer, step=trace.steps[3], query=(6, 6), head=2) * 1024
        assert np.allclose(rows["pin_1"][3], pinned, atol=1e-4)
    assert "pin_2" in rows_on_show(trace, view) and "pin_3" not in rows_on_show(trace, view)


def test_rows_on_show_are_nan_at_gaps_and_lie_on_the_grid_of_the_maps(tmp_path):
    trace = trace_of_segments()
    view = View((0.5, 0.5), "plain", 0, pins=(Pixel((0.2, 0.2)),), active=-1)
    for mode, shape in (("row", (2, 2)), ("column", (3, 4))):
        rows = rows_on_show(trace, replace(view, mode=mode))
        assert rows["maps_00"].shape == (3, *shape) and rows["maps_01"].shape == (3, 3, 4)
        assert np.isnan(rows["maps_00"]).all((1, 2)).tolist() == [False, False, True]
        for name in ("maps_01", "pin_1"):
            assert np.isnan(rows[name]).all((1, 2)).tolist() == [False, True, False]


def test_write_gif_has_a_frame_at_a_gap_too(tmp_path):
    trace = trace_of_segments()
    gif = Image.open(write_gif(trace, tmp_path / "gaps.gif", View((0.5, 0.5), "plain", 0), size=64))
    frames = []
    for index in range(gif.n_frames):
        gif.seek(index)
        frames.append(np.asarray(gif.convert("RGB"), int))
    pictures = [frame[:48, :28] for frame in frames]  # left of the query's outline
    assert len(frames) == 3 and pictures[1].std((0, 1)).max() == 0  # the picture alone, which is black here
    assert min(pictures[0].std((0, 1)).max(), pictures[2].std((0, 1)).max()) > 5


def test_write_gif_has_a_frame_for_each_step(trace, tmp_path):
    gif = Image.open(write_gif(trace, tmp_path / "steps.gif", VIEW, size=64))
    assert (gif.n_frames, gif.width) == (len(trace.steps), 64) and 64 < gif.height < 96
    first = np.asarray(gif.convert("RGB"), int)[:64]
    gif.seek(gif.n_frames - 1)
    assert np.abs(first - np.asarray(gif.convert("RGB"))[:64]).mean() > 5


def test_write_gif_of_a_column_ignores_special(trace, tmp_path):
    """“What is special” stays switched on in columns, where it has no effect, as in the viewer."""
    column = {**vars(VIEW), "mode": "column"}
    paths = [
        write_gif(trace, tmp_path / f"{special}.gif", View(**column | {"special": special}), size=64)
        for special in (True, False)
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.slow
def test_write_html_needs_no_gradio(tmp_path):
    """A notebook without Gradio can write the file, from a trace in memory and from its file."""
    code = """
import sys

class Blocked:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "gradio":
            raise ImportError("gradio is blocked")

sys.meta_path.insert(0, Blocked())
from viz import Trace
from viz.export import write_html
path, folder = sys.argv[1:]
write_html(path, folder + "/file.html")
write_html(Trace.load(path), folder + "/memory.html")
try:
    import gradio
except ImportError:
    sys.exit(0)
sys.exit("gradio was not blocked")
"""
    subprocess.run([sys.executable, "-c", code, EXHIBIT.trace, tmp_path], check=True)
    from_file, from_memory = (parts(tmp_path / f"{name}.html")[2] for name in ("file", "memory"))
    assert from_file == EXHIBIT.trace.read_bytes()
    (tmp_path / "held").write_bytes(from_memory)
    assert list(Trace.load(tmp_path / "held").layers) == list(Trace.load(first_trace()).layers)
