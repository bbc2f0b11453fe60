"""The model box: opening a model, the memory forecast, drawing, recording on a photo, and refusals."""

import json
import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.chromium import VIEWER, VIEWER_ROOT, export_file, open_page, reload, server, settle, view
from tests.support.pipelines import PIPELINES


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for name in ("DDPM", "Stable Diffusion", "inpainting"):
        PIPELINES[name](root / "words").save_pretrained(root / "models" / name.replace(" ", "-"))
    (root / "models" / "half").mkdir()
    with server("--models", str(root / "models"), "--memory", "1MB") as (url, _):
        yield url, root


@pytest.fixture
def page(chromium, served):
    page = open_page(chromium, served[0])
    yield page
    page.close()


def field(page, name):
    return page.locator(f"#model-{name} textarea, #model-{name} input").first


def open_model(page, name):
    if not field(page, "name").is_visible():
        page.locator("#model-box > button").click()
    field(page, "name").fill(name)
    field(page, "name").press("Enter")
    page.locator("#model-open").click()


def wait_for_text(page, name, words):
    """Wait until a field holds some words; a failure shows what it holds instead."""
    expect(field(page, name)).to_have_value(re.compile(re.escape(words)), timeout=180_000)


def test_model_box_opens_forecasts_draws_and_records_photo(page, served):
    assert not field(page, "name").is_visible()  # collapsed
    open_model(page, "Stable-Diffusion")
    wait_for_text(page, "status", "Stable-Diffusion is open: StableDiffusionPipeline, 16×16 pixels")
    wait_for_text(page, "forecast", "8 layers × 11 calls of the network); the limit is 1 MB.")
    field(page, "prompt").fill("a red monster")
    field(page, "steps").fill("4")
    field(page, "steps").press("Tab")
    wait_for_text(page, "forecast", "8 layers × 5 calls")
    page.locator("#model-draw").click()
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 5", timeout=90_000)
    assert page.evaluate(f"{VIEWER}.trace.layers.length") == 4
    Image.new("RGB", (40, 30), "red").save(served[1] / "photo.png")
    with page.expect_file_chooser() as chooser:
        page.locator("#model-photo").click()
    chooser.value.set_files(served[1] / "photo.png")
    page.locator("#model-photo", has_text="photo.png ✓").wait_for()
    page.locator("#model-look").click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.photo", timeout=90_000)
    assert not page.complaints


def test_recording_of_an_own_model_is_back_after_a_reload(page):
    """In the same view, though no address can hold it; and it is exported, not what the page opens with."""
    open_model(page, "DDPM")
    wait_for_text(page, "forecast", "4 layers × 10 calls")
    field(page, "steps").fill("2")
    field(page, "steps").press("Tab")
    wait_for_text(page, "forecast", "2 calls")
    page.locator("#model-draw").click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.model === 'DDPM'", timeout=90_000)
    view(page, point=[0.8, 0.2], step=1)
    shown = f"JSON.stringify([{VIEWER}.trace.recipe, {VIEWER}.viewNow(), [...{VIEWER}.map]])"
    before = page.evaluate(shown)
    page.wait_for_function("(sessionStorage.getItem('pixelgaze-kept') ?? '').includes('0.8')")
    for _ in range(2):  # a second time, too
        reload(page)
        page.wait_for_function(f"document.querySelector('{VIEWER_ROOT}')?.viewer?.trace?.recipe.model === 'DDPM'")
        settle(page)
        assert page.evaluate(shown) == before and "look=" not in page.url
        wait_for_text(page, "status", "DDPM is open")  # the model, too
        wait_for_text(page, "forecast", "4 layers × 2 calls")
    assert export_file(page, "one HTML file")[0] == "pixelgaze-trace.html"
    page.locator("#shelf button img").first.click()  # what is on show now is kept by the address
    page.wait_for_function("location.search.includes('look=') && sessionStorage.getItem('pixelgaze-kept') === null")
    assert not page.complaints


