"""What visitors see who come before the model is loaded."""

import re

import pytest
from playwright.sync_api import expect

from tests.support.chromium import VIEWER, fill_field, open_page, server, state, wait_for_frame
from tests.support.pipelines import PIPELINES

SAY = "#live p[role=status]"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    PIPELINES["DDPM"](folder / "words").save_pretrained(folder / "models" / "DDPM")
    return folder / "models"


@pytest.fixture
def go(tmp_path):
    """The file that lets models load."""
    return tmp_path / "go"


@pytest.fixture
def page(chromium, go, models):
    """The page of a server that has just been started."""
    with server(str(go), "--models", str(models), start=("-m", "tests.support.slow_app"), own_store=True) as (url, _):
        page = open_page(chromium, url)
        page.evaluate(
            """(selector) => {
              window.said = []; // all that the strip says, one after another; "" while it is hidden
              const strip = document.querySelector("#live .pg-live");
              const note = () => {
                const text = strip.hidden ? "" : document.querySelector(selector).textContent;
                if (text !== said.at(-1)) said.push(text);
              };
              new MutationObserver(note).observe(strip, { subtree: true, childList: true, attributes: true });
            }""",
            SAY,
        )
        yield page
        assert page.complaints == []
        page.close()


def test_first_run_says_that_the_model_is_loading_can_be_stopped_and_begins_once_it_is_loaded(page, go):
    before = page.locator(".pg-title").inner_text()
    page.locator("#seed input").fill("77")
    fill_field(page, "steps", "3")
    page.locator("#generate").click()
    expect(page.locator(SAY)).to_have_text("Loading the model…", timeout=30_000)
    assert page.evaluate("document.querySelector('#live progress').position") == -1  # how long it takes is not known
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#live .pg-live")).to_be_hidden()
    assert page.locator(".pg-title").inner_text() == before and not go.exists()
    assert page.evaluate("said") == ["Loading the model…", ""]

    page.evaluate("said.length = 0")
    page.locator("#generate").click()
    expect(page.locator(SAY)).to_have_text("Loading the model…", timeout=30_000)
    go.touch()
    page.wait_for_function(f"{VIEWER}.trace.recipe.seed === 77", timeout=120_000)
    expect(page.locator("#live .pg-live")).to_be_hidden()
    first, *rest, last = page.evaluate("said")
    assert first == "Loading the model…" and last == ""  # shown all the time
    assert rest and all(
        re.fullmatch(r"Waiting for the model…|One run comes first.*|Drawing and recording: step \d of 3", text)
        for text in rest
    )
    assert page.evaluate(f"{VIEWER}.trace.steps.length") == 3

    page.evaluate("said.length = 0")
    page.locator("#seed input").fill("78")
    wait_for_frame(page)  # which takes the value
    page.locator("#generate").click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.seed === 78", timeout=60_000)
    assert not any("Loading" in text for text in page.evaluate("said"))


def test_page_works_while_the_model_is_loading(page):
    page.evaluate(f"{VIEWER}.choose({{ point: [0.2, 0.3] }})")
    assert state(page)["point"] == pytest.approx([0.2, 0.3])


def test_own_model_says_what_it_waits_for_and_its_opening_can_be_stopped(page, go):
    page.locator("#model-box > button").click()
    name = page.locator("#model-name input").first
    name.fill("DDPM")
    name.press("Enter")
    page.locator("#model-open").click()
    expect(page.locator(SAY)).to_have_text("Waiting until another model is loaded…")  # the bundled one
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#live .pg-live")).to_be_hidden()
    status = page.locator("#model-status textarea, #model-status input").first
    expect(status).to_have_value("No model open: you stopped it.")
    page.locator("#model-open").click()
    expect(page.locator(SAY)).to_have_text("Waiting until another model is loaded…")
    go.touch()
    expect(status).to_have_value(re.compile("DDPM is open: DDPMPipeline"), timeout=120_000)
    expect(page.locator("#live .pg-live")).to_be_hidden()
