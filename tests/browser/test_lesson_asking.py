"""The tab *How it works*, asked about another layer, network or trace: its numbers are Python's."""

import numpy as np
import pytest
import torch

from models import load
from models.classic import AttentionClassifier
from models.critters import draw_critter
from models.training.train_classic import learned_gammas
from tests.support import lessons
from tests.support.chromium import VIEWER, open_page, sent_events
from tests.support.lessons import PAGE, frame, open_lesson, panels, sentence, state
from viz.lesson.experiments import score_terms
from viz.lesson.file import write_lesson
from viz.lesson.panels import compute_panels
from viz.lesson.papers import PAPERS, call_of, load_model, words_of
from viz.lesson.watch import replay, watch_layer
from viz.page.gallery import exhibits
from viz.recipe import Recipe


@pytest.fixture
def page(chromium, url):
    with lessons.opened(chromium, url) as page:
        yield page


def test_another_layer_is_watched_on_the_server(page):
    page.get_by_role("combobox", name="Layer").click()
    page.get_by_role("option", name="mid_block.attentions.0.transformer_blocks.0.attn1").click()
    page.wait_for_function(f"{PAGE}.panels().row.length === 64", timeout=120_000)
    assert panels(page)["difference"] < 1e-5
    assert "middle" in page.locator(".pl-title").inner_text()
    assert "8×8 map" in sentence(page, 1)


def test_scores_fall_into_content_and_position(page, tmp_path):
    """On a classifier with learned relative positions: the four maps are Python's, and sum to the scores."""
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
    card = page.locator(".pl-card", has_text="Splitting the scores")
    assert card.is_visible() and card.locator("figure").count() == 5
    on_page = panels(page)
    watched = watch_layer(network, call, "layers.1.attention")
    wanted = score_terms(network.layers[1].attention, watched.tokens, (3, 4), 7)
    assert list(on_page["terms"]) == list(wanted)
    for name, term in wanted.items():
        assert np.abs(np.array(on_page["terms"][name]) - term.flatten().numpy()).max() < 1e-5
    assert np.abs(sum(map(np.array, on_page["terms"].values())) - np.array(on_page["scores"])).max() < 1e-5


def test_a_cross_attention_layer_is_told_in_words(page, tmp_path):
    """On the bundled model's own: every panel's numbers are Python's, and no word is taken for a pixel."""
    exhibit = exhibits()[0]
    pipeline = load("critters", revision=exhibit.recipe.weights)
    call = replay(pipeline, exhibit.recipe).calls[16]
    layer, words = exhibit.layer.replace("attn1", "attn2"), words_of(pipeline, exhibit.caption)
    picture = np.asarray(draw_critter(1).image)
    about = {"picture": picture, "caption": exhibit.caption, "step": 16, "words": words}
    open_lesson(page, write_lesson(pipeline.unet, call, layer, tmp_path / "file", **about), point=[0.4, 0.6], head=2)
    watched = watch_layer(pipeline.unet, call, layer)
    height, width = watched.layer.grid
    index = int(0.4 * height) * width + int(0.6 * width)
    wanted, on_page = compute_panels(watched, divmod(index, width), 2), panels(page)
    for name in ("query", "scores", "row", "attended", "joined", "output"):
        assert np.abs(np.array(on_page[name]) - getattr(wanted, name).numpy()).max() < 1e-4, name
    assert on_page["difference"] < 1e-4 and on_page["top"] == [entry.index for entry in wanted.top]
    shares = torch.softmax(watched.query[2] @ watched.key[2].T * watched.layer.scale, dim=-1)  # (N, M)
    assert np.abs(np.array(on_page["column"]) - shares[:, on_page["top"][0]].numpy()).max() < 1e-5
    assert f"“{words[on_page['top'][0]]}”" in page.locator(".pl-top li").first.inner_text()
    assert "every word" in sentence(page, 4) and "no word" in sentence(page, 8)
    page.locator(".pl-card").nth(3).locator("canvas").hover()
    page.locator(".pl-top li").first.hover()
    page.locator(".pl-card").nth(3).locator("canvas").click()
    frame(page)
    assert (state(page)["query"], state(page)["hover"]) == (index, -1)
    page.locator(".pl-card").nth(5).locator("canvas").first.click(position={"x": 5, "y": 5})
    assert state(page)["query"] == 0
    page.get_by_role("button", name="Shuffle the cells").click()
    assert "has no idea where" in page.locator(".pl-shuffled").inner_text()