def test_own_model_is_open_after_a_reload_and_draws(page, chromium, served):
    """Twice in a row, with the fields as they were; a tab beside it with the same memory gets none."""
    open_model(page, "Stable-Diffusion")
    wait_for_text(page, "status", "Stable-Diffusion is open")
    wait_for_text(page, "forecast", "8 layers × 11 calls")
    status = field(page, "status").input_value()
    field(page, "prompt").fill("a red monster")
    page.get_by_label("Negative prompt").fill("blue")
    for name, text in {"steps": "3", "seed": "7", "height": "24"}.items():
        field(page, name).fill(text)
        field(page, name).press("Tab")
    wait_for_text(page, "forecast", "8 layers × 4 calls")
    for _ in range(2):
        reload(page)
        wait_for_text(page, "status", status)
        wait_for_text(page, "forecast", "8 layers × 4 calls")
        kept = ("name", "prompt", "negative", "steps", "seed", "height", "width", "guidance")
        values = [field(page, name).input_value() for name in kept]
        assert values == ["Stable-Diffusion", "a red monster", "blue", "3", "7", "24", "16", "7.5"]
    memory = page.evaluate("sessionStorage.getItem('pixelgaze-model')")
    beside = chromium.new_page()
    beside.add_init_script(f"sessionStorage.setItem('pixelgaze-model', {json.dumps(memory)})")
    beside.goto(served[0])
    beside.locator(".toast-body", has_text="Your model is open in another tab.").wait_for()
    beside.close()
    page.locator("#model-draw").click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.model === 'Stable-Diffusion'", timeout=90_000)
    recipe = page.evaluate(f"{VIEWER}.trace.recipe")
    assert (recipe["caption"], recipe["negative"], recipe["seed"], recipe["steps"]) == ("a red monster", "blue", 7, 3)
    assert not page.complaints


def test_picture_of_an_own_model_comes_into_sight_unless_somebody_types(page):
    box = f"document.querySelector('{VIEWER_ROOT} .pg-picture').getBoundingClientRect()"
    in_sight = f"{box}.top >= 0 && {box}.bottom <= innerHeight"
    open_model(page, "DDPM")
    wait_for_text(page, "forecast", "4 layers × 10 calls")
    field(page, "steps").fill("2")
    field(page, "steps").press("Tab")
    wait_for_text(page, "forecast", "4 layers × 2 calls")
    assert not page.evaluate(in_sight)
    page.locator("#model-draw").click()
    field(page, "seed").fill("5")
    page.wait_for_function(f"{VIEWER}.trace.recipe.model === 'DDPM'", timeout=90_000)
    settle(page)
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") == 0 and not page.evaluate(in_sight)
    page.locator("#model-draw").click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.seed === 5", timeout=90_000)
    page.wait_for_function(in_sight)
    assert not page.complaints


def test_folded_box_of_an_own_model_is_back_folded(page):
    """Gradio makes what is folded only once it is unfolded."""
    open_model(page, "DDPM")
    wait_for_text(page, "forecast", "4 layers × 10 calls")
    page.locator("#model-box > button").click()
    reload(page)
    page.wait_for_function(f"document.querySelector('{VIEWER_ROOT}')?.viewer?.trace")
    page.wait_for_timeout(1000)
    assert not field(page, "status").is_visible()
    page.locator("#model-box > button").click()
    wait_for_text(page, "status", "DDPM is open")
    wait_for_text(page, "forecast", "4 layers × 10 calls")
    assert field(page, "sampler").input_value() == "DDPMScheduler" and not field(page, "prompt").is_visible()
    page.locator("#model-draw").click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.model === 'DDPM'", timeout=90_000)
    assert not page.complaints


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("half", "found no model_index.json there"),
        ("/etc/passwd", "Expected a Hugging Face model ID"),
        ("<img src=x onerror=alert(1)>", "Expected a Hugging Face model ID"),
    ],
)
def test_model_box_says_why_model_cannot_be_opened(page, name, sentence):
    open_model(page, name)
    wait_for_text(page, "status", sentence)
    toast = page.locator(".toast-body").first
    toast.wait_for()
    assert sentence in toast.inner_text() and page.locator(".toast-body img").count() == 0


def test_model_box_refuses_run_over_memory_limit(page):
    open_model(page, "DDPM")
    wait_for_text(page, "status", "DDPM is open")
    wait_for_text(page, "forecast", "4 layers × 10 calls")
    for side in ("Height", "Width"):
        page.get_by_label(side, exact=True).fill("64")
        page.get_by_label(side, exact=True).press("Tab")
    wait_for_text(page, "forecast", "That is too much.")
    page.locator("#model-draw").click()
    page.locator(".toast-body", has_text="would fit").wait_for(timeout=60_000)


def test_model_box_offers_mask_where_model_takes_one(page, served):
    open_model(page, "DDPM")
    wait_for_text(page, "forecast", "4 layers × 10 calls")
    assert not page.locator("#model-mask").is_visible()
    open_model(page, "inpainting")
    wait_for_text(page, "status", "inpainting is open")
    mask = page.locator("#model-mask", has_text="Choose mask… (white = repaint)")
    mask.wait_for()
    Image.new("L", (16, 16), 255).save(served[1] / "mask.png")
    with page.expect_file_chooser() as chooser:
        mask.click()
    chooser.value.set_files(served[1] / "mask.png")
    page.locator("#model-mask", has_text="mask.png ✓").wait_for()
