"""Exports, in Chromium: from one HTML file with the network off, and from the page."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.support.chromium import VIEWER, export_file, look, open_offline, wait_for_frame
from tests.support.gifs import read_gif
from viz import Trace
from viz.colors import palette
from viz.export import rows_on_show, write_gif, write_html
from viz.labels import layer_label
from viz.layer import Layer
from viz.page.gallery import exhibits, first_trace
from viz.view import View

EXHIBIT = exhibits()[0]
VIEW = View(EXHIBIT.point, EXHIBIT.layer, EXHIBIT.step, EXHIBIT.head)
PIXEL = {"kind": "pixel", "point": [0.3, 0.7]}
BOX = {"kind": "box", "from": [0.4, 0.3], "to": [0.62, 0.55]}


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace.load(first_trace())


def maps_of_pixels(trace: Trace) -> list[Layer]:
    """The layers that have a row in a pixel's atlas; what it spends on words is in the strip."""
    return [layer for layer in trace if layer.kind == "self"]


@pytest.fixture(scope="module")
def alone(chromium, tmp_path_factory):
    """The first exhibit's HTML file, opened from disk with the network off."""
    path = write_html(EXHIBIT.trace, tmp_path_factory.mktemp("alone") / "twins.html", VIEW)
    page = open_offline(chromium, path)
    yield page
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requested_urls), page.requested_urls


def set_view(page, **view) -> None:
    page.evaluate(f"(view) => {VIEWER}.view(view)", {"pins": [], "active": -1, "mode": "row", "special": False} | view)
    page.evaluate(f"{VIEWER}.whole()")


def atlas(page) -> np.ndarray:
    url = page.locator(".pg-maps canvas").first.evaluate("(canvas) => canvas.toDataURL().split(',')[1]")
    return np.frombuffer(url.encode(), np.uint8)


def test_html_file_opens_with_its_view_and_follows_mouse(alone):
    now = alone.evaluate(f"{VIEWER}.viewNow()")
    assert (
        tuple(now["point"]) == VIEW.point and (now["layer"], now["step"], now["head"]) == (*vars(VIEW).values(),)[1:4]
    )
    assert alone.title() == f"{EXHIBIT.caption} · PixelGaze"
    before = atlas(alone)
    look(alone, 0.1, 0.1)
    hovered = atlas(alone)
    assert len(hovered) != len(before) or (hovered != before).any()
    alone.mouse.down()
    alone.mouse.up()
    look(alone, 0.6, 0.5)
    assert alone.evaluate(f"{VIEWER}.viewNow().pins.length") == 1 and np.array_equal(atlas(alone), hovered)
    set_view(alone)


def test_html_file_follows_colour_scheme(alone):
    for scheme, color in (("dark", "rgb(15, 17, 22)"), ("light", "rgb(246, 247, 249)")):
        alone.emulate_media(color_scheme=scheme)
        wait_for_frame(alone)
        assert alone.evaluate("getComputedStyle(document.body).backgroundColor") == color


def test_html_file_export_menu_omits_link_and_html(alone):
    alone.get_by_role("button", name="Export").click()
    entries = alone.locator(".pg-export-line span").all_inner_texts()
    assert len(entries) == 6 and not any("link" in entry or "HTML" in entry for entry in entries)
    alone.keyboard.press("Escape")


def test_export_menu_writes_png_at_three_sizes(alone):
    sizes = [Image.open(io.BytesIO(export_file(alone, f"{n} times the size")[1])).size for n in (1, 2, 4)]
    (width, height), *_ = sizes
    assert width > 900 and height > 500
    assert [(round(w / width, 2), round(h / height, 2)) for w, h in sizes] == [(1, 1), (2, 2), (4, 4)]
    sheet = np.asarray(Image.open(io.BytesIO(export_file(alone, "2 times the size")[1])).convert("RGB"))
    assert (sheet[:40] == 255).mean() > 0.8 and len(np.unique(sheet.reshape(-1, 3), axis=0)) > 200


def test_export_menu_writes_svg_with_real_text(alone, trace):
    name, svg = export_file(alone, "with real text")
    assert name.endswith(".svg") and len(svg) > 10_000
    texts = ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {layer_label(layer.name) for layer in trace} <= set(texts)
    assert {f"{t:g}" for t in trace.timesteps.values()} <= set(texts)
    assert EXHIBIT.caption in " ".join(texts) and "relative to uniform" in " ".join(texts)
    images = list(ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}image"))
    assert len(images) == len(maps_of_pixels(trace)) * len(trace.steps) + 1


