"""The tab *How it works* in Chromium: its numbers equal Python's, and its figures mark the same cell."""

import json
import re

import numpy as np
import pytest
from safetensors import safe_open

from models import load
from tests.support import lessons
from tests.support.chromium import open_page, pixels_of, serious_violations, wait_for_frame, wait_until_idle
from tests.support.convolutions import convolutions_needed, receptive_field
from tests.support.lessons import (
    LESSON_PAGE,
    as_power,
    narration,
    open_card,
    open_choices,
    panels,
    part,
    point_at,
    show_scene,
    state,
)
from viz.lesson.experiments import centre_and_spread
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
        description, order = json.loads(file.metadata()["lesson"]), file.get_tensor("order")
    assert sorted(order.tolist()) == list(range(1024))
    assert [stage["grid"][0] for stage in description["stages"]] == [64, 32, 16, 8, 16, 32, 64]
    staged = [layer for stage in description["stages"] for layer in stage["layers"]]
    assert sorted(staged) == sorted(description["layers"])
    gaps = description["gaps"]
    assert gaps["attention"] < 1e-5 < 0.1 < gaps["convolution"]
    assert LESSON.stat().st_size < 2_000_000


def test_lesson_panels_equal_python(page, layer_call):
    show_scene(page, 5)
    page.get_by_role("slider", name="temperature").fill("1")  # octaves: a temperature of 2
    page.locator("#lesson .pl-bar .pg-segment button").nth(1).click()
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
    assert f"row = {row} × 32 + {column} = {row * 32 + column}" in narration(page, 2)
    assert "√12" in narration(page, 4)
    assert "weights above zero that sum to 1." in narration(page, 5)
    assert as_power(on_page["difference"]) in narration(page, 6)
    largest = on_page["row"][on_page["top"][0]]
    assert f"{100 * largest:.1f}%" in narration(page, 5)
    share = sum(on_page["row"][key] for key in on_page["top"])
    assert f"{100 * share:.1f}% of the weight" in narration(page, 6)
    far = on_page["far"]
    assert f"row {far // 32}, column {far % 32}: {on_page['row'][far] * 1024:.1f} times chance" in narration(page, 0)
    assert f"= {on_page['scores'][far]:.3f}" in narration(page, 4)


