"""The tab *How it works* with another layer, network or trace: its numbers equal Python's."""

import numpy as np
import pytest
import torch

from models import load
from models.classic import AttentionClassifier
from models.critters import draw_critter
from models.training.train_classic import learned_gammas
from tests.support import lessons
from tests.support.chromium import VIEWER, fill_field, open_page, sent_events, wait_for_frame
from tests.support.lessons import (
    LESSON_PAGE,
    narration,
    open_card,
    open_choices,
    open_lesson,
    panels,
    point_at,
    show_scene,
    state,
)
from viz.lesson.experiments import score_terms
from viz.lesson.file import write_lesson
from viz.lesson.panels import compute_panels
from viz.lesson.papers import PAPERS, call_of, load_model, words_of
from viz.lesson.watch import replay, watch_layer
from viz.page.gallery import exhibits
from viz.recipe import Recipe


@pytest.fixture
def page(chromium, url):
    with lessons.open_lesson_tab(chromium, url) as page:
        yield page


def test_lesson_layer_menu_loads_layer_from_server(page):
    open_choices(page)
    page.get_by_role("combobox", name="Layer").click()
    page.get_by_role("option", name="mid_block.attentions.0.transformer_blocks.0.attn1").click()
    page.wait_for_function(f"{LESSON_PAGE}.panels().row.length === 64", timeout=120_000)
    assert panels(page)["difference"] < 1e-5
    assert "middle" in page.locator(".pl-title").inner_text()
    assert "8×8 map" in narration(page, 1)


