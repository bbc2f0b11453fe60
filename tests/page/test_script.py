"""The page's script: its address, how long it may be cached, and how components call it."""

import base64
import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.support.node import evaluate
from viz.page.script import head, js_on_load, script, script_route


def test_script_route_serves_the_script_to_be_cached_forever():
    path, text = script()
    response = TestClient(Starlette(routes=[script_route()])).get(path)
    assert response.text == text and response.headers["content-type"].startswith("text/javascript")
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_script_address_changes_with_its_text(monkeypatch):
    before = script()[0]
    monkeypatch.setattr("viz.page.script.joined", lambda entry: "({})")
    assert re.fullmatch(r"/pixelgaze-[0-9a-f]{16}\.js", before) and script.__wrapped__()[0] != before


@pytest.mark.parametrize("function", ["startViewer", "startLesson", "startMenu", "startPlots", "startProgress"])
def test_js_on_load_calls_an_export_under_the_page_s_prefix(function):
    """It runs as Gradio runs it, as the body of a function, and loads the real script."""
    path, text = script()
    address = f"data:text/javascript;base64,{base64.b64encode(text.encode()).decode()}"
    body = js_on_load(function, "pick").replace("import(", "load(")
    found = evaluate(
        f"""const page = (await import({address!r})).default;
        const window = {{ gradio_config: {{ root: "https://host/prefix" }} }};
        const names = ["element", "trigger", "props", "server", "upload", "watch"];
        let address, given;
        const load = async (url) => ((address = url), {{
          default: {{ ...page, {function}: (gradio) => ((given = Object.keys(gradio).sort()), page.{function}) }},
        }});
        new Function("window", "load", ...names, {body!r})(window, load, ...names);
        await new Promise((done) => setTimeout(done));
        answer([address, given, typeof page.{function}]);"""
    )
    given = ["element", "props", "server", "trigger", "upload", "watch"]
    assert found == [f"https://host/prefix{path}", given, "function"]


def test_js_on_load_names_events_in_quotes():
    assert '"compare", "pick"' in js_on_load("startViewer", "compare", "pick")


def test_head_requests_script_and_trace_under_the_page_s_prefix():
    code = re.fullmatch("<script>(.*)</script>", head("/a trace.safetensors"), re.DOTALL).group(1)
    found = evaluate(
        f"""globalThis.window = {{ gradio_config: {{ root: "/prefix", api_prefix: "/gradio_api" }} }};
        const links = [];
        globalThis.document = {{ createElement: () => ({{}}), head: {{ append: (link) => links.push(link) }} }};
        globalThis.fetch = async (url) => url;
        {code}
        answer([links, window.pixelgazeEarly.url]);"""
    )
    assert found == [
        [{"rel": "modulepreload", "href": f"/prefix{script()[0]}"}],
        "/prefix/gradio_api/file=/a trace.safetensors",
    ]


def test_head_cannot_be_ended_by_a_path():
    assert head("/a/</script>b").count("</script>") == 1