def test_the_papers_networks_are_asked_about_the_same_picture(page):
    def choose(label: str, layer: str) -> None:
        page.get_by_role("combobox", name="Network").click()
        page.get_by_role("option", name=label).click()
        page.wait_for_function(f"() => {PAGE}.lesson().layer.name === '{layer}'", timeout=60_000)
        frame(page)

    picture = page.evaluate(f"[...{PAGE}.lesson().tensors.get('picture').bytes]")
    choose(PAPERS["sagan"], "up.2.attention")
    gamma = learned_gammas(load_model("critters-sagan").unet)["up.2.attention"]
    assert f"γ = {gamma:.4f}" in sentence(page, 7) and "unscaled" in sentence(page, 4)
    assert panels(page)["difference"] < 1e-5
    assert page.evaluate(f"[...{PAGE}.lesson().tensors.get('picture').bytes]") == picture
    choose(PAPERS["cross"], "up.3.cross")
    assert page.evaluate(f"{PAGE}.lesson().words")[:3] == exhibits()[0].caption.split()[:3]
    assert panels(page)["difference"] < 1e-5 and "every word" in sentence(page, 4)
    choose("the bundled model", exhibits()[0].layer)
    assert "√12" in sentence(page, 4)


def test_it_asks_for_nothing_when_it_already_has_what_is_on_explore(chromium, url):
    page = open_page(chromium, url)
    page.wait_for_function(f"{VIEWER}.frames.length > 0")
    visits = sent_events(page, "recipe")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(f"() => {PAGE}.panels()")
    page.get_by_role("tab", name="Explore").click()
    page.evaluate(f"{VIEWER}.view({{ step: {exhibits()[0].steps[1]} }})")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(f"() => {PAGE}.lesson().step === {exhibits()[0].steps[1]}", timeout=120_000)
    assert [visit["step"] for visit in visits] == [exhibits()[0].steps[1]]  # and none before
    page.close()


def test_it_opens_on_the_pixel_that_was_looked_at_before(chromium, url):
    page = open_page(chromium, url)
    page.wait_for_function(f"{VIEWER}.frames.length > 0")
    page.evaluate(f"{VIEWER}.view({{ point: [0.9, 0.1], head: 2, pins: [] }})")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(f"() => {PAGE}.panels()")
    height, width = page.evaluate(f"{PAGE}.lesson().layer.grid")
    query = int(0.9 * height) * width + int(0.1 * width)
    page.wait_for_function(f"() => {PAGE}.state.query === {query} && {PAGE}.state.head === 2")
    assert f"= {query}." in sentence(page, 2)
    page.close()


def test_it_follows_the_trace_on_the_first_tab(page):
    page.get_by_role("tab", name="Explore").click()
    page.locator("#steps input").fill("3")
    page.locator("#seed input").fill("77")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_function(f"() => {VIEWER}.trace.recipe.seed === 77")
    name = page.evaluate(f"{VIEWER}.trace.layers[1].name")
    page.evaluate(f"{VIEWER}.view({{ layer: '{name}', step: 2, point: [0.9, 0.1], head: 1 }})")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(f"() => {PAGE}.lesson().step === 2 && {PAGE}.lesson().layer.name === '{name}'")
    height, width = page.evaluate(f"{PAGE}.lesson().layer.grid")
    now = state(page)
    assert (now["query"], now["head"]) == (int(0.9 * height) * width + int(0.1 * width), 1)
    recipe = page.evaluate(f"{VIEWER}.trace.recipe")
    calls = replay(load("critters"), Recipe(recipe["caption"], seed=77, steps=3)).calls
    watched = watch_layer(load("critters").unet, calls[2], name)
    assert np.abs(np.array(panels(page)["query"]) - watched.query[1, now["query"]].numpy()).max() < 1e-3
    assert page.get_by_role("combobox", name="Picture").input_value() == recipe["caption"]
    # Back and forth, nothing is asked twice.
    visits = sent_events(page, "recipe")
    page.get_by_role("tab", name="Explore").click()
    page.get_by_role("tab", name="How it works").click()
    frame(page)
    page.get_by_role("tab", name="Explore").click()
    page.evaluate(f"{VIEWER}.view({{ step: 1 }})")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_function(f"() => {PAGE}.lesson().step === 1", timeout=120_000)
    assert [visit["step"] for visit in visits] == [1]


def test_what_it_cannot_follow_is_said(page):
    page.get_by_role("tab", name="Explore").click()
    page.evaluate(f"() => {{ {VIEWER}.trace.recipe = {{ caption: 'x', model: 'somebody/else' }} }}")
    page.get_by_role("tab", name="How it works").click()
    page.get_by_text("can't explain this recording").wait_for()
    assert page.locator(".pl-main").is_visible()
