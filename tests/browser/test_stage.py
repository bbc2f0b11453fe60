"""What is on the first screen, and that nothing on it moves, in Chromium."""

import itertools

import pytest

from tests.support.chromium import VIEWER, VIEWER_ROOT, look, open_page, settle, view, wait_for_frame

PARTS = ("picture", "player", "sentence", "atlas", "bar")
PLACES = f"""(parts) => parts.map((name) => {{
    const node = document.querySelector(`{VIEWER_ROOT} .pg-${{name}}`);
    const {{ left, top, right, bottom }} = node.getBoundingClientRect();
    return [left, top, right, bottom];
}})"""
# Collects what moves in the viewer: of each layout shift, the parts that are elsewhere than before. Centred text, such
# as a word's share, moves nothing by being longer. And what the line over the atlas says in turn.
WATCH = f"""() => {{
    window.moved = [];
    window.said = [];
    const viewer = document.querySelector('{VIEWER_ROOT}');
    const first = viewer.viewer.trace;
    new MutationObserver(() => {{
        const word = viewer.querySelector(".pg-arriving")?.textContent.split(":")[0];
        if (word && viewer.viewer.trace === first && word !== said.at(-1)) said.push(word);
    }}).observe(viewer, {{ childList: true, subtree: true }});
    new PerformanceObserver((list) => {{
        const sources = list.getEntries().flatMap((entry) => entry.sources);
        for (const {{ node, previousRect: from, currentRect: to }} of sources) {{
            if (!viewer.contains(node) || !from.width || !to.width) continue;
            const isPart = node.matches?.('.pg-main > *, .pg-card > *, canvas');
            if (from.top === to.top && (from.left === to.left || !isPart)) continue;
            moved.push([node.className || node.nodeName, from.left, from.top, to.left, to.top]);
        }}
    }}).observe({{ type: "layout-shift" }});
}}"""
# Where the text of nodes begins and ends, not their boxes.
TEXT_PLACES = """(nodes) => nodes.map((node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const { left, right } = range.getBoundingClientRect();
    return [left, right];
})"""
# Where the message lies, where Generate, and whether Generate is on top; once the message has slid in.
OVER_GENERATE = """async () => {
    const sliding = [...document.querySelectorAll(".toast-item, .toast-body")].flatMap((node) => node.getAnimations());
    await Promise.all(sliding.map((animation) => animation.finished));
    const places = [".toast-body", "#generate"].map((part) => document.querySelector(part).getBoundingClientRect());
    const { left, top, width, height } = places[1];
    const lies = document.elementFromPoint(left + width / 2, top + height / 2);
    return [...places.map((place) => place.toJSON()), lies?.closest("#generate") !== null];
}"""


def generate(page) -> None:
    page.locator("#generate").click()
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 25", timeout=120_000)
    page.locator("#live .pg-live").wait_for(state="hidden")
    settle(page)


def places(page) -> list[list[float]]:
    return page.evaluate(PLACES, list(PARTS))


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1366, 768), (1280, 720)])
def test_picture_slider_sentence_atlas_and_bar_share_the_first_screen(chromium, url, width, height):
    page = open_page(chromium, url, width=width, height=height)
    settle(page)
    before = places(page)
    generate(page)
    for shown in (before, places(page)):
        for name, (left, top, right, bottom) in zip(PARTS, shown, strict=True):
            assert top >= 0 and bottom <= height and left >= 0 and right <= width, (name, top, bottom)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_maps_on_a_low_screen_use_the_width_of_their_card(chromium, url):
    """The colour bar stands beside them there, and leaves them its height."""
    page = open_page(chromium, url, width=1280, height=720)
    settle(page)
    maps, bar = (page.locator(f"{VIEWER_ROOT} {part}").bounding_box() for part in (".pg-maps canvas", ".pg-bar"))
    assert (
        maps["height"] / page.locator(f"{VIEWER_ROOT} .pg-rows .pg-label").count() >= 28
    )  # 24 with the bar below them
    assert bar["x"] > maps["x"] + maps["width"] and bar["y"] + bar["height"] < maps["y"] + maps["height"] + 20
    assert page.evaluate(f"{VIEWER}.columns.length") >= 9
    page.close()


def test_heads_use_the_width_of_a_large_screen(chromium, url):
    """They are in their card, no lower than the picture beside them, and leave less than half of it empty."""
    page = open_page(chromium, url, width=2560, height=1440)
    settle(page)
    card = page.locator(f"{VIEWER_ROOT} .pg-side").bounding_box()
    picture = page.locator(f"{VIEWER_ROOT} .pg-left").bounding_box()
    tiles = [tile.bounding_box() for tile in page.locator(f"{VIEWER_ROOT} .pg-head canvas").all()]
    assert card and picture and len(tiles) == 5 and abs(card["height"] - picture["height"]) < 1
    assert all(tile["x"] + tile["width"] <= card["x"] + card["width"] - 14 for tile in tiles)
    assert max(tile["y"] + tile["height"] for tile in tiles) <= picture["y"] + picture["height"]
    assert sum(tile["width"] * tile["height"] for tile in tiles) > 0.5 * card["width"] * (card["height"] - 60)
    page.close()


