"""The page in Firefox: the first map, pointing, a scene of the story, two recordings side by side, and files."""

import base64
import io
import re
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.support.chromium import VIEWER, VIEWER_ROOT, server
from tests.support.firefox import find_driver, find_firefox, firefox
from viz import Trace, figure
from viz.page.gallery import exhibits, first_trace
from viz.view import View

NEEDED = "needs Firefox and geckodriver; on Debian: apt-get install firefox-esr, pip install -r requirements-dev.txt"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_firefox() or not find_driver(), reason=NEEDED),
]
WHOLE = f"const done = arguments[0]; {VIEWER}.whole().then(() => done(Array.from({VIEWER}.map)))"


@pytest.fixture(scope="module")
def url():
    with server() as (url, _):
        yield url


@pytest.fixture
def page(url):
    with firefox() as driver:
        driver.set_script_timeout(120)
        driver.get(url)
        until(driver, f"{VIEWER_ROOT} .pg-main", f"{VIEWER}.trace && !{VIEWER}.trace.arriving")
        yield driver
        assert driver.complaints == []


def until(driver, selector: str, condition: str = "true") -> None:
    """Wait until a node is there and visible, and a JavaScript expression true."""
    script = (
        f"const node = document.querySelector({selector!r}); return node?.checkVisibility() && Boolean({condition})"
    )
    WebDriverWait(driver, 120).until(lambda _: driver.execute_script(script))


def press(driver, name: str, within: str = "body") -> None:
    """Press the button with this text or label."""
    buttons = driver.find_elements(By.CSS_SELECTOR, f"{within} button")
    labels = [(button.get_attribute("aria-label") or button.text).strip() for button in buttons]
    buttons[labels.index(name)].click()


def look(driver, row: float, column: float) -> np.ndarray:
    """Move the mouse over the picture, at fractions of its sides; returns the map on show once it is painted."""
    picture = driver.find_element(By.CSS_SELECTOR, f"{VIEWER_ROOT} .pg-picture")
    width, height = (picture.size[side] for side in ("width", "height"))
    right, down = round((column - 0.5) * width), round((row - 0.5) * height)
    ActionChains(driver).move_to_element_with_offset(picture, right, down).perform()
    return np.array(driver.execute_async_script(WHOLE))


def test_first_map_and_the_one_under_the_mouse_are_the_recording_s(page):
    """Against rows that numpy computes of the file's Q and K."""
    trace = Trace.load(first_trace())
    for row, column in ((0.42, 0.36), (0.7, 0.55)):
        shown = look(page, row, column)
        view = page.execute_script(f"return {VIEWER}.viewNow()")
        layer = trace.layers[view["layer"]]
        assert view["point"] == pytest.approx([row, column], abs=0.01)
        cell = tuple(int(at * side) for at, side in zip(view["point"], layer.grid, strict=True))
        rows = trace.rows(view["layer"], step=view["step"], query=cell).numpy()
        expected = rows[view["head"]] if view["head"] >= 0 else rows.mean(0)
        assert shown == pytest.approx(expected.ravel() * expected.size, rel=1e-3, abs=1e-4)
    readout = page.find_element(By.CSS_SELECTOR, f"{VIEWER_ROOT} .pg-readout")
    assert readout.is_displayed() and readout.text == f"row {cell[0]}, column {cell[1]}"
    sentence = page.find_element(By.CSS_SELECTOR, f"{VIEWER_ROOT} .pg-sentence").text
    assert f"row {cell[0]}, column {cell[1]}" in sentence


def test_complaints_are_collected(page):
    page.execute_script("console.error('an error'); console.log('a note'); setTimeout(() => { throw Error('thrown') })")
    WebDriverWait(page, 20).until(lambda _: len(page.complaints) == 2)
    assert "an error" in page.complaints[0] and "thrown" in page.complaints[1]
    page.complaints.clear()


def test_nothing_of_the_first_screen_is_below_it(page):
    parts = ("picture", "player", "sentence", "atlas", "bar")
    script = "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()"
    for part in parts:
        box = page.execute_script(script, f"{VIEWER_ROOT} .pg-{part}")
        assert box["top"] >= 0 and box["bottom"] <= 900 and box["right"] <= 1440, (part, box)


def test_a_scene_of_the_story_is_drawn_and_told(page):
    page.get(page.current_url.split("#")[0] + "#how-4")
    page.refresh()
    until(page, "#lesson .pl-main", "document.querySelector('.pg-lesson').lesson.stage.scene === 4")
    stage = page.find_element(By.CSS_SELECTOR, "#lesson .pl-stage")
    WebDriverWait(page, 60).until(
        lambda _: page.execute_script("return document.querySelector('.pg-lesson').lesson.stage.t === 1")
    )
    assert len(page.find_element(By.CSS_SELECTOR, ".pl-narration").text) > 80
    drawn = np.asarray(Image.open(io.BytesIO(stage.screenshot_as_png)).convert("RGB"))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100
    page.find_element(By.CSS_SELECTOR, "#lesson .pl-next").click()
    until(page, "#lesson .pl-main", "document.querySelector('.pg-lesson').lesson.stage.scene === 5")
    assert page.current_url.endswith("#how-5")


def saved(driver, ending: str) -> Path:
    """The file that the page saves, once it is whole."""
    deadline = time.monotonic() + 90
    while not (files := [file for file in driver.saved.glob(f"*{ending}") if file.stat().st_size]) or [
        *driver.saved.glob("*.part")
    ]:
        assert time.monotonic() < deadline, f"no {ending} was saved"
        time.sleep(0.1)
    return files[0]