def test_lesson_score_terms_equal_python_and_sum_to_scores(page, tmp_path):
    """On a classifier with learned relative positions."""
    torch.manual_seed(0)
    network = AttentionClassifier(patch=8, channels=18, depth=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    picture = np.asarray(draw_critter(1).image)
    call = call_of(network, picture, 0, "")
    about = {"picture": picture, "caption": "", "step": 0}
    assert page.locator(".pl-card", has_text="Splitting the scores").is_hidden()
    open_lesson(page, write_lesson(network, call, "layers.1.attention", tmp_path / "file", **about), [0.4, 0.6], 7)
    card = open_card(page, "terms")
    assert card.is_visible() and card.locator("figure").count() == 5
    on_page = panels(page)
    layer_call = watch_layer(network, call, "layers.1.attention")
    expected = score_terms(network.layers[1].attention, layer_call.tokens, (3, 4), 7)
    assert list(on_page["terms"]) == list(expected)
    for name, term in expected.items():
        assert np.abs(np.array(on_page["terms"][name]) - term.flatten().numpy()).max() < 1e-5
    assert np.abs(sum(map(np.array, on_page["terms"].values())) - np.array(on_page["scores"])).max() < 1e-5


def test_lesson_cross_attention_panels_equal_python_and_name_words(page, tmp_path):
    """On the bundled model: every panel's numbers equal Python's, and keys are words, not pixels."""
    exhibit = exhibits()[0]
    pipeline = load("critters", revision=exhibit.recipe.weights)
    call = replay(pipeline, exhibit.recipe).calls[16]
    layer, words = exhibit.layer.replace("attn1", "attn2"), words_of(pipeline, exhibit.caption)
    picture = np.asarray(draw_critter(1).image)
    about = {"picture": picture, "caption": exhibit.caption, "step": 16, "words": words}
    open_lesson(page, write_lesson(pipeline.unet, call, layer, tmp_path / "file", **about), point=[0.4, 0.6], head=2)
    layer_call = watch_layer(pipeline.unet, call, layer)
    height, width = layer_call.layer.grid
    index = int(0.4 * height) * width + int(0.6 * width)
    expected, on_page = compute_panels(layer_call, divmod(index, width), 2), panels(page)
    for name in ("query", "scores", "row", "attended", "joined", "output"):
        assert np.abs(np.array(on_page[name]) - getattr(expected, name).numpy()).max() < 1e-4, name
    assert on_page["difference"] < 1e-4 and on_page["top"] == [entry.index for entry in expected.top]
    shares = torch.softmax(layer_call.query[2] @ layer_call.key[2].T * layer_call.layer.scale, dim=-1)  # (N, M)
    assert np.abs(np.array(on_page["column"]) - shares[:, on_page["word"]].numpy()).max() < 1e-5
    named = [key for key in np.argsort(-np.array(on_page["row"])).tolist() if words[key] != "(padding)"]
    assert on_page["word"] == named[0]  # padding is never shown unasked
    assert f"“{words[named[0]]}”" in narration(page, 0) and "do not" not in narration(page, 3)
    assert "from the 24 words" in narration(page, 3) and "ever sees a word" in narration(page, 7)
    show_scene(page, 4)
    assert page.evaluate(f"{LESSON_PAGE}.stage.parts") == []  # words are not cells: nothing to point at
    show_scene(page, 6)
    point_at(page, 0.01, 0.01, click=True)
    assert state(page)["query"] == 0
    assert "no notion of place" in narration(page, 7)
    card = open_card(page, "cross")
    card.get_by_role("button", name="horns").click()
    column = np.array(panels(page)["column"])
    assert np.abs(column - shares[:, words.index("horns")].numpy()).max() < 1e-5
    assert f"to {100 * column.max():.1f}%" in card.locator(".pl-sentence").inner_text()


def test_lesson_network_menu_keeps_picture(page):
    def choose(label: str, layer: str) -> None:
        open_choices(page)
        page.get_by_role("combobox", name="Network").click()
        page.get_by_role("option", name=label).click()
        page.wait_for_function(f"() => {LESSON_PAGE}.lesson().layer.name === '{layer}'", timeout=60_000)
        wait_for_frame(page)

    picture = page.evaluate(f"[...{LESSON_PAGE}.lesson().tensors.get('picture').bytes]")
    choose(PAPERS["sagan"], "up.2.attention")
    gamma = learned_gammas(load_model("critters-sagan").unet)["up.2.attention"]
    assert f"γ = {gamma:.4f}" in narration(page, 6) and "√" not in narration(page, 4)
    assert panels(page)["difference"] < 1e-5
    assert page.evaluate(f"[...{LESSON_PAGE}.lesson().tensors.get('picture').bytes]") == picture
    choose(PAPERS["cross"], "up.3.cross")
    assert page.evaluate(f"{LESSON_PAGE}.lesson().words")[:3] == exhibits()[0].caption.split()[:3]
    assert panels(page)["difference"] < 1e-5 and "other word" in narration(page, 4)
    choose("the bundled model", exhibits()[0].layer)
    assert "√12" in narration(page, 4)


def test_lesson_requests_nothing_until_explore_changes(chromium, url):
    page = open_page(chromium, url)
    page.wait_for_function(f"{VIEWER}.frames.length > 0")
    visits = sent_events(page, "recipe")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(f"() => {LESSON_PAGE}.panels()")
    page.get_by_role("tab", name="Explore").click()
    page.evaluate(f"{VIEWER}.view({{ step: {exhibits()[0].steps[1]} }})")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(f"() => {LESSON_PAGE}.lesson().step === {exhibits()[0].steps[1]}", timeout=120_000)
    assert [visit["step"] for visit in visits] == [exhibits()[0].steps[1]]  # and nothing before it
    page.close()


def test_lesson_opens_on_pixel_shown_on_explore(chromium, url):
    page = open_page(chromium, url)
    page.wait_for_function(f"{VIEWER}.frames.length > 0")
    page.evaluate(f"{VIEWER}.view({{ point: [0.9, 0.1], head: 2, pins: [] }})")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(f"() => {LESSON_PAGE}.panels()")
    height, width = page.evaluate(f"{LESSON_PAGE}.lesson().layer.grid")
    query = int(0.9 * height) * width + int(0.1 * width)
    page.wait_for_function(f"() => {LESSON_PAGE}.state.query === {query} && {LESSON_PAGE}.state.head === 2")
    assert f"= {query}" in narration(page, 2)
    page.close()


def test_lesson_follows_trace_on_explore(page):
    page.get_by_role("tab", name="Explore").click()
    fill_field(page, "steps", "3")
    page.locator("#seed input").fill("77")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_function(f"() => {VIEWER}.trace.recipe.seed === 77")
    name = page.evaluate(f"{VIEWER}.trace.layers[1].name")
    page.evaluate(f"{VIEWER}.view({{ layer: '{name}', step: 2, point: [0.9, 0.1], head: 1 }})")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(f"() => {LESSON_PAGE}.lesson().step === 2 && {LESSON_PAGE}.lesson().layer.name === '{name}'")
    height, width = page.evaluate(f"{LESSON_PAGE}.lesson().layer.grid")
    now = state(page)
    assert (now["query"], now["head"]) == (int(0.9 * height) * width + int(0.1 * width), 1)
    recipe = page.evaluate(f"{VIEWER}.trace.recipe")
    calls = replay(load("critters"), Recipe(recipe["caption"], seed=77, steps=3)).calls
    layer_call = watch_layer(load("critters").unet, calls[2], name)
    assert np.abs(np.array(panels(page)["query"]) - layer_call.query[1, now["query"]].numpy()).max() < 1e-3
    open_choices(page)
    assert page.get_by_role("combobox", name="Picture").input_value() == recipe["caption"]
    # Going back and forth requests nothing twice.
    visits = sent_events(page, "recipe")
    page.get_by_role("tab", name="Explore").click()
    page.get_by_role("tab", name="How it works").click()
    wait_for_frame(page)
    page.get_by_role("tab", name="Explore").click()
    page.evaluate(f"{VIEWER}.view({{ step: 1 }})")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(f"() => {LESSON_PAGE}.lesson().step === 1", timeout=120_000)
    assert [visit["step"] for visit in visits] == [1]


def test_lesson_says_it_cannot_explain_recording_of_unknown_model(page):
    page.get_by_role("tab", name="Explore").click()
    page.evaluate(f"() => {{ {VIEWER}.trace.recipe = {{ caption: 'x', model: 'somebody/else' }} }}")
    page.get_by_role("tab", name="How it works").click()
    note = page.locator(".pl-note", has_text="can't explain this recording")
    note.wait_for()
    assert "model that is open here" in note.inner_text() and page.locator(".pl-main").is_visible()
    assert page.locator(".pl-narration").is_visible()
