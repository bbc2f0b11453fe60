"""`viz.figure`: files are opened again with readers that share no code with it."""

import base64
import io
import itertools
import re
import struct
import tomllib
import xml.etree.ElementTree as ElementTree
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import viz
from tests.support.traces import add_gaps, trace_of_odds, trace_of_segments, trace_with_everything
from viz import Trace
from viz.colors import DIVERGING, SEQUENTIAL, palette
from viz.draw import positions
from viz.figure_content import Content, caption_of_figure, ticks
from viz.figure_items import METRICS, width_of, wrap
from viz.figure_options import FigureError, Options
from viz.figures import BIBTEX, figure
from viz.page.gallery import exhibits, first_trace
from viz.query import Maps
from viz.view import Box, Pixel, Region, View, WordQuery

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
EXHIBIT = exhibits()[0]
PINS = (Pixel((0.3, 0.7)), Box((0.4, 0.3), (0.62, 0.55)), Region.of_cells((16, 16), [(1, 2), (1, 3), (2, 3)]))
VIEW = View(EXHIBIT.point, EXHIBIT.layer, EXHIBIT.step, EXHIBIT.head, pins=PINS, active=0)
EVERYTHING = ("picture", "plain", "atlas", "pins", "heads", "bar")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace.load(first_trace())


def svg_of(trace, tmp_path, **options) -> ElementTree.Element:
    figure(trace, tmp_path / "figure.svg", **options)
    return ElementTree.parse(tmp_path / "figure.svg").getroot()


def texts_of(svg) -> list[str]:
    return ["".join(node.itertext()) for node in svg.iter(f"{SVG}text")]


def pictures_of(svg) -> list[np.ndarray]:
    data = [node.get("href").split(",")[1] for node in svg.iter(f"{SVG}image")]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in data]


def test_figure_is_an_attribute_of_viz():
    assert viz.figure is figure and "figure" in dir(viz)


@pytest.mark.parametrize(("width", "millimetres"), [("single", 84), ("double", 174), ("slide", 254), (100, 100)])
@pytest.mark.parametrize("dpi", [300, 600])
def test_png_has_the_width_at_its_resolution(trace, tmp_path, width, millimetres, dpi):
    path = figure(trace, tmp_path / "figure.png", view=VIEW, width=width, dpi=dpi)
    data = path.read_bytes()
    at = data.index(b"pHYs") + 4
    across, down, unit = struct.unpack(">IIB", data[at : at + 9])
    assert unit == 1 and across == down == round(dpi / 0.0254)
    picture = Image.open(path)
    assert abs(picture.width / dpi * 25.4 - millimetres) < 0.1
    if width == "slide":
        assert abs(picture.width / picture.height - 16 / 9) < 0.001


def test_svg_holds_texts_and_every_picture(trace, tmp_path):
    svg = svg_of(trace, tmp_path, view=VIEW, parts=EVERYTHING, layers="all", steps="all")
    layers = [layer for layer in trace if layer.kind == "self"]
    heads = trace.layers[VIEW.layer].heads
    assert len(pictures_of(svg)) == 2 + (len(layers) + len(PINS)) * len(trace.steps) + heads + 1
    texts = texts_of(svg)
    assert {f"{t:g}" for t in trace.timesteps.values()} <= set(texts) and "32×" in texts
    assert not any(EXHIBIT.caption in text for text in texts)  # the caption is off by default
    assert svg.get("width") == "173.99mm" and len(svg.get("viewBox").split()) == 4


def test_caption_is_written_on_request(trace, tmp_path):
    words = " ".join(texts_of(svg_of(trace, tmp_path, view=VIEW, caption=True)))
    assert caption_of_figure(trace, VIEW) in words
    for part in (EXHIBIT.caption, "row 9, column 22", VIEW.layer, f"head {VIEW.head}", "timestep 359", "logarithmic"):
        assert part in words


def test_maps_have_the_numbers_colours(trace, tmp_path):
    """Within one colour of the palette: the viewer and figures look up rounded numbers."""
    for changes, name in (({}, SEQUENTIAL), ({"special": True}, DIVERGING), ({"log": False}, SEQUENTIAL)):
        view = View(VIEW.point, VIEW.layer, VIEW.step, VIEW.head, **changes)
        svg = svg_of(trace, tmp_path, view=view, parts=("atlas",), layers="chosen", steps="chosen")
        (shown,) = pictures_of(svg)
        values = Maps(trace).of_view(view)
        factor = shown.shape[0] // values.shape[0]
        place = positions(values, log=view.log is not False, special=bool(view.special)) * 255
        colors = palette(name).astype(int)
        near = [np.clip(np.round(place) + by, 0, 255).astype(int) for by in (-1, 0, 1)]
        apart = [np.abs(colors[each] - shown[::factor, ::factor]).max(-1) for each in near]
        assert np.min(apart, 0).max() == 0 and (apart[1] == 0).mean() > 0.9


