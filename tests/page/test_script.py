"""The page's script: its address, how long it may be cached, and how components call it."""

import base64
import re
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.support.node import evaluate
from viz.page.gallery import exhibits
from viz.page.script import EarlyHead, head, js_on_load, script, script_route
from viz.trace_header import prefix_bytes


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
    first = exhibits()[0]
    text = head(first.trace, Path("/a picture.png"), first.layer, first.step, ["Gallery-12345678.js"])
    code = re.fullmatch("<script>(.*)</script>", text, re.DOTALL).group(1)
    found = evaluate(
        f"""const config = {{ root: "/prefix", api_prefix: "/gradio_api", theme_hash: "ab" }};
        globalThis.window = {{ gradio_config: config }};
        const links = [];
        const shown = [];
        const createElement = (tag) => ({{ tag, style: {{}}, append: (...children) => shown.push(...children) }});
        const documentElement = {{ append: () => {{}} }};
        globalThis.document = {{ createElement, documentElement, head: {{ append: (link) => links.push(link) }} }};
        const ranges = [];
        globalThis.fetch = async (url, {{ headers }}) => ranges.push([url, headers.Range]);
        globalThis.addEventListener = () => {{}};
        globalThis.location = {{ hash: "" }};
        globalThis.MutationObserver = class {{ observe() {{}} }};
        const load = async (address) => links.unshift({{ rel: "import", href: address }});
        {code.replace("import(", "load(")}
        answer([links.map(({{ rel, href }}) => [rel, href]), window.pixelgazeEarly.url, ranges, shown[0].src]);"""
    )
    assert found == [
        [
            ["import", f"/prefix{script()[0]}"],
            ["stylesheet", "/prefix/theme.css?v=ab"],
            ["modulepreload", "/prefix/assets/Gallery-12345678.js"],
        ],
        address := f"/prefix/gradio_api/file={first.trace}",
        [[address, f"bytes=0-{prefix_bytes(first.trace, first.layer, first.step) - 1}"]],
        "/prefix/gradio_api/file=/a picture.png",
    ]


def test_head_cannot_be_ended_by_a_path():
    first = exhibits()[0]
    assert head(first.trace, Path("/a/</script>b"), first.layer, first.step).count("</script>") == 1


PAGE = f"<html><head><title>a</title></head><body>{'word ' * 500}</head></body></html>"


def test_early_head_is_written_into_the_page_which_is_compressed():
    async def stream(request):
        async def parts():
            for at in range(0, len(PAGE), 100):  # the head's end lies across two parts
                yield PAGE[at : at + 100]

        return StreamingResponse(parts(), media_type="text/html", headers={"x-own": "kept"})

    routes = [Route("/", stream), Route("/other", lambda request: Response(PAGE, media_type="text/html"))]
    app = Starlette(routes=routes, middleware=[Middleware(EarlyHead, text="<script>early</script>")])
    client = TestClient(app)
    page = client.get("/")
    assert page.text.startswith(PAGE.partition("</head>")[0])
    assert page.text.endswith("<script>early</script></head>" + PAGE.partition("</head>")[2])
    for accepted in ("gzip, deflate", "gzip, deflate, br"):
        page = client.get("/", headers={"Accept-Encoding": accepted})
        assert page.headers["content-encoding"] == ("br" if "br" in accepted else "gzip")
        assert page.headers["x-own"] == "kept" and "Accept-Encoding" in page.headers["vary"]
        assert int(page.headers["content-length"]) < len(PAGE) / 4
    plain = client.get("/", headers={"Accept-Encoding": "identity"})
    assert plain.text == page.text and int(plain.headers["content-length"]) == len(plain.content)
    assert client.get("/other").text == PAGE and "content-encoding" not in client.get("/other").headers
    assert client.post("/").status_code == 405


def test_early_scripts_follow_gradio_s_config_and_wait_for_no_style_sheet():
    """In the page that Gradio serves."""
    with gr.Blocks() as page:
        gr.Markdown("text")
    app = EarlyHead(gr.mount_gradio_app(FastAPI(), page, "/"), "<script>early</script>", "<link late>")
    text = TestClient(app).get("/").text
    parts = "window.gradio_config =", "<script>early</script>", 'rel="stylesheet"', "<link late>", "</head>"
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_page_is_written_once_for_each_way_to_reach_it():
    asked = []

    def respond(request):
        asked.append((request.headers["host"], request.url.query))
        return Response(f"<head></head>{len(asked)}", media_type="text/html")

    client = TestClient(Starlette(routes=[Route("/", respond)], middleware=[Middleware(EarlyHead, text="early")]))
    here = client.get("/").text
    assert here.endswith("early</head>1") and client.get("/?look=abc").text == here
    assert client.get("/", headers={"X-Forwarded-For": "10.0.0.1"}).text == here
    there = client.get("/", headers={"Host": "other"}).text
    assert "http://other/" in there and there.endswith("2") and client.get("/").text == here
    assert client.get("/", headers={"X-Forwarded-Proto": "https"}).text.endswith("3")
    for query in ("deep_link=1", "deep_link=1", "page=two"):
        client.get(f"/?{query}")
    assert [query for _, query in asked] == ["", "", "", "deep_link=1", "deep_link=1", "page=two"]
    for number in range(100):
        client.get("/", headers={"Host": f"host{number}"})
    assert client.get("/").status_code == 200


def test_page_that_could_not_be_written_is_written_again():
    answers = iter([Response("busy", 503), Response("<head></head>", media_type="text/html")])
    app = Starlette(routes=[Route("/", lambda _: next(answers))], middleware=[Middleware(EarlyHead, text="early")])
    client = TestClient(app)
    assert [client.get("/").status_code for _ in range(3)] == [503, 200, 200]
