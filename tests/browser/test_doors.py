"""Text from outside (caption, link, trace file) stays text, on the page, in the HTML file and in the SVG.

Executed, the hostile texts call `pg_pwned`; taken for markup, they leave an <img> or a <b>.
"""

import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tests.support.chromium import VIEWER, VIEWER_ROOT, export_file, fill_field, open_offline
from tests.support.documents import forged
from viz import Trace, record
from viz.export import write_html
from viz.page.gallery import exhibits
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.view import View

TEXTS = {
    "an image": "<img src=x onerror=pg_pwned()><b>bold</b>",
    "a template": "${1+1} ${pg_pwned()} {{value}} {{{value}}}",
    "an unclosed template": "${",
    "quotes": "\"'` \" onmouseover=pg_pwned() ' \\ </script><script>pg_pwned()</script><!--",
    "10,000 characters": "<b>" * 3_333 + "x",
}
# Messages go by themselves, on a slow machine perhaps before they are looked for; so they are looked at as they come.
TRAP = """
window.alert = window.pg_pwned = () => { window.pg_caught = true; };
window.pg_said = 0;
new MutationObserver(() => {
    window.pg_said += document.querySelectorAll(".toast-body").length;
    if (document.querySelector(".toast-body :is(img, b, script)")) window.pg_pwned();
}).observe(document, { childList: true, subtree: true });
"""
GUARDED = "#viewer, #second, #export, #plots, .toast-body, .pg-live"


def open_trapped(chromium, url):
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script(TRAP)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(f"{VIEWER_ROOT} .pg-main:not([hidden])")
    return page


def assert_harmless(page, title: str = "") -> None:
    """Assert that nothing ran, nothing became markup, and the page shows `title` unchanged."""
    assert page.evaluate("window.pg_caught") is None
    for tag in ("img[src='x']", "b", "script"):
        assert page.locator(f":is({GUARDED}) {tag}").count() == 0, tag
    text = " ".join(page.evaluate("document.body.innerText").split())
    assert " ".join(title.split()) in text
    assert "2 undefined" not in text  # "${1+1} ${pg_pwned()}", evaluated as a template