def test_picture_is_the_traces_own(trace, tmp_path):
    (plain,) = pictures_of(svg_of(trace, tmp_path, view=VIEW, parts=("plain",)))
    factor = plain.shape[0] // trace.picture.shape[0]
    assert np.array_equal(plain[::factor, ::factor], trace.picture)
    (mapped,) = pictures_of(svg_of(trace, tmp_path, view=VIEW, parts=("picture",)))
    assert mapped.shape == plain.shape and np.abs(mapped.astype(int) - plain).mean() > 20


def test_map_covers_picture_as_strongly_as_view_says(trace):
    shown = [Content(trace, replace(VIEW, opacity=opacity)) for opacity in (0, 0.5, 1)]
    plain, half, full = (content.mapped().astype(int) for content in shown)
    factor = plain.shape[0] // trace.picture.shape[0]
    assert np.array_equal(plain[::factor, ::factor], trace.picture) and np.array_equal(
        full, Content(trace, VIEW).mapped()
    )
    near, far = np.abs(half - plain).mean(), np.abs(full - plain).mean()
    assert 0.3 * far < near < 0.8 * far


def test_pdf_has_real_text_and_pictures(trace, tmp_path):
    data = figure(trace, tmp_path / "figure.pdf", view=VIEW, parts=EVERYTHING, caption=True).read_bytes()
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", data)[1])
    assert data[start:].startswith(b"xref\n")
    offsets = [int(place) for place in re.findall(rb"^(\d{10}) 00000 n ", data[start:], re.MULTILINE)]
    objects = [data[place:end] for place, end in itertools.pairwise([*offsets, start])]
    assert all(each.startswith(b"%d 0 obj\n" % number) for number, each in enumerate(objects, 1))
    page = re.search(rb"/MediaBox\[0 0 ([\d.]+) ([\d.]+)\]", data)
    assert abs(float(page[1]) / 72 * 25.4 - 174) < 0.1
    length = int(re.search(rb"/Length (\d+)", objects[3])[1])
    begin = objects[3].index(b"stream\n") + 7
    content = zlib.decompress(objects[3][begin : begin + length]).decode("cp1252")
    texts = re.findall(r"\(((?:[^()\\]|\\.)*)\) Tj", content)
    assert {"down 2 · attention 0", "16×16", "359", "timestep t"} & set(texts) >= {"16×16", "timestep t"}
    assert EXHIBIT.caption in re.sub(r"\\(.)", r"\1", " ".join(texts)) and "/BaseFont/Helvetica" in data.decode(
        "latin-1"
    )
    images = [each for each in objects if b"/Subtype/Image" in each[:200]]
    shape = re.search(rb"/Width (\d+)/Height (\d+)", images[1])
    begin = images[1].index(b"stream\n") + 7
    pixels = zlib.decompressobj().decompress(images[1][begin:])
    shown = np.frombuffer(pixels, np.uint8).reshape(int(shape[2]), int(shape[1]), 3)
    factor = shown.shape[0] // trace.picture.shape[0]
    assert np.array_equal(shown[::factor, ::factor], trace.picture)
    assert content.count(" Do") == len(images) == len(re.findall(r"/I\d+ Do", content))


def test_themes(trace):
    light, dark, clear = (figure(trace, view=VIEW, theme=theme, dpi=100) for theme in ("light", "dark", "transparent"))
    assert light.getpixel((0, 0)) == (255, 255, 255) and dark.getpixel((0, 0)) == (15, 17, 22)
    assert clear.mode == "RGBA" and clear.getpixel((0, 0))[3] == 0


def test_gaps_are_crossed_out(tmp_path):
    small = trace_of_segments()
    layer = next(layer.name for layer in small if layer.kind == "self")
    before = len(pictures_of(svg_of(small, tmp_path, layer=layer, layers="all", steps="all", parts=("atlas",))))
    add_gaps(small, layer, [small.steps[0], *small.gaps[layer]], "it did not run")
    svg = svg_of(small, tmp_path, layer=layer, step=small.steps[-1], layers="all", steps="all", parts=("atlas",))
    assert len(pictures_of(svg)) == before - 1
    crossed = re.compile(r"(M[\d ]+L[\d ]+){5}")  # a frame and a diagonal
    gaps = sum(len(small.gaps.get(each.name, ())) for each in small if each.kind == "self")
    assert sum(bool(crossed.fullmatch(path.get("d"))) for path in svg.iter(f"{SVG}path")) == gaps == 3


