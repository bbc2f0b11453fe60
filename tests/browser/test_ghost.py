"""What a first visitor is shown: a ghost of a cursor that points at one eye and goes to the other."""

import pytest

from tests.support.chromium import VIEWER, VIEWER_ROOT, settle, state
from viz.page.gallery import exhibits

GHOST = f"{VIEWER_ROOT} .pg-ghost"
START = exhibits()[0].point


def visit(context, url):
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(f"{VIEWER_ROOT} .pg-main:not([hidden])")
    settle(page)
    return page


@pytest.fixture
def context(chromium):
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    yield context
    context.close()


def test_ghost_goes_from_one_eye_to_the_other_once(context, url):
    page = visit(context, url)
    page.locator(GHOST).wait_for()
    page.wait_for_function(f"Math.hypot({VIEWER}.state.point[0] - 0.55, {VIEWER}.state.point[1] - 0.61) < 0.08")
    box = "document.querySelector(`{} .pg-{}`).getBoundingClientRect()"  # at one moment, since the ghost moves
    parts = [box.format(VIEWER_ROOT, "ghost"), box.format(VIEWER_ROOT, "picture"), f"{VIEWER}.state.point"]
    ghost, picture, point = page.evaluate(f"[{', '.join(parts)}]")
    assert ghost["x"] == pytest.approx(picture["x"] + point[1] * picture["width"], abs=3)
    assert ghost["y"] == pytest.approx(picture["y"] + point[0] * picture["height"], abs=3)
    page.locator(GHOST).wait_for(state="detached")
    assert tuple(state(page)["point"]) == START and state(page)["pins"] == []
    again = visit(context, url)
    again.wait_for_timeout(3000)
    assert again.locator(GHOST).count() == 0 and tuple(state(again)["point"]) == START


def test_mouse_takes_over_from_the_ghost(context, url):
    page = visit(context, url)
    page.locator(GHOST).wait_for()
    page.mouse.move(5, 5)
    page.mouse.move(9, 9)
    page.locator(GHOST).wait_for(state="detached", timeout=300)
    assert tuple(state(page)["point"]) == START


def test_no_ghost_where_motion_is_unwanted(chromium, url):
    context = chromium.new_context(reduced_motion="reduce")
    page = visit(context, url)
    page.wait_for_timeout(3000)
    assert page.locator(GHOST).count() == 0
    context.close()