@pytest.mark.parametrize(
    ("scene", "cell"), [(0, 9 * 32 + 3), (2, 9 * 32 + 3), (4, 700), (5, 9 * 32 + 3), (6, 3), (8, 40)]
)
def test_lesson_figures_mark_hovered_cell(page, scene, cell):
    show_scene(page, scene)
    page.mouse.move(1, 1)
    wait_for_frame(page)
    before, shot = page.locator(".pl-canvas").evaluate("canvas => canvas.toDataURL()"), page.locator(".pl-narration")
    text, box = shot.inner_text(), shot.bounding_box()
    point_at(page, (cell // 32 + 0.5) / 32, (cell % 32 + 0.5) / 32, part_of_map(page))
    assert state(page)["hover"] == cell
    if scene != 8:
        assert page.locator(".pl-canvas").evaluate("canvas => canvas.toDataURL()") != before
    assert (shot.inner_text(), shot.bounding_box()) == (text, box)  # nothing moves


def part_of_map(page) -> int:
    """The number of the figure's part that is a map."""
    boxes = page.evaluate(f"{LESSON_PAGE}.stage.parts")
    return next(i for i, box in enumerate(boxes) if abs(box["width"] - box["height"]) < 1)


def test_lesson_list_and_grid_light_up_together(page):
    show_scene(page, 2)
    list_of_rows, lens = 1, 2
    point_at(page, 100.5 / 1024, 0.5, list_of_rows)
    hovered = state(page)["hover"]
    assert abs(hovered - 100) <= 2  # a row is half a pixel high
    point_at(page, 0.999, 0.5, lens)
    assert hovered < state(page)["hover"] <= hovered + 13  # one of the rows below it
    top = page.locator(".pl-canvas").bounding_box()
    rows = part(page, list_of_rows)
    assert (
        rows["y"] >= top["y"] - 1 and rows["y"] + rows["height"] <= top["y"] + top["height"] + 1
    )  # all rows on screen


def test_lesson_sorted_bars_are_largest_weights(page):
    show_scene(page, 5)
    order = page.evaluate(f"[...{LESSON_PAGE}.panels().order]")
    row = np.array(panels(page)["row"])
    assert (np.diff(row[order]) <= 0).all() and sorted(order) == list(range(1024))
    box = part(page, 1)
    page.mouse.move(box["x"] + 40, box["y"] + 26 + 1.5 * 21)
    assert state(page)["hover"] == order[1]


def test_lesson_click_selects_cell_and_shift_with_arrow_keys_moves_it(page):
    show_scene(page, 2)
    point_at(page, 4.5 / 32, 20.5 / 32, click=True)
    assert state(page)["query"] == 4 * 32 + 20
    page.locator(".pl-canvas").focus()
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowLeft")
    assert state(page)["query"] == 5 * 32 + 19
    lines = round(part(page, 2)["height"] / 18)
    point_at(page, 0.5 / lines, 0.5, 2)
    top = state(page)["hover"]
    point_at(page, 1.5 / lines, 0.5, 2, click=True)  # the rows stay while one is pointed at
    assert state(page)["query"] == state(page)["hover"] == top + 1


def test_lesson_shuffle_moves_attentions_output_but_not_convolutions(page):
    text = narration(page, 7)
    gaps = page.evaluate(f"{LESSON_PAGE}.lesson().gaps")
    assert "no notion of place" in text and as_power(gaps["attention"]) in text and f"{gaps['convolution']:.2f}" in text
    shown = pixels_of(page, ".pl-canvas").astype(int)
    height, width = shown.shape[:2]
    column, row = width / 3, (height - 88) / 2
    side = min(column - 8, row)

    def picture(index: int, line: int) -> np.ndarray:
        top = 24 + (row - side) / 2
        left = index * column + (column - side) / 2
        top += line * (side + 44)
        grid = (np.arange(32) + 0.5) / 32 * side
        return shown[np.ix_((top + grid).astype(int), (left + grid).astype(int))]

    moved = [np.abs(picture(index, 0) - picture(index, 1)).mean() for index in (1, 2)]
    assert moved[0] < 3 < 20 < moved[1]
    with safe_open(LESSON, "np") as file:
        shuffled, first = file.get_tensor("shuffled"), file.get_tensor("convolution/first")
    away = np.delete(np.arange(1024), permuted_query(page))  # one cell is framed
    for drawn, expected in ((picture(0, 0), shuffled), (picture(2, 1), first)):
        difference = np.abs(drawn - expected).reshape(1024, 3)[away].max(axis=1)
        assert (difference > 8).sum() <= 10  # its neighbours may lie below the frame
    page.get_by_role("slider", name="shuffle").fill("0")  # unshuffled: the input is the layer's own
    wait_for_frame(page)
    assert np.abs(pixels_of(page, ".pl-canvas").astype(int) - shown).mean() > 5


def permuted_query(page) -> int:
    return page.evaluate(f"{LESSON_PAGE}.lesson().order.indexOf({LESSON_PAGE}.state.query)")


def test_lesson_counts_convolutions_to_strongest_distant_cell(page):
    for query in ((0, 0), (5, 20), (31, 3)):
        page.evaluate(f"{LESSON_PAGE}.ask({query[0] * 32 + query[1]})")
        text = narration(page, 7)
        row = np.array(panels(page)["row"]).reshape(32, 32)
        inside = receptive_field((32, 32), query).numpy()
        assert f"hold {100 * row[inside].sum():.1f}% of the attention" in text
        row[inside] = 0
        needed = convolutions_needed((32, 32), query, divmod(int(row.argmax()), 32))
        assert re.findall(r"take (\d+) such layers", text) == [str(needed)]


def test_lesson_head_places_equal_centre_and_spread_of_rows(page, layer_call):
    card = open_card(page, "around")
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
    assert card.locator(".pl-legend .pl-at").inner_text() == f"head {state(page)['head']}"
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
                const painted = () => {
                    const node = document.querySelector("#lesson .pl-canvas");
                    if (!node?.clientWidth || node.width < node.clientWidth) return false;
                    const { data } = node.getContext("2d").getImageData(node.width / 2, node.height / 2, 1, 1);
                    return data[3] > 0;
                };
                while (late() < 3000 && !painted()) {
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
    page.wait_for_selector("#lesson .pl-main")
    open_choices(page)
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
    page = open_page(chromium, url, width=width, scheme=scheme, reduced_motion="reduce")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    for name in ("around", "cross", "nine"):
        open_card(page, name)
    for scene in range(9):
        show_scene(page, scene)
        assert serious_violations(page) == [], scene
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.locator("#lesson *:not(canvas):not(.pl-hidden, .pl-word)").evaluate_all(
        """(all) => all.filter((one) => one.checkVisibility() && one.childNodes.length
            && (one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== "inline"
                || one.getBoundingClientRect().right > innerWidth)).map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert cut == []
    page.close()


def test_lesson_controls_are_reached_with_tab_key(page):
    for name in ("around", "cross", "nine"):
        open_card(page, name)
    open_choices(page)
    show_scene(page, 5)
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
    page.locator(".pl-canvas").focus()
    before = state(page)["query"]
    page.keyboard.press("Shift+ArrowRight")
    assert state(page)["query"] == before + 1
