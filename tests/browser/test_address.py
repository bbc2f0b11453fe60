"""The address says what is on show: recipe, view and tab; and links where the browser does not allow copying."""

import json
import re
import shutil

from tests.support.chromium import (
    VIEWER,
    VIEWER_ROOT,
    fill_field,
    look,
    open_page,
    open_trace_file,
    reload,
    settle,
    view,
    wait_for_frame,
)
from tests.support.lessons import LESSON_PAGE
from viz.page.gallery import exhibits
from viz.page.links import decode, encode
from viz.recipe import Recipe
from viz.view import Pixel, View

HAS_LOOK = "new URLSearchParams(location.search).has('look')"
# Closes the comparison in the moment in which that is possible; false before.
CLOSE = """() => {
    const buttons = document.querySelectorAll(".pg-comparison button");
    const close = [...buttons].find(({ textContent }) => textContent === "Close");
    close?.click();
    return Boolean(close);
}"""
LOOK = "new URLSearchParams(location.search).get('look')"


def wait_for_written(page) -> tuple[Recipe, dict]:
    """The recipe and the view that the address holds, once it holds those on show."""
    shown = json.loads(json.dumps(page.evaluate(f"{VIEWER}.viewNow()")))
    for _ in range(100):
        link = page.evaluate(LOOK)
        if link is not None:
            recipe, held = decode(link)
            if json.loads(json.dumps(held.to_json())) == shown:
                return recipe, shown
        page.wait_for_timeout(50)
    raise AssertionError(f"the address holds {link and decode(link)}, and on show is {shown}")


def generate(page, seed: int, steps: int) -> None:
    page.locator("#seed input").fill(str(seed))
    fill_field(page, "steps", str(steps))
    page.locator("#generate").click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.seed === {seed}", timeout=120_000)
    settle(page)


def test_address_stays_as_it_was_until_something_else_is_on_show(page, url):
    page.wait_for_timeout(1000)
    assert page.url.rstrip("/") == url
    first = exhibits()[0]
    entries = page.evaluate("history.length")
    look(page, 0.3, 0.6)
    recipe, shown = wait_for_written(page)
    assert recipe == first.recipe and shown["point"] != list(first.point)
    view(page, pins=[{"kind": "pixel", "point": [0.3, 0.7]}], active=0, head=1, mode="column")
    assert wait_for_written(page)[1]["pins"] == [{"kind": "pixel", "point": [0.3, 0.7]}]
    assert page.evaluate("history.length") == entries  # Back does not go through every view


def test_reload_brings_back_recipe_view_and_tab(chromium, url):
    page = open_page(chromium, f"{url}/?__theme=dark", reduced_motion="reduce")
    generate(page, 3, 4)
    view(page, pins=[{"kind": "box", "from": [0.25, 0.25], "to": [0.5, 0.75]}], active=0, step=2, smooth=True)
    recipe, shown = wait_for_written(page)
    assert (recipe.seed, recipe.steps) == (3, 4) and "__theme=dark" in page.url
    reload(page)
    page.wait_for_function(f"document.querySelector('{VIEWER_ROOT}')?.viewer?.trace?.recipe.seed === 3")
    assert page.evaluate(f"{VIEWER}.viewNow()") == shown
    assert page.locator("#seed input").input_value() == "3"
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    page.locator(".pl-dot").nth(4).click()
    page.wait_for_function("location.hash === '#how-4'")
    reload(page)
    page.wait_for_selector("#lesson .pl-main")
    page.wait_for_function(f"{LESSON_PAGE}.stage.scene === 4")
    # The story tells of the recording that the link brought, which came later than the tab.
    told = f"{LESSON_PAGE}.stage.title.textContent"
    page.wait_for_function(f"{told}.includes('step 2, t = ')", timeout=120_000)
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_function("location.hash === '#explore'")
    page.wait_for_function(f"{VIEWER}.trace?.recipe.seed === 3")
    assert page.evaluate(f"{VIEWER}.viewNow().pins") == shown["pins"]
    page.close()


def test_back_and_forward_change_the_tab_and_keep_what_is_on_show(chromium, url):
    page = open_page(chromium, url, reduced_motion="reduce")
    page.get_by_role("tab", name="How it works").click()
    page.wait_for_selector("#lesson .pl-main")
    page.wait_for_function("location.hash === '#how-0'")
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_function("location.hash === '#explore'")
    view(page, head=2)
    _, shown = wait_for_written(page)
    page.go_back()
    page.locator(".pl-stage").wait_for()
    assert page.evaluate("location.hash") == "#how-0"
    assert decode(page.evaluate(LOOK))[1].head == 2  # not what was on show when this entry was made
    page.go_back()
    page.locator("#viewer .pg-picture").wait_for()
    assert page.evaluate("location.hash") == "" and decode(page.evaluate(LOOK))[1].head == 2
    page.go_forward()
    page.locator(".pl-stage").wait_for()
    page.go_forward()
    page.locator("#viewer .pg-picture").wait_for()
    assert page.evaluate("location.hash") == "#explore" and page.evaluate(f"{VIEWER}.viewNow()") == shown
    page.close()


def test_address_holds_no_opened_file_and_the_menu_says_so(page, tmp_path):
    view(page, head=3)
    wait_for_written(page)
    open_trace_file(page, shutil.copy(exhibits()[0].trace, tmp_path / "mine.safetensors"))
    note = page.locator(".pg-export-note").first
    note.filter(has_text="can't hold the file that you opened").wait_for()
    assert not page.evaluate(HAS_LOOK)
    view(page, head=2)
    page.wait_for_timeout(1000)
    assert not page.evaluate(HAS_LOOK)
    page.locator("#shelf button.thumbnail-item").nth(1).click()
    page.wait_for_function(f"{VIEWER}.trace.recipe.seed === {exhibits()[1].seed}", timeout=120_000)
    assert wait_for_written(page)[0] == exhibits()[1].recipe
    assert note.is_hidden()