def test_export_menu_writes_svg_with_scale_head_and_pins(alone, trace):
    """As on screen: the scale's note unshortened, the head, a row for each pin, smooth only where chosen."""
    for smooth in (False, True):
        set_view(alone, pins=[PIXEL, BOX], active=0, mode="column", range="own", smooth=smooth)
        svg = ElementTree.fromstring(export_file(alone, "with real text")[1])
        texts = ["".join(node.itertext()) for node in svg.iter("{http://www.w3.org/2000/svg}text")]
        text = " ".join(texts)
        assert alone.locator(".pg-scale-note").inner_text() in text and "…" not in text
        assert (
            alone.locator(".pg-where").inner_text() in texts and f"Pins: maps in {layer_label(EXHIBIT.layer)}" in texts
        )
        images = list(svg.iter("{http://www.w3.org/2000/svg}image"))
        assert len(images) == (len(maps_of_pixels(trace)) + 2) * len(trace.steps) + 1
        assert sum("pixelated" not in image.get("style") for image in images) == (len(images) - 1 if smooth else 0)
        fills = [circle.get("fill") for circle in svg.iter("{http://www.w3.org/2000/svg}circle")]
        assert fills == ["#e69f00", "#56b4e9"]
    set_view(alone, range="common", smooth=False)


def frames_of_gif(page) -> tuple[list[np.ndarray], list[int]]:
    """The frames of the animation of what is on show, and their durations in milliseconds."""
    return read_gif(io.BytesIO(export_file(page, "the map over the picture")[1]))


def test_export_menu_writes_gif_across_steps(alone, trace):
    frames, durations = frames_of_gif(alone)
    assert len(frames) == len(trace.steps) and np.abs(frames[0] - frames[-1]).mean() > 3
    assert durations[:-1] == [350] * (len(frames) - 1) and durations[-1] >= 2000


def test_gif_names_pixel_and_carries_colour_bar(alone):
    """Two cells with the same map differ below the picture in their names alone; the bar holds the scale's colours."""
    set_view(alone, point=[0.3, 0.7], step=EXHIBIT.steps[0], mode="row")
    one, _ = frames_of_gif(alone)
    set_view(alone, point=[0.3, 0.7 + 1 / 32])
    other, _ = frames_of_gif(alone)
    below = one[0].shape[1]  # the picture is square
    differ = np.abs(one[0][below:] - other[0][below:]).sum(-1) > 200  # a GIF's frame has 256 colours of its own
    rows = np.flatnonzero(differ.any(1))
    assert differ.sum() > 5 and rows.min() >= 20 and rows.max() <= 56  # the lines of the name, and no others
    bar = one[0][below + 57 : below + 63, 10 : one[0].shape[1] - 10]
    wanted = palette().astype(int)[np.linspace(0, 255, bar.shape[1]).round().astype(int)]
    assert np.abs(bar - wanted).max(-1).mean() < 12 and np.abs(bar - wanted[::-1]).max(-1).mean() > 60
    set_view(alone)


@pytest.mark.parametrize(
    "changes",
    [{}, {"pins": [PIXEL, BOX], "active": 1, "smooth": True}, {"mode": "column", "opacity": 0.5}, {"special": True}],
    ids=["a pixel", "pins", "a column", "less the mean row"],
)
def test_gif_is_like_pythons(alone, trace, tmp_path, changes):
    """The same frames for as long, and in them the same picture, outlines and bar; letters and 256 colours differ."""
    set_view(alone, point=[0.3, 0.7], **changes)
    view = View.from_json(alone.evaluate(f"{VIEWER}.viewNow()"))
    frames, durations = frames_of_gif(alone)
    others, wanted = read_gif(io.BytesIO(write_gif(trace, tmp_path / "python.gif", view).read_bytes()))
    assert durations == wanted and frames[0].shape[1] == others[0].shape[1]
    side = frames[0].shape[1]  # the picture is square
    for one, other in zip(frames, others, strict=True):
        apart = np.abs(one[:side] - other[:side]).max(-1)
        assert (apart > 40).mean() < 0.04, (apart > 40).mean()  # crosshairs and half pixels of outlines
        bar = slice(side + 57, side + 63)
        assert np.abs(one[bar, 12:-12] - other[bar, 12:-12]).max(-1).mean() < 12
    set_view(alone, smooth=False, opacity=1)


def test_exports_respect_opacity(alone, trace):
    """At none of it, the map and what dims the picture are gone; only the outline of the query remains."""
    set_view(alone, opacity=0)
    frames, _ = frames_of_gif(alone)
    picture = trace.previews[trace.steps[-1]].repeat(6, 0).repeat(6, 1).astype(int)
    assert (np.abs(frames[-1][: len(picture)] - picture).max(-1) < 24).mean() > 0.85  # of 256 colours
    set_view(alone, opacity=1)
    frames, _ = frames_of_gif(alone)
    assert (np.abs(frames[-1][: len(picture)] - picture).max(-1) < 24).mean() < 0.4


