"""The network beside the atlas: which block stands for which row, and that it chooses the layer."""

import pytest

from tests.support.chromium import VIEWER, VIEWER_ROOT, open_offline, serious_violations, settle, state
from tests.support.traces import trace_of_segments
from viz import Trace
from viz.export import write_html
from viz.page.gallery import first_trace

ROWS = f"{VIEWER_ROOT} .pg-rows"


def opened(chromium, folder, trace: Trace):
    page = open_offline(chromium, write_html(trace, folder / "trace.html"))
    settle(page)
    return page


@pytest.fixture(scope="module")
def unet(chromium, tmp_path_factory):
    page = opened(chromium, tmp_path_factory.mktemp("unet"), first_trace())
    yield page
    assert page.complaints == []
    page.close()


def boxes(page, selector: str) -> list[dict]:
    return page.locator(f"{ROWS} {selector}").evaluate_all("(all) => all.map((one) => one.getBoundingClientRect())")


def test_blocks_stand_beside_their_rows_the_farther_right_the_coarser(unet):
    maps = unet.locator(f"{VIEWER_ROOT} .pg-maps canvas").bounding_box()
    grids = unet.evaluate(f"{VIEWER}.rows.map(({{ tokens }}) => tokens)")
    blocks = boxes(unet, ".pg-block")
    assert len(blocks) == len(grids) == 10
    for i, block in enumerate(blocks):
        middle = block["y"] + block["height"] / 2
        assert middle == pytest.approx(maps["y"] + (i + 0.5) * maps["height"] / 10, abs=3)
    places = [block["x"] + block["width"] / 2 for block in blocks]
    for i in range(9):
        moved, grows = places[i + 1] - places[i], grids[i + 1] - grids[i]
        assert moved > 3 if grows < 0 else moved < -3 if grows > 0 else moved == pytest.approx(0)


def test_arms_are_named_beside_their_layers(unet):
    names = unet.evaluate(f"{VIEWER}.rows.map(({{ name }}) => name.split('_')[0])")
    labels = boxes(unet, ".pg-label")
    arms = unet.locator(f"{ROWS} .pg-arm").evaluate_all("(all) => all.map((one) => one.title)")
    assert arms == ["Encoder", "Middle", "Decoder"]
    for prefix, arm in zip(("down", "mid", "up"), boxes(unet, ".pg-arm"), strict=True):
        own = [label for label, name in zip(labels, names, strict=True) if name == prefix]
        assert arm["top"] == pytest.approx(own[0]["top"], abs=5) and arm["bottom"] == pytest.approx(
            own[-1]["bottom"], abs=5
        )


def test_block_chooses_its_layer_and_is_lit(unet):
    lit = f"{ROWS} .pg-label[aria-pressed=true] .pg-block"
    before = unet.locator(lit).evaluate("(one) => getComputedStyle(one).backgroundColor")
    unet.locator(f"{ROWS} .pg-block").nth(3).click()
    settle(unet)
    assert state(unet)["layer"] == unet.evaluate(f"{VIEWER}.rows[3].index")
    assert boxes(unet, ".pg-label[aria-pressed=true] .pg-block") == [boxes(unet, ".pg-block")[3]]
    assert unet.locator(lit).evaluate("(one) => getComputedStyle(one).backgroundColor") == before
    other = unet.locator(f"{ROWS} .pg-block").first.evaluate("(one) => getComputedStyle(one).backgroundColor")
    assert other != before
    assert serious_violations(unet) == []


def test_network_without_arms_is_one_column(chromium, tmp_path):
    page = opened(chromium, tmp_path, trace_of_segments())
    places = {round(block["x"] + block["width"] / 2) for block in boxes(page, ".pg-block")}
    assert len(boxes(page, ".pg-block")) == page.evaluate(f"{VIEWER}.rows.length") == 2
    assert len(places) == 1 and page.locator(f"{ROWS} .pg-arm").count() == 0
    page.close()
