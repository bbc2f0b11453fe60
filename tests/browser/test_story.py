"""The story of *How it works*: how its scenes are reached, and that each is whole on one screen."""

import pytest

from tests.support.chromium import open_page, sent_events, wait_for_frame
from tests.support.lessons import LESSON_PAGE, narration, open_lesson_tab, show_scene, state

SCENES = 9


def scene(page) -> int:
    return page.evaluate(f"{LESSON_PAGE}.stage.scene")


def lag(page) -> float:
    return page.evaluate(f"{LESSON_PAGE}.stage.t")


def wait_for_scene(page, number: int) -> None:
    page.wait_for_function(f"() => document.querySelector('.pg-lesson')?.lesson.stage.scene === {number}")


@pytest.fixture
def page(chromium, url):
    with open_lesson_tab(chromium, url) as page:
        yield page


def test_story_scenes_are_reached_by_dots_buttons_and_keys(page):
    titles = []
    for number in range(SCENES):
        show_scene(page, number)
        titles.append(page.locator(".pl-narration h2").inner_text())
        current = page.locator(".pl-dot[aria-current]")
        assert current.count() == 1 and current.get_attribute("aria-label") == f"Scene {number}: {titles[-1]}"
    assert len(set(titles)) == SCENES
    for number in reversed(range(SCENES - 1)):
        page.get_by_role("button", name="Back").click()
        assert scene(page) == number
    assert page.get_by_role("button", name="Back").is_disabled()
    assert page.evaluate("document.activeElement.classList.contains('pl-stage')")  # and the keys go on working
    for number in range(1, SCENES):
        page.keyboard.press(("ArrowRight", "PageDown")[number % 2])
        assert scene(page) == number and page.locator(".pl-narration h2").inner_text() == titles[number]
    page.keyboard.press("ArrowRight")  # there is no further one
    assert scene(page) == SCENES - 1
    page.keyboard.press("ArrowLeft")
    assert scene(page) == SCENES - 2
    page.get_by_role("button", name="Next").click()
    assert scene(page) == SCENES - 1


def test_story_takes_arrow_keys_only_where_it_has_the_focus(page):
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    assert scene(page) == 0
    page.locator(".pl-stage").focus()
    page.keyboard.press("Control+ArrowRight")
    assert scene(page) == 0
    page.keyboard.press("ArrowRight")
    assert scene(page) == 1
    show_scene(page, 5)
    slider = page.get_by_role("slider", name="temperature")
    slider.focus()
    page.keyboard.press("ArrowRight")  # a slider's own key
    assert scene(page) == 5 and state(page)["temperature"] == pytest.approx(2**0.25)
    assert slider.evaluate("node => node === document.activeElement")


def test_story_scenes_have_addresses_and_back_goes_through_them(chromium, url):
    page = open_page(chromium, url, reduced_motion="reduce")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    page.wait_for_function("location.hash === '#how-0'")
    show_scene(page, 3)
    page.locator(".pl-stage").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("location.hash") == "#how-4"
    page.go_back()
    wait_for_scene(page, 3)
    page.go_back()
    wait_for_scene(page, 0)
    page.go_back()
    page.wait_for_function("!location.hash")
    page.locator("#viewer .pg-picture").wait_for()
    assert not page.locator(".pl-stage").is_visible()
    page.go_forward()
    page.locator(".pl-stage").wait_for()
    page.go_forward()
    wait_for_scene(page, 3)
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_function("location.hash === '#explore'")
    page.go_back()
    page.locator(".pl-stage").wait_for()
    assert scene(page) == 3 and page.evaluate("location.hash") == "#how-3"
    page.close()


def test_story_opens_at_address_with_keys_at_hand(chromium, url):
    page = chromium.new_page(viewport={"width": 1280, "height": 720}, reduced_motion="reduce")
    page.goto(f"{url}/#how-4")
    page.locator(".pl-stage").wait_for()
    wait_for_scene(page, 4)
    page.wait_for_function("document.activeElement?.classList.contains('pl-stage')")
    page.keyboard.press("ArrowRight")
    wait_for_scene(page, 5)
    page.evaluate("location.hash = '#how-7'")  # as a visitor edits it
    wait_for_scene(page, 7)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 720), (1366, 768), (1440, 900)])
def test_story_scenes_are_whole_on_one_screen(chromium, url, size, scheme):
    width, height = size
    page = open_page(chromium, url, width=width, height=height, scheme=scheme, reduced_motion="reduce")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    figures = set()
    for number in range(SCENES):
        show_scene(page, number)
        for part in (".pl-stage", ".pl-figure", ".pl-narration", ".pl-nav", ".pl-scrub"):
            box = page.locator(part).bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, (number, part, box)
            assert box["x"] >= 0 and box["x"] + box["width"] <= width, (number, part, box)
        text = page.locator(".pl-narration").evaluate("node => [node.scrollHeight, node.clientHeight]")
        assert text[0] <= text[1], (number, text)  # nothing of it must be scrolled to
        figures.add(tuple(page.locator(".pl-figure").bounding_box().values()))
        assert page.evaluate("scrollY") == 0
    assert len(figures) == 1  # the figure stays in place
    assert page.complaints == []
    page.close()