def test_page_says_so_if_the_recording_before_a_reload_is_gone(chromium, url):
    page = open_page(chromium, url)
    gone = "{ trace: { url: location.origin + '/gradio_api/file=/gone.safetensors', path: '/gone.safetensors' } }"
    page.evaluate(f"sessionStorage.setItem('pixelgaze-kept', JSON.stringify({gone}))")
    reload(page)
    page.locator(f"{VIEWER_ROOT} > .pg-message", has_text="The server no longer has the recording").wait_for()
    assert page.evaluate(f"{VIEWER}.trace.recipe.seed") == exhibits()[0].seed
    assert page.evaluate("sessionStorage.getItem('pixelgaze-kept')") is None
    page.close()


def test_address_holds_no_recording_of_an_own_model(page):
    view(page, head=3)
    wait_for_written(page)
    page.evaluate(f"""() => {{
        const {{ trace }} = {VIEWER};
        {VIEWER}.open(Object.assign(Object.create(trace), {{ recipe: {{ model: "my-tiny-sd", caption: "a cat" }} }}));
    }}""")
    page.wait_for_function(f"!{HAS_LOOK}")
    page.get_by_role("button", name="Export").first.click()
    page.locator(".pg-export-note", has_text="a model of your own, my-tiny-sd").wait_for()


def test_link_stays_in_the_address_while_it_is_followed(chromium, url):
    """What is on show until then is not written over it, though the mouse is over the picture."""
    link = encode(
        Recipe("a red monster", seed=77, steps=3), View((0.5, 0.5), exhibits()[0].layer, 1, pins=(Pixel((0.5, 0.5)),))
    )
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    events = []
    page.route(re.compile("queue/join"), lambda route: events.append(route))
    page.goto(f"{url}/?look={link}")
    page.wait_for_function(f"document.querySelector('{VIEWER_ROOT}')?.viewer?.trace")
    page.wait_for_selector(f"{VIEWER_ROOT} .pg-export", state="attached")
    for at in (0.2, 0.5, 0.8):
        look(page, at, at)
    page.wait_for_timeout(1200)
    assert page.evaluate(LOOK) == link
    page.route(re.compile("queue/join"), lambda route: route.continue_())
    for route in events:
        route.continue_()
    page.wait_for_function(f"{VIEWER}.trace.recipe.seed === 77", timeout=120_000)
    assert wait_for_written(page)[0] == Recipe(
        "a red monster", seed=77, steps=3, revision=page.evaluate(f"{VIEWER}.trace.recipe.revision")
    )
    page.close()


def test_link_stands_in_a_field_where_a_frame_may_not_copy(chromium, url):
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"{url}/theme.css")  # a page of this server, which may frame it
    style = "width: 1400px; height: 860px"
    page.evaluate(
        """([src, style]) => {
        const frame = Object.assign(document.createElement("iframe"), { src, allow: "clipboard-write 'none'", style });
        document.documentElement.append(frame);
        }""",
        [url, style],
    )
    frame = page.frame_locator("iframe")
    frame.locator("#viewer .pg-main:not([hidden])").wait_for()
    frame.get_by_role("button", name="Export").first.click()
    frame.get_by_role("button", name="a link that redraws").click()
    field = frame.get_by_role("textbox", name="Link to this view")
    field.wait_for()
    address, link = field.input_value().split("?look=")
    assert address.rstrip("/") == url and decode(link)[0] == exhibits()[0].recipe
    selected = field.evaluate(
        """(node) => [document.activeElement === node, node.readOnly, node.selectionStart, node.selectionEnd]"""
    )
    assert selected == [True, True, 0, len(field.input_value())]
    news = frame.locator(".pg-news").first.inner_text()
    assert "doesn't allow this page to copy" in news and "address bar" not in frame.locator("body").inner_text()
    page.keyboard.press("Escape")
    field.wait_for(state="detached")
    wait_for_frame(page)
    page.close()


def test_address_holds_what_is_compared_with_and_a_reload_brings_it_back(page):
    second = "document.querySelector('#second .pixelgaze')?.viewer"
    page.get_by_role("button", name="Compare").click()
    page.wait_for_function(f"{second}?.trace", timeout=120_000)
    page.wait_for_function("new URLSearchParams(location.search).has('beside')")
    shown = page.evaluate(f"{second}.trace.recipe")
    recipe, view_beside = decode(page.evaluate("new URLSearchParams(location.search).get('beside')"))
    assert (recipe.caption, recipe.seed) == (shown["caption"], shown["seed"])
    assert list(view_beside.point) == page.evaluate(f"{second}.viewNow().point")
    assert decode(page.evaluate(LOOK))[0] == exhibits()[0].recipe

    reload(page)
    page.wait_for_function(f"{second}?.trace", timeout=120_000)
    assert page.evaluate(f"{second}.trace.recipe") == shown
    assert page.evaluate(f"{VIEWER}.trace.recipe.seed") == exhibits()[0].seed

    reload(page)
    page.wait_for_function(CLOSE)  # before anything is written into the address
    page.wait_for_function("!new URLSearchParams(location.search).has('beside')")
    assert page.evaluate(HAS_LOOK)
    reload(page, page.url.split("?")[0] + "?beside=nonsense")
    page.locator(".toast-body", has_text="This link").wait_for()