SEEK = """async ([data, at]) => {
  const video = Object.assign(document.createElement("video"), { muted: true, src: data });
  const event = (name) => new Promise((done) => video.addEventListener(name, done, { once: true }));
  await event("loadeddata");
  video.currentTime = 1e6; // recordings do not say how long they are; this makes the browser look
  await event("seeked");
  const { duration } = video;
  video.currentTime = at < 0 ? duration + at : at;
  await event("seeked");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  return [duration, canvas.toDataURL().split(",")[1]];
}"""


def test_export_menu_writes_video_that_holds_last_frame(alone, chromium, trace):
    frames, durations = frames_of_gif(alone)
    name, content = export_file(alone, "a video of the same")
    assert name.endswith(".webm") and content.startswith(b"\x1a\x45\xdf\xa3")  # EBML
    reader = chromium.new_page()
    data = f"data:video/webm;base64,{base64.b64encode(content).decode()}"
    seen = {}
    for at in (0.05, -1.9, -0.1):
        duration, shown = reader.evaluate(SEEK, [data, at])
        picture = Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")
        seen[at] = np.asarray(picture.resize(frames[0].shape[1::-1], Image.Resampling.BOX), int)
    reader.close()
    assert sum(durations) / 1000 - 0.4 <= duration <= sum(durations) / 1000 + 1.5
    first, last = frames[0], frames[-1]
    assert np.abs(seen[0.05] - first).mean() < np.abs(seen[0.05] - last).mean() / 2
    for at in (-1.9, -0.1):
        assert np.abs(seen[at] - last).mean() < np.abs(seen[at] - first).mean() / 2


@pytest.mark.parametrize(
    "changes",
    [
        {"head": 2},
        {"head": -1, "pins": [PIXEL, BOX], "active": 1},
        {"head": -1, "pins": [BOX], "active": 0, "mode": "column"},
        {"head": 0, "special": True},
    ],
    ids=["a head", "a rectangle", "a column", "less the mean row"],
)
def test_export_menu_writes_npz_equal_to_python(alone, trace, changes):
    set_view(alone, **changes)
    document = alone.evaluate(f"{VIEWER}.viewNow()")
    name, content = export_file(alone, "the maps of the atlas and the pins")
    assert name.endswith(".npz")
    expected = rows_on_show(trace, View.from_json(document))
    with np.load(io.BytesIO(content)) as rows:
        assert set(rows) == set(expected)
        for key in (key for key in expected if key.startswith(("maps_", "pin_"))):
            assert rows[key].shape == expected[key].shape
            assert np.abs(rows[key] - expected[key]).max() <= 1e-3 * max(1, np.abs(expected[key]).max()), key
        for key in ("layers", "layers_of_pins", "steps", "timesteps"):
            assert np.array_equal(rows[key], expected[key])
        assert json.loads(str(rows["view"])) == document and json.loads(str(rows["recipe"])) == trace.recipe
    set_view(alone)


def test_export_menu_writes_trace_file_unchanged(alone):
    name, content = export_file(alone, "Q and K of every layer")
    assert content == EXHIBIT.trace.read_bytes()
    assert re.fullmatch(rf"pixelgaze-a-round-purple-monster[a-z-]*-seed-{EXHIBIT.seed}\.safetensors", name)


def test_export_menu_works_with_keyboard(alone):
    button = alone.get_by_role("button", name="Export")
    alone.keyboard.press("Escape")
    button.focus()
    alone.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    alone.keyboard.press("Tab")
    assert alone.evaluate("document.activeElement.textContent") == "Compose…"
    set_view(alone, pins=[PIXEL], active=0)
    alone.keyboard.press("Escape")
    assert button.get_attribute("aria-expanded") == "false" and button.evaluate("(b) => b === document.activeElement")
    assert alone.evaluate(f"{VIEWER}.viewNow().pins.length") == 1  # the pin stays
    set_view(alone)


def test_page_export_menu_writes_one_html_file(page, chromium, tmp_path):
    page.evaluate(
        f"(view) => {VIEWER}.view(view)", {"pins": [PIXEL, BOX], "active": 1, "layer": EXHIBIT.layer, "step": 8}
    )
    view = page.evaluate(f"{VIEWER}.viewNow()")
    name, content = export_file(page, "one HTML file")
    assert name.startswith("pixelgaze-a-round-purple-monster") and name.endswith(".html")
    page.get_by_text(re.compile(r"Saved, \d+\.\d MB")).wait_for()
    (tmp_path / "page.html").write_bytes(content)
    alone = open_offline(chromium, tmp_path / "page.html")
    assert alone.evaluate(f"{VIEWER}.viewNow()") == view
    alone.close()
