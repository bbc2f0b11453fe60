"""The tab *How it works* in Chromium: its numbers equal Python's, and its panels mark the same pixel."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open

from models import load
from tests.support import lessons
from tests.support.chromium import open_page, serious_violations, wait_for_frame, wait_until_idle
from tests.support.convolutions import convolutions_needed, receptive_field
from tests.support.lessons import LESSON_PAGE, panels, sentence, state
from viz.lesson.experiments import centre_and_spread, convolution_gap
from viz.lesson.panels import compute_panels
from viz.lesson.watch import replay, watch_layer
from viz.page.gallery import LESSON, exhibits


@pytest.fixture
def page(chromium, url):
    with lessons.open_lesson_tab(chromium, url) as page:
        yield page


@pytest.fixture(scope="module")
def layer_call():
    """The layer the tab opens on, in a new run of the bundled model."""
    exhibit = exhibits()[0]
    pipeline = load("critters", revision=exhibit.recipe.weights)
    calls = replay(pipeline, exhibit.recipe).calls
    return watch_layer(pipeline.unet, calls[exhibit.step], exhibit.layer)


def test_lesson_file_matches_bundled_model(layer_call):
    with safe_open(LESSON, "pt") as file:
        for name in ("query", "key", "value", "output"):
            saved, computed = file.get_tensor(name), getattr(layer_call, name)
            difference = (saved - computed).abs().max()
            assert difference <= 1e-3 * computed.abs().max(), f"{name}: run `make gallery` for the new model"
        gaps = json.loads(file.metadata()["lesson"])["gaps"]
    assert gaps["attention"] < 1e-5 < 0.1 < gaps["convolution"]
    assert LESSON.stat().st_size < 2_000_000


def test_lesson_panels_equal_python(page, layer_call):
    page.get_by_role("slider", name="temperature").fill("1")  # octaves: a temperature of 2
    page.locator("#lesson .pg-segment button").nth(1).click()
    page.evaluate(f"{LESSON_PAGE}.ask(5 * 32 + 20)")
    on_page, expected = panels(page), compute_panels(layer_call, (5, 20), 1, temperature=2)
    for name in ("pixel", "query", "scores", "row", "attended", "joined", "contribution", "output"):
        numbers = getattr(expected, name).flatten()
        assert np.allclose(on_page[name], numbers, rtol=2e-3, atol=2e-3 * numbers.abs().max().item()), name
    assert on_page["total"] == pytest.approx(1, abs=1e-9)
    assert on_page["top"][0] == expected.top[0].index
    assert on_page["difference"] == pytest.approx(expected.difference, rel=1e-2) and on_page["difference"] > 1e-3


def test_lesson_opens_on_exhibit_view_and_quotes_its_numbers(page):
    exhibit, on_page = exhibits()[0], panels(page)
    row, column = (int(place * 32) for place in exhibit.point)
    assert state(page)["query"] == row * 32 + column and state(page)["head"] == exhibit.head
    assert on_page["difference"] < 1e-5
    assert f"Row = {row} × 32 + {column} = {row * 32 + column}" in sentence(page, 2)
    assert "√12" in sentence(page, 4)
    assert "weights that sum to 1." in sentence(page, 5)
    assert f"{on_page['difference']:.1e}".replace("e-0", "e-") in sentence(page, 7)
    for tab in ("Explore", "How it works"):  # after leaving and returning, the list still shows the query's row
        page.get_by_role("tab", name=tab).click()
    wait_for_frame(page)
    assert page.evaluate("document.querySelector('.pl-scroll').scrollTop") == (row * 32 + column - 6) * 20
    assert page.locator(".pl-top li").count() == 5
    assert page.locator(".pl-top li").first.inner_text().startswith(f"{on_page['row'][on_page['top'][0]]:.4f}")


def test_lesson_panels_all_mark_hovered_pixel(page):
    def pictures() -> list[str]:
        return page.eval_on_selector_all(
            ".pl-board > section:nth-child(-n+8) canvas", "all => all.map(c => c.toDataURL())"
        )

    wait_for_frame(page)
    before = pictures()
    canvas = page.locator("canvas[aria-label='The scores, laid out on the grid']")
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] * (3.5 / 32), "y": box["height"] * (9.5 / 32)})
    wait_for_frame(page)
    assert state(page)["hover"] == 9 * 32 + 3
    changed = [a != b for a, b in zip(before, pictures(), strict=True)]
    assert sum(changed) >= 7  # picture, features, keys, scores, softmax, arrows, field; the list only if in view
    assert "row 9, column 3" in sentence(page, 4)
    page.locator(".pl-top li").nth(1).hover()
    assert state(page)["hover"] == panels(page)["top"][1]


def test_lesson_click_selects_pixel_and_arrow_keys_move_it(page):
    canvas = page.locator("canvas[aria-label^='The layer']")
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * (20.5 / 32), "y": box["height"] * (4.5 / 32)})
    assert state(page)["query"] == 4 * 32 + 20
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert state(page)["query"] == 5 * 32 + 19
    page.locator(".pl-scroll").evaluate("list => list.scrollTop = 0")
    page.locator(".pl-scroll").click(position={"x": 100, "y": 50})
    assert state(page)["query"] == 2


def test_lesson_shuffle_shows_outputs_and_can_be_undone(page):
    figures = page.locator(".pl-figures canvas")
    assert not figures.first.is_visible()
    page.get_by_role("button", name="Shuffle the cells").click()
    assert figures.count() == 6
    first, after = (figures.nth(i).evaluate("canvas => canvas.toDataURL()") for i in (4, 5))
    assert first != after  # the convolution's outputs
    assert "no notion of position" in page.locator(".pl-shuffled").inner_text()
    page.get_by_role("button", name="Put them back").click()
    assert not figures.first.is_visible()


def test_lesson_last_panel_counts_convolutions_to_strongest_distant_cell(page):
    for query in ((0, 0), (5, 20), (31, 3)):
        page.evaluate(f"{LESSON_PAGE}.ask({query[0] * 32 + query[1]})")
        wait_for_frame(page)
        row = np.array(panels(page)["row"]).reshape(32, 32)
        row[receptive_field((32, 32), query).numpy()] = 0
        needed = convolutions_needed((32, 32), query, divmod(int(row.argmax()), 32))
        assert re.findall(r"take (\d+) such layers", sentence(page, 8)) == [str(needed)]


def read_features() -> torch.Tensor:
    with safe_open(LESSON, "pt") as file:
        return file.get_tensor("features").permute(2, 0, 1) / 255  # (3, 32, 32)


def test_lesson_nine_heads_approach_torch_convolution(page):
    features, gaps = read_features(), {}
    kernel = torch.tensor([[0.5, 0, -1], [2, 1.25, 0], [0, -0.75, 1]])
    for i, entry in enumerate(kernel.flatten().tolist()):
        page.locator(".pl-kernel input").nth(i).fill(str(entry))
    convolution = torch.nn.Conv2d(3, 3, 3, bias=False)
    convolution.weight.data = torch.eye(3)[:, :, None, None] * kernel  # each channel by itself
    for octave in (0, 2, 4):
        page.locator(".pl-nine .pl-heat input").fill(str(octave))
        gaps[octave] = page.evaluate(f"{LESSON_PAGE}.nine.state.gap")
        assert gaps[octave] == pytest.approx(convolution_gap(convolution, features, 2.0**octave), rel=1e-3, abs=1e-4)
    assert gaps[0] > gaps[2] > 1e-2 and gaps[4] < 1e-4
    assert f"{gaps[4]:.1e}".replace("e-0", "e-") + "." in page.locator(".pl-nine .pl-sentence").inner_text()


def test_lesson_nine_heads_are_moved_and_spread_by_dragging(page):
    page.locator(".pl-nine .pl-heat input").fill("2")  # α = 4: a standard deviation of 0.35 cells
    page.get_by_role("button", name="blur").click()
    stage = page.locator("canvas[aria-label^='The nine heads']")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()

    def drag(start: tuple[float, float], end: tuple[float, float]) -> list:
        for (down, right), act in ((start, page.mouse.down), (end, page.mouse.up)):
            page.mouse.move(box["x"] + box["width"] * (0.5 + right / 7), box["y"] + box["height"] * (0.5 + down / 7))
            act()
        return page.evaluate(f"{LESSON_PAGE}.nine.state.heads")

    before = page.evaluate(f"{LESSON_PAGE}.nine.state.gap")
    assert drag((1, 1), (2.5, -2))[8]["centre"] == pytest.approx([2.5, -2], abs=0.05)
    assert page.evaluate(f"{LESSON_PAGE}.nine.state.gap") > before
    spread = drag((2.5 - 8**-0.5, -2), (0.5, -2))[8]
    assert spread["alpha"] == pytest.approx(1 / (2 * 2**2), rel=0.1) and spread["centre"] == pytest.approx(
        [2.5, -2], abs=0.05
    )


def test_lesson_head_places_equal_centre_and_spread_of_rows(page, layer_call):
    around = page.evaluate(f"""() => {{
        const {{ around }} = {LESSON_PAGE}.lesson();
        return around.map(({{ name, grid, heads, places }}) => ({{ name, grid, heads, places: [...places] }}));
    }}""")
    assert len(around) == page.locator(".pl-layers figure").count() > 5
    entry = next(layer for layer in around if layer["name"] == layer_call.layer.name)
    height, width = entry["grid"]
    query = state(page)["query"]
    shift, spread = centre_and_spread(
        compute_panels(layer_call, divmod(query, width), head=3).row, divmod(query, width)
    )
    offset = 5 * (3 * height * width + query)
    down, right, *_, across = entry["places"][offset : offset + 5]
    assert (down * height, right * width) == pytest.approx(shift.tolist(), abs=1e-3)
    assert across * width**2 == pytest.approx(spread[1, 1].item(), abs=1e-2)
    assert "mean distance" in page.locator(".pl-layers .pl-at").inner_text()
    page.locator(".pl-layers canvas").first.click(position={"x": 5, "y": 5})
    assert state(page)["query"] == 0


@pytest.mark.timed
def test_lesson_is_painted_within_300_ms_of_click(chromium, url):
    # The best of five, so that other work of the machine does not count.
    durations = []  # ms
    while len(durations) < 5 and min(durations, default=300) >= 300:
        page = open_page(chromium, url)
        wait_until_idle(page)  # a reader looks at the first tab before the second
        durations.append(
            page.evaluate("""async () => {
                const tab = [...document.querySelectorAll("[role=tab]")]
                    .find((one) => /How it works/.test(one.textContent));
                const began = performance.now();
                tab.click();
                const late = () => performance.now() - began;
                const all = () => [...document.querySelectorAll("#lesson .pl-card canvas")];
                const canvases = () => all().filter((one) => !one.closest("[hidden]"));
                const painted = (node) => node.clientWidth > 0 && node.width >= node.clientWidth;
                while (late() < 3000 && (canvases().length < 18 || !canvases().every(painted))) {
                    await new Promise(requestAnimationFrame);
                }
                return late();
            }""")
        )
        page.close()
    assert min(durations) < 300, durations


@pytest.mark.parametrize("width", [1440, 390])
def test_lesson_menu_text_ends_before_arrow(chromium, url, width):
    page = open_page(chromium, url, width=width)
    page.get_by_role("tab", name="How it works").click()
    for name in ("Picture", "Layer"):
        box = page.get_by_role("combobox", name=name)
        box.wait_for()
        text_ends, arrow = box.evaluate("""(node) => [
            node.getBoundingClientRect().right - parseFloat(getComputedStyle(node).paddingRight),
            node.parentElement.querySelector("svg").getBoundingClientRect().left,
        ]""")
        assert text_ends <= arrow and box.evaluate("(node) => getComputedStyle(node).textOverflow") == "ellipsis"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_lesson_fits_page_and_has_no_serious_axe_violations(chromium, url, width, scheme):
    page = open_page(chromium, url, width=width, scheme=scheme)
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    page.get_by_role("button", name="Shuffle the cells").click()
    wait_for_frame(page)
    assert serious_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.locator(":is(#lesson, .pl-text) *:not(canvas)").evaluate_all(
        """(all) => all.filter((one) => one.checkVisibility() && one.childNodes.length
            && (one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== "inline"
                || one.getBoundingClientRect().right > innerWidth)).map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert cut == []
    page.close()


def test_lesson_controls_are_reached_with_tab_key(page):
    page.evaluate("document.activeElement.blur()")
    for _ in range(120):  # more than there are controls, so that the focus wraps around
        page.keyboard.press("Tab")
        page.evaluate("() => { document.activeElement.dataset.reached = 'yes' }")
    controls = "[role=tabpanel] :is(button, input, select, canvas[tabindex], [tabindex='0']):not([disabled])"
    missed = page.locator(controls).evaluate_all(
        """(all) => all.filter((one) => one.checkVisibility() && one.tabIndex >= 0 && !one.dataset.reached)
            .map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert missed == [] and page.locator("#lesson [data-reached]").count() > 15
    canvas = page.locator("canvas[aria-label^='The layer']")
    canvas.focus()
    before = state(page)["query"]
    page.keyboard.press("ArrowRight")
    assert state(page)["query"] == before + 1
