"""Words on the page: both halves of guidance, links, the second viewer, recordings without words, own models."""

import io

import numpy as np
import pytest

from tests.support.chromium import VIEWER, export_file, open_more, open_page, open_trace_file, server, settle, view
from tests.support.gallery import without_words
from tests.support.halves import trace_of_halves
from tests.support.pipelines import PIPELINES
from viz import Trace
from viz.export import for_browser, rows_on_show
from viz.page.gallery import first_trace
from viz.page.links import encode
from viz.recipe import Recipe
from viz.view import View

TEXT = "a red monster with two yellow eyes"
EYES, YELLOW = ({"kind": "word", "text": text} for text in ("eyes", "yellow"))
PADDING = {"kind": "word", "text": "padding", "of": "padding"}
SECOND = "document.querySelector('#second .pixelgaze').viewer"


@pytest.fixture(scope="module")
def trace(shared_pipeline) -> Trace:
    return for_browser(trace_of_halves(shared_pipeline, TEXT, 2))


@pytest.fixture(scope="module")
def path(trace, tmp_path_factory):
    return trace.save(tmp_path_factory.mktemp("words") / "words.safetensors")


@pytest.fixture(scope="module")
def wordless(tmp_path_factory):
    """The file of a recording without words, of three steps."""
    trace = without_words(first_trace())
    return trace.select(steps=trace.steps[:3]).save(tmp_path_factory.mktemp("wordless") / "wordless.safetensors")


def open_wordless(page, wordless) -> None:
    open_trace_file(page, wordless)
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 3")
    page.keyboard.press("Escape")
    settle(page)


def open_words(page, path) -> None:
    open_trace_file(page, path)
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 2")
    page.keyboard.press("Escape")
    settle(page)


def strip_texts(page, place="#viewer") -> list[str]:
    return page.locator(f"{place} .pg-strip .pg-word-text").all_inner_texts()


def test_generate_records_words_and_both_halves_and_a_link_brings_them_back(chromium, url):
    page = open_page(chromium, url)
    page.locator("#caption textarea").fill("a red monstre monster with two yellow eyes")
    open_more(page)
    page.get_by_label("Steps", exact=True).fill("2")
    page.locator("#both input").check()
    page.locator("#generate").click()
    page.locator(".toast-body", has_text="'monstre', so it was ignored").wait_for(timeout=60_000)
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 2", timeout=90_000)
    settle(page)
    assert strip_texts(page) == [*TEXT.split(), "padding ×17"]
    assert page.evaluate(f"{VIEWER}.trace.branches") == ["unconditional", "conditional"]
    view(page, pins=[PADDING, EYES], active=0, branch="unconditional", reading="used", head=1)
    shown = page.evaluate(f"{VIEWER}.viewNow()")
    recipe = page.evaluate(f"{VIEWER}.trace.recipe")
    link = encode(Recipe.from_json(recipe), View.from_json(shown))
    other = open_page(chromium, f"{url}/?look={link}")
    other.wait_for_function(f"{VIEWER}.trace.steps.length === 2", timeout=90_000)
    settle(other)
    assert other.evaluate(f"{VIEWER}.viewNow()") == shown
    open_more(other)
    assert other.locator("#both input").is_checked()
    assert page.complaints == other.complaints == []
    page.close(), other.close()


def test_compare_asks_for_a_pinned_word_by_its_text(page, path, wordless):
    """The recording beside it may hold no words, or another caption's."""
    pins = [EYES, {"kind": "pixel", "point": [0.4, 0.4]}]
    open_words(page, path)
    view(page, pins=pins, active=0)
    page.get_by_role("button", name="Compare").first.click()
    page.wait_for_function("document.querySelector('#second .pixelgaze')?.viewer?.trace")
    page.evaluate(f"{SECOND}.whole()")
    assert page.evaluate(f"{SECOND}.viewNow().pins[0]") == EYES and strip_texts(page, "#second") != strip_texts(page)
    assert "The word “eyes”" in page.locator("#second .pg-sentence").inner_text()
    open_wordless(page, wordless)
    page.get_by_role("button", name="Copy left recording here").click()
    page.wait_for_function(f"{SECOND}.trace.steps.length === 3")
    open_words(page, path)
    view(page, pins=pins, active=0)
    page.evaluate(f"{SECOND}.whole()")
    assert page.evaluate(f"{SECOND}.viewNow().pins[0]") == EYES
    assert not page.locator("#second .pg-strip").is_visible()
    assert "has no map: this recording holds no words" in page.locator("#second .pg-sentence").inner_text()
    page.get_by_role("button", name="Copy left recording here").click()
    page.wait_for_function(f"{SECOND}.trace.steps.length === 2")
    page.evaluate(f"{SECOND}.whole()")
    numbers = [page.evaluate(f"[...{viewer}.map]") for viewer in (VIEWER, SECOND)]
    assert numbers[0] == numbers[1] and len(set(numbers[0])) > 10
    assert "The word “eyes”" in page.locator("#second .pg-sentence").inner_text()


