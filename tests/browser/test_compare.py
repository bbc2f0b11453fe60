"""Two recordings side by side: one cursor, columns of one timestep, their difference, and a file with both."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.chromium import VIEWER, VIEWER_ROOT, fill_field, look, open_page, pixels_of, settle, state, view
from tests.support.gallery import kept_trace
from viz import Trace
from viz.page.gallery import exhibits, first_trace

SECOND_ROOT = "#second .pixelgaze"
SECOND = f"document.querySelector('{SECOND_ROOT}').viewer"
BOX = {"kind": "box", "from": [0.4, 0.55], "to": [0.625, 0.72]}
LAYER = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"
POINT = [13.5 / 32, 11.5 / 32]
BAND = ".pg-comparison"
BOXES = """(selectors) => selectors.map((selector) => {
    const { left, top, right, bottom } = document.querySelector(selector).getBoundingClientRect();
    return [left, top, right, bottom];
})"""


def start_comparison(page) -> None:
    page.locator("#viewer").get_by_role("button", name="Compare").click()
    page.wait_for_selector(f"{SECOND_ROOT} .pg-main:not([hidden])", timeout=120_000)  # may be drawn first
    page.wait_for_function(f"!{SECOND}.trace.arriving")
    settle_both(page)


def settle_both(page) -> None:
    """Wait until both are computed and painted, and the difference, a frame later."""
    settle(page)
    page.evaluate(f"{SECOND}.whole()")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def copy_left(page) -> None:
    page.get_by_role("button", name="Copy left recording here").click()


def chosen(page) -> str:
    return page.get_by_label("Recording to compare with").evaluate("(node) => node.selectedOptions[0].textContent")


def draw_picture(page, seed: int, steps: int) -> None:
    page.locator("#seed input").fill(str(seed))
    fill_field(page, "steps", str(steps))
    page.locator("#generate").click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.seed === {seed}", timeout=120_000)


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1366, 768)])
def test_both_pictures_and_their_difference_share_the_first_screen(chromium, url, width, height):
    page = open_page(chromium, url, width=width, height=height)
    start_comparison(page)
    names = [f"{root} .pg-picture" for root in (VIEWER_ROOT, SECOND_ROOT)]
    left, right, difference = page.evaluate(BOXES, [*names, ".pg-difference"])
    for box in (left, right, difference):
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height, box
    assert left[1] == right[1] and left[3] == right[3] and left[3] - left[1] >= 250
    atlases = page.evaluate(BOXES, [f"{root} .pg-maps canvas" for root in (VIEWER_ROOT, SECOND_ROOT)])
    assert atlases[0][1::2] == atlases[1][1::2] and atlases[0][3] <= height
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1920, 1080)])
def test_both_sentences_are_whole_on_the_first_screen(chromium, url, width, height):
    """And where the sentences are short, the cards are where they are with long ones."""
    page = open_page(chromium, url, width=width, height=height)
    start_comparison(page)
    sentences = [f"{root} .pg-sentence" for root in (VIEWER_ROOT, SECOND_ROOT)]
    tops = set()
    for at in ((0.5, 0.5), (0.3, 0.34), (0.9, 0.1), (0.36, 0.6), (0.62, 0.62)):
        look(page, *at)
        settle_both(page)
        for _, top, _, bottom in page.evaluate(BOXES, sentences):
            assert bottom <= height, (at, bottom)
            tops.add(top)
    assert len(tops) == 1
    page.close()


def test_two_recordings_share_one_cursor(page):
    start_comparison(page)
    first_title, other_title = (page.locator(f"{part} .pg-title") for part in ("#viewer", "#second"))
    assert first_title.inner_text() == exhibits()[0].caption and other_title.inner_text() == exhibits()[1].caption
    assert chosen(page) == f"{exhibits()[1].caption}, seed {exhibits()[1].seed}"
    look(page, 0.3, 0.6)
    assert page.evaluate(f"{SECOND}.state.point") == pytest.approx([0.3, 0.6], abs=0.01)
    page.locator("#second").get_by_role("button", name="middle").click()
    page.locator("#second").get_by_label("Denoising step").fill("6")
    view(page, mode="column", pins=[BOX], active=0)
    ignored = "({tool, step, ...rest}) => rest"
    assert page.evaluate(f"({ignored})({SECOND}.state)") == page.evaluate(f"({ignored})({VIEWER}.state)")
    first, second = (page.evaluate(f"{one}.trace.steps[{one}.state.step]") for one in (VIEWER, SECOND))
    assert first == second == exhibits()[0].steps[2]  # the step itself, not its index
    assert state(page)["layer"] == page.evaluate(f"{VIEWER}.trace.layers[3].index")
    copy_left(page)
    assert other_title.inner_text() == exhibits()[0].caption
    assert chosen(page) == f"{exhibits()[0].caption}, seed {exhibits()[0].seed}"
    page.get_by_label("Recording to compare with").select_option("1")
    page.wait_for_function(
        f"document.querySelector('#second .pg-title').textContent === {json.dumps(exhibits()[1].caption)}"
    )
    page.locator(BAND).get_by_role("button", name="Close").click()
    page.locator("#second").wait_for(state="detached")
    look(page, 0.3, 0.3)
    assert page.locator("#viewer .pg-main").get_attribute("data-mode") == "three"
    assert page.locator(BAND).count() == 0 and page.locator("#viewer .pg-tools").is_visible()


def test_steps_match_by_timestep(page):
    """A copied recording stays beside one drawn later, of three steps."""
    start_comparison(page)
    copy_left(page)
    draw_picture(page, seed=3, steps=3)
    assert page.evaluate(f"{SECOND}.trace.recipe.seed") == exhibits()[0].seed
    short, long = (np.array(page.evaluate(f"{one}.trace.timesteps")) for one in (VIEWER, SECOND))
    assert len(short) == 3 and len(long) == 9
    for index, t in enumerate(short):
        view(page, step=index)
        assert page.evaluate(f"{SECOND}.state.step") == np.argmin(abs(long - t))
    page.locator("#second").get_by_label("Denoising step").fill("5")
    assert state(page)["step"] == np.argmin(abs(short - long[5])) and page.evaluate(f"{SECOND}.state.step") == 5
    settle_both(page)
    assert f"no step of equal t here (left t = {short[2]:g}, right t = {long[5]:g})" in band_text(page)
    # A column is one timestep in both, or a gap in one of them.
    ticks = [page.locator(f"{root} .pg-ticks .pg-tick").all_text_contents() for root in (VIEWER_ROOT, SECOND_ROOT)]
    assert ticks[0] == ticks[1] == [f"{t:g}" for t in sorted({*map(float, ticks[0])}, reverse=True)]
    assert {f"{short[2]:g}", f"{long[5]:g}"} <= set(ticks[0])
    for root, own in ((VIEWER_ROOT, short), (SECOND_ROOT, long)):
        atlas = pixels_of(page, f"{root} .pg-maps canvas")
        pitch = atlas.shape[1] / len(ticks[0])
        for column, text in enumerate(ticks[0]):
            grey = (atlas[2:20, round(column * pitch) : round((column + 1) * pitch) - 2] == 0x8A).all(2).mean()
            assert (grey > 0.1) == (float(text) not in own), (root, text, grey)
    look(page, 0.55, 0.34)
    settle_both(page)
    assert page.evaluate(f"{SECOND}.state.point") == state(page)["point"]
    maps = [page.evaluate(f"Array.from({each}.map)") for each in (VIEWER, SECOND)]
    assert len(maps[0]) == len(maps[1]) and maps[0] != maps[1]


def band_text(page) -> str:
    return page.locator(f"{BAND} .pg-gains").inner_text()


def expected_difference(step: int) -> np.ndarray:
    """(32, 32): right minus left, in multiples of uniform, from the files of both recordings."""
    paths = first_trace(), kept_trace(exhibits()[1])
    left, right = (Trace.load(path).rows(LAYER, step=step, query=(13, 11), head=1).numpy() for path in paths)
    return (right - left) * left.size


def compare_at(page, step: int) -> np.ndarray:
    view(page, point=POINT, pins=[], active=-1, layer=LAYER, step=step, head=1, range="common", log=True)
    settle_both(page)
    return expected_difference(step)


def test_difference_is_what_the_map_gains_and_loses(page):
    start_comparison(page)
    step = exhibits()[0].steps[5]
    expected = compare_at(page, step)
    gain, loss = (np.unravel_index(index, expected.shape) for index in (expected.argmax(), expected.argmin()))
    text = band_text(page)
    assert f"Row 13, column 11 gains most at row {gain[0]}, column {gain[1]}, " in text
    assert f"loses most at row {loss[0]}, column {loss[1]}, " in text
    assert f"{100 * abs(expected).sum() / 2 / expected.size:.0f}% of its attention" in text
    assert ", head 1, t = " in page.locator(f"{BAND} .pg-compared-title").inner_text()
    shown = pixels_of(page, ".pg-difference").astype(int)
    cells = shown.reshape(32, 6, 32, 6, 3)[:, 3, :, 3]  # 192 pixels
    outside = np.ones_like(expected, bool)
    outside[11:16, 9:14] = False  # the query's outline
    redness = (cells[..., 0] - cells[..., 2])[outside]
    clear = abs(expected[outside]) > 1
    assert clear.sum() > 50 and (np.sign(redness[clear]) == np.sign(expected[outside][clear])).all()
    ticks = page.locator(f"{BAND} .pg-bar-ticks span").all_inner_texts()
    assert ticks[0] == "≤ −31×" and ticks[-1] == "≥ +31×"
    copy_left(page)
    settle_both(page)
    assert "the two maps are the same" in band_text(page)


def test_comparison_says_why_there_is_no_difference(page):
    start_comparison(page)
    view(page, step=exhibits()[0].steps[2])
    page.locator("#second").get_by_label("Denoising step").fill("1")
    settle_both(page)
    assert band_text(page).startswith("No difference: the recordings have no step of equal t here (left t = ")
    assert not page.locator(f"{BAND} .pg-bar").is_visible()


def test_both_are_saved_in_one_picture(page):
    start_comparison(page)
    expected = compare_at(page, exhibits()[0].steps[5])
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name="Save both (PNG)").click()
    assert download.value.suggested_filename.startswith("pixelgaze-a-round-purple") and (
        "-and-a-triangular-red" in download.value.suggested_filename
    )
    sheet = np.asarray(Image.open(io.BytesIO(Path(download.value.path()).read_bytes())).convert("RGB")).astype(int)
    assert sheet.shape[1] == 2 * (2 * 24 + 3 * 280 + 2 * 24)
    tiles = [sheet[:, 2 * (24 + i * 304) :][:, : 2 * 280] for i in range(3)]
    white = [(tile == 255).all(2).all(1) for tile in tiles]
    # The maps are the last rows of 560 pixels without a white line; the pictures stand above the first two.
    bottom = sheet.shape[0] - next(i for i, row in enumerate(white[0][::-1]) if matrix_ends(white[0], i))
    maps = [tile[bottom - 560 : bottom] for tile in tiles]
    pictures = [tile[bottom - 1168 : bottom - 608] for tile in tiles]
    cells = [block[8::17, 8::17][:32, :32] for block in maps]
    assert all(len(np.unique(block.reshape(-1, 3), axis=0)) > 20 for block in maps)
    redness = cells[2][..., 0] - cells[2][..., 2]
    assert np.corrcoef(redness.ravel(), np.sign(expected).ravel())[0, 1] > 0.5
    assert (pictures[0] != pictures[1]).any() and len(np.unique(pictures[0].reshape(-1, 3), axis=0)) > 50


def matrix_ends(white: np.ndarray, from_below: int) -> bool:
    """Whether the 560 rows that end `from_below` rows above the lower edge hold no white line."""
    end = len(white) - from_below
    return end >= 560 and not white[end - 560 : end].any()


def test_second_viewer_exports_its_own_files(page):
    start_comparison(page)
    other = exhibits()[1]
    second = page.locator("#second")
    second.get_by_role("button", name="Export").click()
    for label, ending in (("2 times the size", "@2x.png"), ("with real text", ".svg"), ("the maps of", ".npz")):
        with page.expect_download(timeout=60_000) as download:
            second.get_by_role("button", name=label).click()
        name = download.value.suggested_filename
        assert name.startswith(f"pixelgaze-{'-'.join(other.caption.split()[:3])}") and name.endswith(ending)
    with page.expect_download() as download:
        second.get_by_role("button", name="Q and K of every layer").click()
    assert Path(download.value.path()).read_bytes() == kept_trace(other).read_bytes()
