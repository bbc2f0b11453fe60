"""The Export figure dialog, in Chromium: in one HTML file with the network off, its figures are `viz.figure`'s.

Everything but text is the same to the pixel. Text is set by the browser in one case and by Pillow in the other, which
smooth letters differently; so texts are compared where they are written, in the SVG and in the PDF, with their places,
sizes and colours, and left out of the pixels. The numbers of maps agree to some 1e-5, so now and then one lies on the
edge of two colours; such a cell may have the neighbouring one.
"""

import base64
import io
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.chromium import VIEWER, open_offline, open_page, serious_violations, wait_until
from viz import Trace, figure
from viz.export import write_html
from viz.figure_content import Content, caption_of_figure
from viz.figure_items import DOTS, Sheet, Text, width_of
from viz.figure_layout import lay_out
from viz.figure_options import Options
from viz.figures import BIBTEX
from viz.page.gallery import exhibits, first_trace
from viz.view import View

EXHIBIT = exhibits()[0]
VIEW = View(EXHIBIT.point, EXHIBIT.layer, EXHIBIT.step, EXHIBIT.head)
PIXEL = {"kind": "pixel", "point": [0.3, 0.7]}
BOX = {"kind": "box", "from": [0.4, 0.3], "to": [0.62, 0.55]}
REGION = {"kind": "region", "grid": [4, 4], "mask": "BmA"}
WORD = {"kind": "word", "text": "horns"}
PARTS = ("picture", "plain", "atlas", "pins", "heads", "bar")
DIALOG = ".pg-figure-dialog"
ASIDE = 12  # of 255: the farthest apart that neighbouring colours of a scale are in one channel, over a picture, too


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace.load(first_trace())


@pytest.fixture(scope="module")
def alone(chromium, tmp_path_factory):
    """The first exhibit's HTML file, opened from disk with the network off."""
    path = write_html(EXHIBIT.trace, tmp_path_factory.mktemp("alone") / "twins.html", VIEW)
    page = open_offline(chromium, path)
    yield page
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requested_urls), page.requested_urls


def open_dialog(page, **view) -> View:
    """Show a view, and open the dialog; returns the view."""
    page.keyboard.press("Escape")
    defaults = {
        "pins": [],
        "active": -1,
        "mode": "row",
        "special": False,
        "range": "common",
        "log": True,
        "opacity": 1,
        "base": "picture",
    }
    page.evaluate(f"(view) => {VIEWER}.view(view)", defaults | VIEW.to_json() | view)
    page.evaluate(f"{VIEWER}.whole()")
    page.get_by_role("button", name="Export").first.click()
    page.get_by_role("button", name="Compose…").click()
    page.locator(f"{DIALOG}[open]").wait_for()
    return View.from_json(page.evaluate(f"{VIEWER}.viewNow()"))


def choose(page, parts=("picture", "atlas", "bar"), caption=False, size=7.0, **fields) -> None:
    dialog = page.locator(DIALOG)
    for box in dialog.locator(".pg-parts input").all():
        value = box.input_value()
        if box.is_enabled():
            box.set_checked(caption if value == "caption" else value in parts)
    dialog.get_by_label("Font size, pt").fill(str(size))
    labels = {"theme": "Background", "dpi": "Resolution"}
    defaults = {
        "layers": "grids",
        "steps": "five",
        "width": "double",
        "theme": "light",
        "font": "sans",
        "format": "png",
    }
    for name, value in (defaults | fields).items():
        label = labels.get(name, name.capitalize())
        field = dialog.get_by_role("combobox", name=label, exact=True)
        if field.is_enabled():
            field.select_option(str(value))