def test_a_picture_with_the_atlas_is_exported(page):
    look(page, 0.42, 0.36)
    press(page, "Export ▾", VIEWER_ROOT)
    press(page, "2×: Picture and atlas (PNG), 2 times the size", VIEWER_ROOT)
    sheet = np.asarray(Image.open(saved(page, "@2x.png")).convert("RGB"))
    assert sheet.shape[1] > 1200 and len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000


def test_figures_of_the_dialog_open_again(page, tmp_path):
    """Each is `viz.figure`'s: the SVG but for its pixels, the PDF's text, the PNG's size and resolution."""
    look(page, 0.42, 0.36)
    view = View.from_json(page.execute_script(f"return {VIEWER}.viewNow()"))
    press(page, "Export ▾", VIEWER_ROOT)
    press(page, "Compose…: Figure for a paper or a slide, PNG, SVG or PDF", VIEWER_ROOT)
    until(
        page,
        ".pg-figure-dialog[open]",
        "document.querySelector('.pg-figure-dialog .pg-news').textContent.includes('mm')",
    )
    canvas = page.find_element(By.CSS_SELECTOR, ".pg-figure-dialog canvas")
    preview = np.asarray(Image.open(io.BytesIO(canvas.screenshot_as_png)).convert("RGB"))
    assert len(np.unique(preview.reshape(-1, 3), axis=0)) > 200
    files, trace = {}, Trace.load(first_trace())
    for kind in ("png", "svg", "pdf"):
        Select(page.find_element(By.CSS_SELECTOR, ".pg-figure-dialog select:has([value=pdf])")).select_by_value(kind)
        page.find_element(By.CSS_SELECTOR, ".pg-figure-save").click()
        files[kind] = (
            saved(page, f".{kind}").read_bytes(),
            figure(trace, tmp_path / f"a.{kind}", view=view).read_bytes(),
        )
    picture, wanted = (Image.open(io.BytesIO(content)) for content in files["png"])
    assert picture.mode == "RGB" or picture.getextrema()[3] == (255, 255)
    assert picture.size == wanted.size and picture.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert (
        np.abs(np.asarray(picture.convert("RGB"), int) - np.asarray(wanted, int)).max(-1) < 13
    ).mean() > 0.97  # letters differ
    pixels = re.compile(r'base64,([^"]+)')
    svg, wanted = (content.decode() for content in files["svg"])
    assert pixels.sub("", svg) == pixels.sub("", wanted)
    for one, other in zip(*(map(opened, pixels.findall(each)) for each in (svg, wanted)), strict=True):
        assert one.shape == other.shape and np.abs(one - other).max() <= 12
    operators, wanted = (text_of(content) for content in files["pdf"])
    assert operators == wanted and b"Attention relative to uniform" in operators


def opened(data: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), int)


def text_of(pdf: bytes) -> bytes:
    """The operators of a PDF's page."""
    assert pdf.startswith(b"%PDF-1.4\n") and pdf.endswith(b"%%EOF\n")
    found = re.search(rb"<<([^>]*)/Filter/FlateDecode/Length (\d+)>>\nstream\n", pdf)
    assert found
    return zlib.decompress(pdf[found.end() : found.end() + int(found[2])])


PLAY = """const [data, done] = arguments;
    const video = Object.assign(document.createElement("video"), { muted: true, src: data });
    video.onerror = () => done([video.error.message, 0, 0]);
    video.onloadeddata = () => (video.currentTime = 1e6); // recordings do not say how long they are
    video.onseeked = () => done([video.duration, video.videoWidth, video.videoHeight]);"""


def test_animations_hold_their_last_frame(page):
    trace = Trace.load(first_trace())
    look(page, 0.42, 0.36)
    press(page, "Export ▾", VIEWER_ROOT)
    press(page, "GIF: Animation over the steps, the map over the picture, step by step", VIEWER_ROOT)
    gif: Any = Image.open(saved(page, ".gif"))
    durations = [gif.seek(frame) or gif.info["duration"] for frame in range(gif.n_frames)]
    assert durations == [350] * (len(trace.steps) - 1) + [2000] and gif.width == 384 and gif.height > 440
    press(page, "WebM: Animation over the steps, a video of the same", VIEWER_ROOT)
    content = saved(page, ".webm").read_bytes()
    assert content.startswith(b"\x1a\x45\xdf\xa3")  # EBML
    data = f"data:video/webm;base64,{base64.b64encode(content).decode()}"
    seconds, width, height = page.execute_async_script(PLAY, data)
    assert (width, height) == (2 * gif.width, 2 * gif.height)
    assert sum(durations) / 1000 - 0.4 <= seconds <= sum(durations) / 1000 + 1.5


def test_two_recordings_stand_side_by_side(page):
    press(page, "Compare", VIEWER_ROOT)
    second = "document.querySelector('#second .pixelgaze').viewer"
    until(page, "#second .pg-main", f"{second}.trace && !{second}.trace.arriving")
    look(page, 0.42, 0.36)
    until(page, ".pg-comparison", "document.querySelector('.pg-gains').textContent.includes('gains most')")
    assert page.find_element(By.CSS_SELECTOR, "#second .pg-title").get_attribute("textContent") == exhibits()[1].caption
    boxes = [
        page.execute_script("return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector)
        for selector in (f"{VIEWER_ROOT} .pg-picture", "#second .pg-picture")
    ]
    assert boxes[0]["top"] == boxes[1]["top"] and all(box["bottom"] <= 900 for box in boxes)


def test_viewer_fills_the_screen(page):
    press(page, "Full screen", VIEWER_ROOT)
    until(
        page,
        f"{VIEWER_ROOT} .pg-picture",
        f"document.fullscreenElement?.contains(document.querySelector('{VIEWER_ROOT}'))",
    )
    press(page, "Full screen", VIEWER_ROOT)
    until(page, f"{VIEWER_ROOT} .pg-picture", "!document.fullscreenElement")
