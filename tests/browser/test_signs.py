"""The colour bar's ticks, the tooltip beside the query, and how far the atlas is computed: without a server."""

import re
from itertools import pairwise

import pytest

from tests.support.chromium import VIEWER, VIEWER_ROOT, look, open_offline, settle, state, view, wait_for_frame
from viz.export import write_html
from viz.page.gallery import first_trace

TICKS = f"{VIEWER_ROOT} .pg-bar-ticks span"
COARSE = "mid_block.attentions.0.transformer_blocks.0.attn1"


@pytest.fixture
def page(chromium, tmp_path):
    page = open_offline(chromium, write_html(first_trace(), tmp_path / "trace.html"))
    settle(page)
    yield page
    assert page.complaints == []
    page.close()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720), (390, 844)])
def test_ticks_of_the_bar_never_touch_and_open_ends_are_marked(page, width, height):
    page.set_viewport_size({"width": width, "height": height})
    for special in (False, True):
        for span in ("common", "own"):
            for log in (False, True):
                view(page, special=special, range=span, log=log)
                wait_for_frame(page)
                ticks = page.locator(f"{TICKS}:visible")
                boxes = [tick.bounding_box() for tick in ticks.all()]
                assert len(boxes) >= 2
                for one, other in pairwise(boxes):
                    assert one["x"] + one["width"] + 4 < other["x"], (special, span, log)
                texts = ticks.all_inner_texts()
                assert texts[-1].startswith("≥ ") == (span == "common") and not texts[1].startswith("≥")
                assert texts[0].startswith("≤ ") == (span == "common" and special)


def test_tooltip_of_the_pixel_names_it_and_never_covers_it(page):
    picture = page.locator(f"{VIEWER_ROOT} .pg-picture").bounding_box()
    for layer, cells in ((COARSE, 8), (COARSE.replace("mid_block", "down_blocks.1"), 32)):
        view(page, layer=layer)
        for at in ((0.01, 0.01), (0.01, 0.99), (0.5, 0.4), (0.3, 0.98), (0.99, 0.5)):
            look(page, *at)
            tip = page.locator(f"{VIEWER_ROOT} .pg-readout")
            row, column = (int(part * cells) for part in at)
            assert tip.inner_text() == f"row {row}, column {column}"
            box, side = tip.bounding_box(), picture["width"] / cells
            top = picture["y"] + row * side
            assert box["y"] + box["height"] <= top - 4 or box["y"] >= top + side + 4
            assert box["x"] >= 0 and box["x"] + box["width"] <= 1440 and box["y"] >= 0
    view(page, pins=[{"kind": "pixel", "point": [0.5, 0.4]}], active=0)
    look(page, 0.2, 0.2)
    assert re.search(r"row \d+, column \d+ · weight [\d.e-]+ · \S+ uniform", tip.inner_text())


def test_progress_is_shown_while_the_atlas_is_computed(page):
    page.evaluate(
        f"""() => {{
        window.seen = [];
        const maps = document.querySelector(`{VIEWER_ROOT} .pg-maps`);
        const note = () => {{
            const line = maps.querySelector(".pg-computing");
            if (line) window.seen.push(line.textContent);
        }};
        new MutationObserver(note).observe(maps, {{ childList: true, subtree: true, characterData: true }});
    }}"""
    )
    view(page, special=True)
    seen = page.evaluate("window.seen")
    counts = [re.fullmatch(r"Computing (\d+) of (\d+)…", text).groups() for text in seen]
    assert counts and {int(total) for _, total in counts} == {10 * page.evaluate(f"{VIEWER}.columns.length")}
    done = [int(number) for number, _ in counts]
    assert done == sorted(done)
    assert page.locator(f"{VIEWER_ROOT} .pg-computing").count() == 0
    assert page.locator(f"{VIEWER_ROOT} .pg-maps canvas").get_attribute("aria-busy") == "false"
    assert state(page)["special"]


def test_maps_that_are_not_computed_are_no_flat_grey(page):
    shades = page.evaluate(
        f"""() => {{
        {VIEWER}.choose({{ mode: "column" }});
        {VIEWER}.repaint();
        const canvas = document.querySelector(`{VIEWER_ROOT} .pg-maps canvas`);
        const {{ data }} = canvas.getContext("2d").getImageData(0, 4, canvas.width, 1);
        return [...new Set(data.filter((_, i) => i % 4 === 3))];
    }}"""
    )
    assert len(shades) > 10
    settle(page)


def test_names_of_controls_begin_with_their_text(page):
    """So that they can be spoken to by what is written on them (WCAG 2.5.3); not those of the Export menu."""
    pins = [{"kind": "pixel", "point": [0.5, 0.4]}, {"kind": "box", "from": [0.4, 0.55], "to": [0.625, 0.72]}]
    for size in ({"width": 1440, "height": 900}, {"width": 390, "height": 844}):
        page.set_viewport_size(size)
        view(page, pins=pins, active=0)
        wait_for_frame(page)
        named = page.locator(f"{VIEWER_ROOT} :is(button, summary, label)[aria-label]:not(.pg-menu *)").evaluate_all(
            "(all) => all.map((one) => [one.innerText.split(/\\s+/).join(' ').trim(), one.ariaLabel])"
        )
        assert len(named) >= 8
        for text, name in named:
            if any(letter.isalnum() for letter in text):
                assert name.lower().startswith(text.lower()), (text, name)