def test_steps_that_do_not_fit_are_refused(tmp_path):
    many = trace_of_odds()
    for step in range(1, 25):
        many.timesteps[step] = 10.0
        for store in (many.queries, many.keys):
            store["conditional", "a", step] = store["conditional", "a", 0]
    assert len(pictures_of(svg_of(many, tmp_path, width=90, steps="all", parts=("atlas",)))) == 25
    with pytest.raises(FigureError, match=r"^25 steps do not fit into 30 mm: choose fewer steps or a wider figure\.$"):
        figure(many, tmp_path / "narrow.svg", width=30, steps="all")
    assert not (tmp_path / "narrow.svg").exists()


def test_bibtex_has_the_packages_version_and_year():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    year = re.search(r"Copyright \(c\) (\d{4})", (ROOT / "LICENSE").read_text())[1]
    assert f"\n  version = {{{project['version']}}},\n  year = {{{year}}}\n" in BIBTEX


def test_readme_shows_what_works(trace, tmp_path, monkeypatch):
    (example,) = (each for each in re.findall(r"```py\n(.*?)```", README, re.DOTALL) if "figure" in each)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"trace": trace, "layer": EXHIBIT.layer})
    assert Image.open("figure.png").width == round(84 / 25.4 * 300)
    assert Path("figure.pdf").read_bytes().startswith(b"%PDF-") and "“eyes”" in Path("figure.svg").read_text()


def test_words_can_be_asked(trace):
    view = View((0.5, 0.5), EXHIBIT.layer, EXHIBIT.step, pins=(WordQuery("horns"),), active=0)
    content = Content(trace, view)
    assert content.layer.kind == "cross" and figure(trace, view=view, parts=EVERYTHING, dpi=100).width > 600
    assert caption_of_figure(trace, view).startswith("What each cell spends on the word “horns”: layer ")


def test_everything_that_can_be_in_a_trace(tmp_path):
    everything = trace_with_everything()
    for layer in [each.name for each in everything if each.kind == "self"]:
        svg = svg_of(everything, tmp_path, layer=layer, parts=EVERYTHING, caption=True)
        assert pictures_of(svg)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ("picture", "sound")}, "A figure's parts must be some of picture, plain, atlas, pins, heads, bar"),
        ({"parts": ()}, "parts must be some of"),
        ({"layers": "most"}, "A figure's layers must be chosen or grids or all; got most."),
        ({"layers": ("up",)}, "No layer “up” has a map of this query; these have: "),
        ({"steps": (1, 2.5)}, "A figure's steps must be chosen, five, all, or a list of some"),
        ({"steps": (3000,)}, "The trace has no step 3000; it has "),
        ({"step": 3000}, "The trace has no step 3000; it has "),
        ({"width": float("nan")}, "A figure's width must be single, double, slide, or 30 to 600 mm; got nan."),
        ({"theme": "pink"}, "A figure's theme must be light or dark or transparent; got pink."),
        ({"size": 400}, "A figure's font must be of 4 to 40 points; got 400."),
        ({"dpi": 3}, "A figure's dpi must be 72 to 1200; got 3."),
        ({"path": "figure.bmp"}, r"A figure's file must end in .png, .svg, .pdf; got “figure.bmp”."),
        (
            {"colour": "red"},
            "A figure's options are parts, layers, steps, width, theme, font, size, caption; got colour.",
        ),
    ],
)
def test_options_are_checked(trace, options, message):
    with pytest.raises(FigureError, match=re.escape(message)):
        figure(trace, **options)


def test_options_from_json():
    assert Options.from_json({"parts": ["bar", "picture"], "width": 90}).parts == ("picture", "bar")
    with pytest.raises(FigureError, match="unknown field: color"):
        Options.from_json({"color": 1})


def test_text_is_measured_and_wrapped():
    assert {font: len(widths) for font, widths in METRICS.items()} == {"sans": 95, "serif": 95}
    assert width_of("Wi 1", 10, "sans") == pytest.approx((944 + 222 + 278 + 556) / 100)
    lines = wrap("a round purple monster with two yellow eyes", 100, 12, "serif")
    assert " ".join(lines) == "a round purple monster with two yellow eyes"
    assert all(width_of(line, 12, "serif") <= 100 for line in lines) and len(lines) > 1


def test_ticks_lie_where_the_scale_puts_their_numbers():
    for special in (None, True):
        for log in (True, False):
            view = View((0.5, 0.5), "a", 0, special=special, log=log)
            for place, text in ticks(view):
                number = text.removesuffix("×").replace("−", "-").replace("¼", "0.25").replace("½", "0.5")
                (at,) = positions(np.full((1, 1), float(number)), log=log, special=bool(special)).ravel()
                assert at == pytest.approx(place, abs=1e-6), text


def test_half_precision_changes_no_layout(trace, tmp_path):
    one, other = (
        re.sub('base64,[^"]+', "", figure(each, tmp_path / "a.svg", view=VIEW, parts=EVERYTHING).read_text())
        for each in (trace, trace.select(dtype=torch.float32))
    )
    assert one == other
