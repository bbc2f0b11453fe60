"""The card on nine heads that become a 3×3 convolution: its numbers equal Python's, and heads can be dragged."""

import pytest
import torch
from safetensors import safe_open

from tests.support import lessons
from tests.support.lessons import LESSON_PAGE, as_power, open_card
from viz.lesson.experiments import convolution_gap
from viz.page.gallery import LESSON


@pytest.fixture
def page(chromium, url):
    with lessons.open_lesson_tab(chromium, url) as page:
        yield page


def read_features() -> torch.Tensor:
    with safe_open(LESSON, "pt") as file:
        return file.get_tensor("features").permute(2, 0, 1) / 255  # (3, 32, 32)


def test_lesson_nine_heads_approach_torch_convolution(page):
    features, gaps = read_features(), {}
    open_card(page, "nine")
    assert page.evaluate(f"{LESSON_PAGE}.nine.state.gap") < 1e-4  # it opens in the state that works
    assert page.locator(".pl-nine [aria-pressed=true]").inner_text() == "soft edges"
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
    assert as_power(gaps[4]) in page.locator(".pl-nine .pl-sentence").inner_text()
    assert page.locator(".pl-nine [aria-pressed=true]").count() == 0  # this kernel is none of the presets


def test_lesson_nine_heads_are_moved_and_spread_by_dragging(page):
    open_card(page, "nine")
    page.locator(".pl-nine .pl-heat input").fill("2")  # α = 4: a standard deviation of 0.35 cells
    page.get_by_role("button", name="blur").click()
    stage = page.locator("canvas[aria-label^='The nine heads']")
    stage.scroll_into_view_if_needed()

    def drag(start: tuple[float, float], end: tuple[float, float]) -> list:
        box = stage.bounding_box()  # what is told above it may take another line by now
        for (down, right), act in ((start, page.mouse.down), (end, page.mouse.up)):
            page.mouse.move(box["x"] + box["width"] * (0.5 + right / 7), box["y"] + box["height"] * (0.5 + down / 7))
            act()
        return page.evaluate(f"{LESSON_PAGE}.nine.state.heads")

    before = page.evaluate(f"{LESSON_PAGE}.nine.state.gap")
    assert drag((1, 1), (2.5, -2))[8]["centre"] == pytest.approx([2.5, -2], abs=0.05)
    assert page.evaluate(f"{LESSON_PAGE}.nine.state.gap") > before
    spread = drag((2.4 - 8**-0.5, -2), (0.5, -2))[8]  # just outside the rim, far enough from the centre
    assert spread["alpha"] == pytest.approx(1 / (2 * 2**2), rel=0.1) and spread["centre"] == pytest.approx(
        [2.5, -2], abs=0.05
    )