def test_another_recording_and_hovers_move_nothing(chromium, url):
    """Both recordings are drawn here, since those of the gallery may hold no words."""
    page = open_page(chromium, url)
    generate(page)
    before = places(page)
    page.locator("#seed input").fill("12")
    wait_for_frame(page)  # which takes the value
    page.locator("#generate").click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.seed === 12", timeout=120_000)
    settle(page)
    assert places(page) == before
    for at in ((0.2, 0.2), (0.5, 0.5), (0.8, 0.3)):
        look(page, *at)
        assert [place[:2] for place in places(page)] == [place[:2] for place in before]
    page.close()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720), (768, 1024), (390, 844)])
def test_message_about_a_picture_does_not_cover_what_draws_the_next(chromium, url, width, height):
    page = open_page(chromium, url, width=width, height=height)
    page.locator("#seed input").fill(str(width))
    for _ in range(2):
        wait_for_frame(page)  # which takes the value
        page.locator("#generate").click()
        page.wait_for_function(f"{VIEWER}.trace.recipe.seed === {width}", timeout=120_000)
    page.locator(".toast-body", has_text="This picture was drawn before").wait_for()
    message, draw, on_top = page.evaluate(OVER_GENERATE)  # at once: it goes after six seconds
    assert message["left"] >= 0 and message["top"] >= 0 and message["right"] <= width and message["height"] < 60
    assert on_top and (message["bottom"] <= draw["top"] or message["top"] >= draw["bottom"])
    page.close()


@pytest.mark.parametrize("early", [False, True], ids=["all is here", "the first is still arriving"])
def test_nothing_moves_while_another_recording_is_drawn_and_arrives_slowly(chromium, url, early):
    """1 MB a second, of which a recording has ten; also if Generate is pressed before the page's own has arrived."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script("localStorage.setItem('pixelgaze-taught', '1')")
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")
    line = {"offline": False, "latency": 50, "downloadThroughput": 1_000_000, "uploadThroughput": 1_000_000}
    devtools.send("Network.emulateNetworkConditions", line)
    page.goto(url, wait_until="commit")  # the rest is waited for below
    page.wait_for_function(f"document.querySelector('{VIEWER_ROOT}')?.viewer?.trace", timeout=60_000)
    page.locator("#generate").wait_for()
    page.evaluate("async () => { await document.fonts.ready }")
    if not early:
        page.wait_for_function(f"!{VIEWER}.trace.arriving", timeout=60_000)
        settle(page)
    seed = 40 + early
    page.locator("#seed input").fill(str(seed))
    before = places(page)
    page.evaluate(WATCH)
    page.locator("#generate").click()
    page.locator("#live .pg-live").wait_for(timeout=60_000)
    assert places(page) == before
    page.wait_for_function(f"{VIEWER}.trace.recipe.seed === {seed}", timeout=120_000)
    assert page.evaluate(f"{VIEWER}.trace.arriving") and places(page) == before
    page.wait_for_function(f"!{VIEWER}.trace.arriving", timeout=60_000)
    page.locator("#live .pg-live").wait_for(state="hidden")
    settle(page)
    assert places(page) == before
    assert page.evaluate("window.moved") == []
    assert page.evaluate("window.said") == ["Arriving", "Opening the next"][not early :]
    page.evaluate("document.querySelector('#viewer .pg-strip').hidden = true")
    page.wait_for_function("window.moved.length > 0")  # so these would have been seen
    context.close()


def test_messages_about_another_recording_move_nothing(page):
    settle(page)
    before = places(page)
    page.evaluate(f"{VIEWER}.say('The server cannot be reached; try again later.')")
    message = page.locator(f"{VIEWER_ROOT} > .pg-message")
    assert message.is_visible() and places(page) == before
    assert message.bounding_box()["y"] < before[0][1]


def test_picture_comes_first_on_a_phone(chromium, url):
    page = open_page(chromium, url, width=390, height=844)
    left, top, right, bottom = places(page)[0]
    assert top < 160 and bottom < 844 and right - left > 300
    draw = page.locator("#generate").bounding_box()
    assert draw and draw["y"] > bottom
    page.close()


def test_all_steps_are_shown_on_request(chromium, url):
    page = open_page(chromium, url)
    generate(page)
    few = page.evaluate(f"{VIEWER}.columns.length")
    assert 9 <= few <= 13
    every = page.get_by_role("button", name="All 25 steps")
    every.click()
    assert page.evaluate(f"{VIEWER}.columns.length") == 25 and every.get_attribute("aria-pressed") == "true"
    view(page, step=7)
    boxes = page.locator(".pg-tick:visible").evaluate_all(TEXT_PLACES)
    assert 5 <= len(boxes) < 25 and all(end < start for (_, end), (start, _) in itertools.pairwise(boxes))
    assert page.locator(".pg-tick.pg-chosen").is_visible()
    every.click()
    assert page.evaluate(f"{VIEWER}.columns.length") == few
    page.close()


def test_folded_fields_are_used_whether_shown_or_not(page):
    """Steps and guidance have their values also before they are unfolded."""
    page.locator("#seed input").fill("3")
    wait_for_frame(page)  # which takes the value
    page.locator("#generate").click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.seed === 3", timeout=120_000)
    assert page.evaluate(f"[{VIEWER}.trace.recipe.steps, {VIEWER}.trace.recipe.guidance]") == [25, 1.5]


def test_chosen_layer_is_marked_from_the_start_and_when_the_atlas_is_laid_out_again(page):
    settle(page)
    chosen = page.locator(f"{VIEWER_ROOT} .pg-labels .pg-label[aria-pressed=true]")
    assert chosen.count() == 1 and "up 2 · attention 1" in chosen.inner_text()
    page.set_viewport_size({"width": 1280, "height": 720})
    settle(page)
    assert chosen.count() == 1
