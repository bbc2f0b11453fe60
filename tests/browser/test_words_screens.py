"""The strip of words on screens of all sizes, with the server's answers, and its speed, in Chromium."""

import numpy as np
import pytest

from tests.support.chromium import VIEWER, look, open_page, serious_violations, server, settle, view
from tests.support.word_pages import (
    LENGTH,
    STRIP,
    WORD,
    WORDS,
    chip,
    conditional_of,
    cross,
    guided_trace,
    partner,
    show,
)
from viz import Trace


@pytest.fixture(scope="module")
def guided() -> Trace:
    return guided_trace()


@pytest.fixture(scope="module")
def trace(guided) -> Trace:
    return conditional_of(guided)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_strip_fits_the_page_and_has_no_serious_axe_violations(chromium, url, guided, width, scheme):
    page = open_page(chromium, url, width=width, scheme=scheme)
    show(page, guided)
    view(page, pins=[WORD, {"kind": "word", "text": "red"}], active=0, winner=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(STRIP).bounding_box()["height"] < 230
    assert serious_violations(page) == []
    assert page.complaints == []
    page.close()


def test_server_answers_for_words_of_a_trace_too_big_for_the_browser(chromium, guided, tmp_path):
    with server("--browser", "1MB") as (url, _):
        page = open_page(chromium, url)
        page.locator("#export input[type=file]").set_input_files(guided.save(tmp_path / "words.safetensors"))
        page.wait_for_function(f"{VIEWER}.trace.remote", timeout=60_000)
        view(page, head=1, step=guided.steps[1], point=[0.3, 0.6], pins=[WORD], active=0)
        for branch in guided.branches:
            view(page, branch=branch, active=-1)
            layer = partner(page)
            row, column = guided.cell(layer, (0.3 * 64, 0.6 * 64))
            keys = cross(guided, layer, guided.steps[1], branch)[1][row * 32 + column]
            words = guided.words[branch].words
            expected = [keys[list(word.tokens)].sum() for word in words]
            shares = page.evaluate(f"{VIEWER}.exported.words.words.map(({{ share }}) => share)")
            assert np.abs(np.array(shares) - expected).max() < 2e-3
        view(page, active=0)
        for reading in ("spent", "used"):
            view(page, reading=reading)
            column = cross(guided, layer, guided.steps[1])[1][:, WORDS.index("mouth")]
            expected = column * LENGTH if reading == "spent" else column / column.mean()
            values = np.array(page.evaluate(f"Array.from({VIEWER}.map)"))
            assert np.abs(values - expected).max() < 1e-2 * max(1, expected.max()), reading
        view(page, branch="difference")
        assert "has no map: the unconditional caption has no “mouth”" in page.locator(".pg-sentence").inner_text()
        assert page.complaints == []
        page.close()


@pytest.mark.timed
def test_words_atlas_and_pointing_are_fast(page):
    """Each word's whole atlas within 100 ms, the first one's right after a trace of 25 steps was opened, too."""
    trace = conditional_of(guided_trace(steps=25))
    frames = f"{VIEWER}.frames"
    for word in ("mouth", "red"):
        show(page, trace)
        for other in (word, "round", "monster"):
            page.evaluate(f"{frames}.length = 0")
            chip(page, other).hover()
            settle(page)
            assert page.evaluate(f"{frames}.reduce((sum, each) => sum + each, 0)") < 100, (word, other)
    page.mouse.move(2, 2)
    settle(page)
    page.evaluate(f"{frames}.length = 0")
    for place in range(30):
        look(page, 0.05 + 0.03 * place, 0.5)
    assert np.median(page.evaluate(frames)) < 16