def test_story_on_a_phone_shows_figure_and_navigation_first(chromium, url):
    page = open_page(chromium, url, width=390, height=844, reduced_motion="reduce", has_touch=True)
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    for number in range(SCENES):
        wait_for_scene(page, number)
        wait_for_frame(page)
        figure, nav, text = (page.locator(part).bounding_box() for part in (".pl-figure", ".pl-nav", ".pl-narration"))
        assert figure["y"] >= 0 and figure["y"] + figure["height"] <= nav["y"] and nav["y"] + nav["height"] <= 844
        assert nav["y"] + nav["height"] <= text["y"] < 844 and figure["height"] >= 300
        if number < SCENES - 1:
            page.get_by_role("button", name="Next").tap()
    page.close()


def test_story_plays_scrubs_and_stands_still_under_reduced_motion(chromium, url):
    page = open_page(chromium, url)
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    show_scene(page, 0)
    for number in range(1, SCENES):
        page.locator(".pl-dot").nth(number).click()
        assert lag(page) < 1  # it plays
        page.wait_for_function(f"() => {LESSON_PAGE}.stage.t === 1")
        wait_for_frame(page)
        end = page.locator(".pl-canvas").evaluate("canvas => canvas.toDataURL()")
        page.locator(".pl-scrub input").fill("0.3")
        wait_for_frame(page)
        assert lag(page) == pytest.approx(0.3, abs=0.01)
        assert page.locator(".pl-canvas").evaluate("canvas => canvas.toDataURL()") != end
        page.locator(".pl-scrub input").fill("1")
        wait_for_frame(page)
        assert page.locator(".pl-canvas").evaluate("canvas => canvas.toDataURL()") == end
    page.emulate_media(reduced_motion="reduce")
    for number in range(SCENES):
        page.locator(".pl-dot").nth(number).click()
        assert lag(page) == 1
    page.get_by_role("button", name="Play").click()
    assert lag(page) == 1
    page.close()


def test_story_map_of_network_chooses_layer(page):
    show_scene(page, 1)
    blocks = page.locator(".pl-block")
    assert blocks.count() == page.evaluate(f"{LESSON_PAGE}.lesson().layers.length") == 20
    lit = page.locator(".pl-block[aria-pressed=true]")
    assert lit.count() == 1 and lit.get_attribute("aria-label") == "up 2 · attention 1, 32×32"
    boxes = [blocks.nth(i).bounding_box() for i in range(20)]
    figure = page.locator(".pl-figure").bounding_box()
    for box in boxes:
        assert figure["x"] <= box["x"] and box["x"] + box["width"] <= figure["x"] + figure["width"]
        assert figure["y"] <= box["y"] and box["y"] + box["height"] <= figure["y"] + figure["height"]
    assert len({(box["x"], box["y"]) for box in boxes}) == 20
    text = narration(page, 1)
    assert "64 → 32 → 16 → 8" in text and "1,048,576 scores" in text and "16,777,216" in text
    chosen = sent_events(page, "layer")
    page.get_by_role("button", name="middle · attention 0, 8×8").click()
    page.wait_for_function(f"() => {LESSON_PAGE}.lesson().layer.name.startsWith('mid_block')", timeout=120_000)
    wait_for_frame(page)
    assert scene(page) == 1 and "4,096 scores" in page.locator(".pl-narration").inner_text()
    assert lit.get_attribute("aria-label") == "middle · attention 0, 8×8"
    assert [event["layer"] for event in chosen] == ["mid_block.attentions.0.transformer_blocks.0.attn1"]
    assert not page.locator(".pl-waiting").count()


def test_story_ends_on_explore(page):
    show_scene(page, 8)
    page.get_by_role("button", name="Try it on your own picture").click()
    page.locator("#viewer .pg-picture").wait_for()
    assert page.locator("#viewer .pg-picture").is_visible()


def test_story_labels_matrices_with_their_sizes(page):
    show_scene(page, 3)
    label = page.locator(".pl-canvas").get_attribute("aria-label")
    assert label.startswith("Matrices: X, 1024 by 48; Q, 1024 by 12; K, 1024 by 12; V, 1024 by 12. Row 524")
    text = page.locator(".pl-narration")
    colours = {
        part: text.locator(f".pl-{part}").first.evaluate("node => getComputedStyle(node).color") for part in "qkv"
    }
    assert len(set(colours.values())) == 3
    for number in range(SCENES):
        show_scene(page, number)
        for part, colour in colours.items():
            words = text.locator(f".pl-{part}")
            assert all(c == colour for c in words.evaluate_all("all => all.map(n => getComputedStyle(n).color)"))