def hostile_trace(text: str, pipeline) -> Trace:
    """A trace whose every text is hostile."""
    trace = perform(Recipe("a red monster", steps=2), pipeline)
    first, *_ = [layer.name for layer in trace if layer.kind == "self"]
    trace = trace.select(layers=[first])
    rename = {first: text[:280] or "x"}
    layer = trace.layers[first]
    trace.layers = {rename[first]: type(layer)(**{**vars(layer), "name": rename[first]})}
    for store in (trace.queries, trace.keys):
        for branch, name, step in list(store):
            store[branch, rename[name], step] = store.pop((branch, name, step))
    trace.proofs, trace.proved, trace.proved_rows = {}, {rename[first]: 1e-6}, {rename[first]: 64}
    trace.skipped = {text: text}
    trace.recipe = {name: text for name in ("caption", "seed", "steps", "guidance", "model", "sampler", text)}
    return trace


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_caption_text_is_never_executed(chromium, url, text):
    page = open_trapped(chromium, url)
    caption = f"a red monster {text}"
    page.locator("#caption textarea").fill(caption)
    fill_field(page, "steps", "2")
    page.locator("#generate").click()
    if len(caption) > 300:
        page.locator(".toast-body", has_text="the limit is 300").wait_for()
    else:
        page.wait_for_function(f"{VIEWER}.trace.steps.length === 2", timeout=90_000)
        assert page.locator(".pg-title").inner_text().split() == caption.split()
        svg = export_file(page, "with real text")[1]
        assert svg.count(b"<image") == 10 * 2 + 1 and b"<img" not in svg and b"<b>" not in svg
        ElementTree.fromstring(svg)
    assert_harmless(page, caption if len(caption) <= 300 else "")
    page.context.close()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_link_text_is_never_executed(chromium, url, text):
    """As the link itself, and in fields of the recipe and the view of a link with a valid checksum."""
    view = View((0.5, 0.5), exhibits()[0].layer, 16).to_json()
    documents = [
        {"recipe": {"caption": "a red monster", "model": text}, "view": view},
        {"recipe": {"caption": "a red monster", "revision": text, "versions": {"torch": text}}, "view": view},
        {"recipe": {"caption": exhibits()[0].caption, "seed": exhibits()[0].seed}, "view": view | {"mode": text}},
        {"recipe": {"caption": exhibits()[0].caption, "seed": exhibits()[0].seed}, "view": view | {"layer": text}},
        {"recipe": {"caption": exhibits()[0].caption, "seed": exhibits()[0].seed}, "view": view | {text: text}},
    ]
    page = open_trapped(chromium, url)
    for look in [text[:2000], *(forged(json.dumps(document).encode()) for document in documents)]:
        page.goto(f"{url}/?{page.evaluate('(look) => new URLSearchParams({ look }).toString()', look)}")
        page.wait_for_selector(f"{VIEWER_ROOT} .pg-main:not([hidden])")
        page.wait_for_function("window.pg_said > 0", timeout=90_000)  # each gets a message
        assert_harmless(page)
    page.context.close()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_trace_file_text_is_never_executed(chromium, url, text, tmp_path, shared_pipeline):
    path = hostile_trace(text, shared_pipeline).save(tmp_path / "hostile.safetensors")
    page = open_trapped(chromium, url)
    page.locator(".pg-export").first.wait_for()
    page.get_by_role("button", name="Export").first.click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="a safetensors file").click()
    chooser.value.set_files(path)
    page.wait_for_function(f"{VIEWER}.trace.steps.length === 2")
    assert page.evaluate(f"{VIEWER}.trace.layers[0].name") == text[:280]
    assert page.evaluate(f"{VIEWER}.trace.recipe.caption") == text[:1000]
    page.evaluate(f"{VIEWER}.view({{pins: [{{kind: 'box', from: [0.2, 0.2], to: [0.5, 0.5]}}], active: 0}})")
    page.wait_for_function("document.querySelectorAll('.pg-figure .main-svg').length >= 4", timeout=90_000)
    svg = export_file(page, "with real text")[1]
    assert svg.count(b"<image") == 2 * 2 + 1 and b"<img" not in svg
    ElementTree.fromstring(svg)
    with np.load(io.BytesIO(export_file(page, "the maps of the atlas and the pins")[1])) as rows:
        assert rows["layers"][0] == text[:280]
    name, document = export_file(page, "one HTML file")
    assert re.fullmatch(r"pixelgaze-[a-z0-9-]+\.html", name) and text[:9].encode() not in document[:300]
    page.get_by_role("button", name="Compare").click()
    page.wait_for_selector("#second .pg-main:not([hidden])", timeout=120_000)  # may be drawn first
    page.get_by_role("button", name="Copy left recording here").click()
    assert page.locator("#second .pg-title").inner_text().split() == text[:1000].split()
    assert_harmless(page, text[:1000])
    page.context.close()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_html_export_text_is_never_executed(chromium, text, tmp_path, shared_pipeline):
    """The file is written from Python, which has not checked the trace's texts."""
    trace = hostile_trace(text, shared_pipeline)
    page = open_offline(chromium, write_html(trace, tmp_path / "page.html", View((0.5, 0.5), text[:280] or "x", 1)))
    assert page.locator(".pg-title").inner_text().split() == text.split()
    assert page.title().split() == f"{text[:200]} · PixelGaze".split()
    svg = export_file(page, "with real text")[1]
    assert svg.count(b"<image") == 3
    ElementTree.fromstring(svg)
    export_file(page, "2 times the size")
    assert page.evaluate("window.pg_caught") is None and page.locator("img, b").count() == 0
    assert page.complaints == []  # a blocked script would be among them
    page.context.close()


def test_html_export_opens_with_recipe_values_that_are_not_text(chromium, tmp_path, shared_pipeline):
    with record(shared_pipeline.unet, steps=[0]) as trace:
        shared_pipeline("a red monster", num_inference_steps=2)
    trace.recipe = {"caption": ["<b>"], "seed": {"toString": 1}, "steps": None, "guidance": [[]], "__proto__": {"x": 1}}
    page = open_offline(chromium, write_html(trace, tmp_path / "page.html"))
    assert page.locator(f"{VIEWER_ROOT} .pg-main").is_visible() and page.complaints == []
    page.context.close()