def save(page) -> tuple[str, bytes]:
    with page.expect_download(timeout=90_000) as download:
        page.locator(DIALOG).get_by_role("button", name="Save").click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def images_of(svg: str) -> list[np.ndarray]:
    found = re.findall(r'href="data:image/png;base64,([^"]+)"', svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def assert_same_colours(one: np.ndarray, other: np.ndarray) -> None:
    """The same pixels, but for few that have a neighbouring colour."""
    assert one.shape == other.shape
    apart = np.abs(one.astype(int) - other.astype(int)).max(-1)
    assert apart.max() <= ASIDE and (apart > 0).mean() < 0.01, (apart.max(), (apart > 0).mean())


CASES = {
    "as it opens": ({}, {}),
    "everything": (
        {"pins": [PIXEL, BOX, REGION, WORD], "active": 0, "opacity": 0.4},
        {"parts": PARTS, "caption": True, "layers": "all", "steps": "all", "font": "serif", "size": 6.5},
    ),
    "a column on a slide": (
        {"mode": "column", "head": -1, "pins": [BOX], "active": 0},
        {"parts": PARTS, "width": "slide", "theme": "dark", "size": 12.0},
    ),
    "a difference in one column": (
        {"special": True, "log": False, "base": "preview", "step": EXHIBIT.steps[2]},
        {"width": "single", "layers": "chosen", "caption": True, "parts": ("picture", "plain", "heads", "bar")},
    ),
    "a word": (
        {"pins": [WORD, PIXEL], "active": 0, "range": "own"},
        {"parts": ("picture", "pins", "bar"), "steps": "chosen", "caption": True},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_svg_and_png_are_pythons(alone, trace, tmp_path, case):
    changes, fields = CASES[case]
    view = open_dialog(alone, **changes)
    choose(alone, format="svg", **fields)
    svg = save(alone)[1].decode()
    figure(trace, tmp_path / "figure.svg", view=view, **fields)
    expected = (tmp_path / "figure.svg").read_text()
    without = re.compile('base64,[^"]+')
    assert without.sub("", svg) == without.sub("", expected)
    for one, other in zip(images_of(svg), images_of(expected), strict=True):
        assert_same_colours(one, other)
    choose(alone, format="png", dpi=300, **fields)
    picture = Image.open(io.BytesIO(save(alone)[1]))
    assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    sheet = lay_out(Content(trace, view), Options(**fields))
    shown, wanted = (np.array(each.convert("RGB")) for each in (picture, figure(trace, view=view, **fields)))
    assert shown.shape == wanted.shape and 0.3 < without_text(sheet, shown.shape).mean() < 1
    for each in (shown, wanted):
        each[~without_text(sheet, shown.shape)] = 0
    assert_same_colours(shown, wanted)


MARGIN = 10  # dots: real fonts are a little wider here and there than the widths that figures are laid out with


def without_text(sheet: Sheet, shape: tuple[int, ...], dpi: int = DOTS) -> np.ndarray:
    """(h, w), whether a pixel is outside of all texts' boxes."""
    outside = np.ones(shape[:2], bool)
    for item in sheet.items:
        if isinstance(item, Text):
            wide = width_of(item.text, item.size, sheet.font, item.bold) * 1.05
            left = item.x - {"start": 0, "middle": 0.5, "end": 1}[item.anchor] * wide
            box = (item.y - item.size, item.y + 0.3 * item.size, left - MARGIN, left + wide + MARGIN)
            top, bottom, left, right = (max(0, round(side * dpi / DOTS)) for side in box)
            outside[top:bottom, left:right] = False
    return outside


def test_pdf_is_pythons(alone, trace, tmp_path):
    fields = {"parts": PARTS, "caption": True, "steps": "all"}
    view = open_dialog(alone, pins=[PIXEL, REGION], active=1)
    choose(alone, format="pdf", **fields)
    name, data = save(alone)
    assert name.endswith(".pdf") and data.startswith(b"%PDF-1.4\n")
    expected = figure(trace, tmp_path / "figure.pdf", view=view, **fields).read_bytes()
    one, other = streams_of(data), streams_of(expected)
    assert one[0] == other[0] and EXHIBIT.caption.split()[0].encode() in one[0][1]  # operators with the real text
    assert len(one) == len(other) > 50
    for (entries, pixels), (wanted_entries, wanted) in zip(one[1:], other[1:], strict=True):
        assert entries == wanted_entries
        assert_same_colours(*(np.frombuffer(each, np.uint8).reshape(-1, 3) for each in (pixels, wanted)))
    plain = re.compile(rb"/Length \d+>>\nstream\n.*?\nendstream", re.DOTALL)
    heads = [plain.sub(b"", each.split(b"\nxref\n")[0]) for each in (data, expected)]
    assert heads[0] == heads[1]
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", data)[1])
    places = re.findall(rb"^(\d{10}) 00000 n ", data[start:], re.MULTILINE)
    assert (
        all(data[int(place) :].startswith(b"%d 0 obj\n" % i) for i, place in enumerate(places, 1)) and len(places) > 50
    )


def streams_of(pdf: bytes) -> list[tuple[bytes, bytes]]:
    """The streams of a PDF: the entries of each before its length, and its bytes."""
    found = []
    for match in re.finditer(rb"<<([^>]*)/Filter/FlateDecode/Length (\d+)>>\nstream\n", pdf):
        found.append((match[1], zlib.decompress(pdf[match.end() : match.end() + int(match[2])])))
    return found


def test_600_dpi_are_written_and_transparent_ground_is(alone, trace):
    open_dialog(alone)
    choose(alone, parts=("picture", "bar"), theme="transparent", width="single", dpi=600)
    assert "× " in alone.locator(f"{DIALOG} [role=status]").inner_text()
    picture = Image.open(io.BytesIO(save(alone)[1]))
    assert picture.info["dpi"] == pytest.approx((600, 600), abs=0.01) and abs(picture.width / 600 * 25.4 - 84) < 0.1
    assert picture.mode == "RGBA" and picture.getpixel((0, 0))[3] == 0
    fields = {"parts": ("picture", "bar"), "theme": "transparent", "width": "single"}
    wanted = np.array(figure(trace, view=VIEW, dpi=600, **fields))
    mask = without_text(lay_out(Content(trace, VIEW), Options(**fields)), wanted.shape, 600)
    assert_same_colours(np.array(picture)[mask], wanted[mask])
    choose(alone)


def test_some_layers_and_steps(alone, trace, tmp_path):
    view = open_dialog(alone)
    choose(alone, parts=("atlas",), layers="some", steps="some", format="svg")
    layers = [layer.name for layer in trace if layer.kind == "self"][1:3]
    for group, wanted in (
        ("These layers", layers),
        ("These steps, by timestep", [str(each) for each in EXHIBIT.steps[1:4]]),
    ):
        for box in alone.get_by_role("group", name=group).get_by_role("checkbox").all():
            box.set_checked(box.input_value() in wanted)
    svg = save(alone)[1].decode()
    options = {"parts": ("atlas",), "layers": tuple(layers), "steps": tuple(EXHIBIT.steps[1:4])}
    figure(trace, tmp_path / "some.svg", view=view, **options)
    assert re.sub('base64,[^"]+', "", svg) == re.sub('base64,[^"]+', "", (tmp_path / "some.svg").read_text())
    for box in alone.get_by_role("group", name="These layers").get_by_role("checkbox").all():
        box.set_checked(False)
    alone.get_by_text("Choose at least one layer.").wait_for()
    assert alone.locator(DIALOG).get_by_role("button", name="Save").is_disabled()
    choose(alone)


def test_starts_from_view_and_names_file_by_it(alone):
    open_dialog(alone, pins=[PIXEL], active=0, head=2)
    pins = alone.locator(DIALOG).get_by_label("Pins")
    assert pins.is_checked()
    choose(alone, parts=("picture", "atlas", "bar"), format="svg")
    name, _ = save(alone)
    place = f"up-{EXHIBIT.layer.split('.')[1]}-attention-{EXHIBIT.layer.split('.')[3]}"
    pattern = rf"pixelgaze-a-round-purple-monster[a-z-]*-seed-{EXHIBIT.seed}-{place}-step-{EXHIBIT.step}-head-2\.svg"
    assert re.fullmatch(pattern, name), name
    alone.keyboard.press("Escape")
    open_dialog(alone)
    assert not pins.is_checked() and pins.is_disabled()


def test_caption_and_reference_are_copied(alone, trace):
    view = open_dialog(alone, head=-1)
    alone.context.grant_permissions(["clipboard-read", "clipboard-write"])
    dialog = alone.locator(DIALOG)
    for button, text in (("Copy caption", caption_of_figure(trace, view)), ("Copy BibTeX", BIBTEX)):
        dialog.get_by_role("button", name=button).click()
        dialog.get_by_text("copied.").wait_for()
        assert alone.evaluate("navigator.clipboard.readText()") == text
    alone.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('denied')) }")
    dialog.get_by_role("button", name="Copy BibTeX").click()
    assert dialog.get_by_role("textbox", name="The BibTeX").input_value() == BIBTEX


def test_dialog_keeps_focus_and_keys_to_itself(alone):
    open_dialog(alone, pins=[PIXEL], active=0)
    for _ in range(40):
        alone.keyboard.press("Tab")
        inside = (
            "document.activeElement === document.body || document.activeElement.closest('.pg-figure-dialog') !== null"
        )
        assert alone.evaluate(inside)
    before = alone.evaluate(f"{VIEWER}.viewNow()")
    alone.locator(DIALOG).get_by_role("combobox", name="Layers", exact=True).focus()
    for key in ("h", "r", "]"):
        alone.keyboard.press(key)
    alone.keyboard.press("Escape")
    assert not alone.locator(f"{DIALOG}[open]").count() and alone.evaluate(f"{VIEWER}.viewNow()") == before
    wait_until(alone, "document.activeElement.textContent === 'Export ▾'")  # once the dialog's closing is told


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_dialog_fits_page_and_has_no_serious_axe_violations(chromium, url, width, scheme):
    page = open_page(chromium, url, width=width, scheme=scheme)
    page.wait_for_function("document.querySelector('#viewer .pg-export') !== null")
    page.get_by_role("button", name="Export").first.click()
    page.get_by_role("button", name="Compose…").click()
    page.locator(f"{DIALOG} [role=status]", has_text="mm").wait_for()
    assert serious_violations(page) == []
    box = page.locator(DIALOG).first.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] >= 0 and box["y"] + box["height"] <= 900
    inside = page.locator(DIALOG).first.evaluate("(node) => node.scrollWidth <= node.clientWidth")
    assert inside and page.complaints == []
    page.close()


@pytest.mark.parametrize("width", [1440, 390])
def test_dialog_keeps_the_look_of_its_fields_on_the_page(chromium, url, width):
    """Gradio's style sheet would hide ticks and arrows."""
    page = open_page(chromium, url, width=width)
    page.locator(".pg-export").first.click()
    page.get_by_role("button", name="Compose").first.click()
    looks = page.locator(f"{DIALOG} :is(select, [type=checkbox])").evaluate_all(
        "(fields) => fields.map((field) => getComputedStyle(field).appearance)"
    )
    assert len(looks) > 10 and set(looks) == {"auto"}
    assert page.locator(f"{DIALOG} [type=checkbox]").first.bounding_box()["width"] == 16
    page.close()