def test_opening_a_recording_without_words_keeps_the_pinned_word_without_a_map(page, path, wordless):
    open_words(page, path)
    view(page, pins=[EYES], active=0)
    open_wordless(page, wordless)
    view(page, pins=[EYES], active=0)
    assert not page.locator("#viewer .pg-strip").is_visible()
    assert "has no map: this recording holds no words" in page.locator("#viewer .pg-sentence").inner_text()
    assert page.evaluate(f"{VIEWER}.map") is None
    export_file(page, "with real text")
    export_file(page, "the map over the picture")


def test_plots_follow_a_pinned_word(page, path):
    open_words(page, path)
    view(page, pins=[EYES, {"kind": "box", "from": [0.2, 0.2], "to": [0.6, 0.7]}], active=0)
    page.locator(".pg-plots .pg-note", has_text="what an average pixel spends on “eyes”").wait_for()
    page.locator(".pg-figure[data-key=map] .main-svg").first.wait_for()
    titles = page.locator(".pg-figure:visible .gtitle").all_text_contents()
    assert titles == ["Attention on the word", "Of the attention on the word, inside pin 2", "The chosen map"]
    assert page.locator(".pg-regions option").all_inner_texts() == ["attention inside pin 2", "attention outside pin 2"]


@pytest.mark.parametrize(
    "changes",
    [
        {"pins": [EYES, YELLOW], "active": 0, "branch": "conditional"},
        {"pins": [], "active": -1, "branch": "difference"},
    ],
    ids=["a word", "a difference"],
)
def test_exports_of_a_large_trace_get_words_from_the_server(chromium, trace, path, changes):
    with server("--browser", "1kB") as (url, _):
        page = open_page(chromium, url)
        open_words(page, path)
        view(page, head=1, step=trace.steps[1], **changes)
        document = page.evaluate(f"{VIEWER}.viewNow()")
        content = export_file(page, "the maps of the atlas and the pins")[1]
        assert page.evaluate(f"{VIEWER}.trace.remote !== null") and page.complaints == []
        page.close()
    expected = rows_on_show(trace, View.from_json(document))
    with np.load(io.BytesIO(content)) as rows:
        assert set(rows) == set(expected)
        for name in (name for name in expected if name.startswith(("maps_", "pin_", "word_shares_"))):
            largest = np.nanmax(np.abs(expected[name]), initial=1)
            assert np.allclose(rows[name], expected[name], rtol=0, atol=2e-3 * largest, equal_nan=True), name


def test_models_of_ones_own_bring_their_words(chromium, tmp_path):
    for name in ("DDPM", "Stable Diffusion"):
        PIPELINES[name](tmp_path / "words").save_pretrained(tmp_path / "models" / name.replace(" ", "-"))
    with server("--models", str(tmp_path / "models")) as (url, _):
        page = open_page(chromium, url)
        page.locator("#model-box > button").click()
        for model, words in (("Stable-Diffusion", ["a", "red", "monster"]), ("DDPM", [])):
            field = page.locator("#model-name input").first
            field.fill(model)
            field.press("Enter")
            page.locator("#model-open").click()
            page.wait_for_function(
                f"document.querySelector('#model-status textarea').value.startsWith('{model} is open')", timeout=90_000
            )
            if words:
                page.locator("#model-prompt textarea").fill("a red monster")
            page.locator("#model-steps input").fill("2")
            page.locator("#model-steps input").press("Tab")
            page.locator("#model-draw").click()
            page.wait_for_function(f"{VIEWER}.trace.recipe.model === '{model}'", timeout=90_000)
            settle(page)
            assert strip_texts(page)[: len(words)] == words
            assert page.locator("#viewer .pg-strip").is_visible() is bool(words)
        assert page.complaints == []
        page.close()
