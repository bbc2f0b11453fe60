"""The page's description for browsers and other sites, in place of Gradio's."""

import io
from html.parser import HTMLParser
from pathlib import Path

import gradio as gr
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from viz.page.identity import DESCRIPTION, SOCIAL_SIZE, TITLE, identity_routes, introduce
from viz.page.script import EarlyHead


class Tags(HTMLParser):
    """The metas and links of a page's head: {name or property: contents}, {rel: addresses}."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.metas: dict[str, list[str]] = {}
        self.links: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "meta" and (key := given.get("property") or given.get("name")):
            self.metas.setdefault(key, []).append(given["content"] or "")
        if tag == "link":
            self.links.setdefault(given["rel"] or "", []).append(given["href"] or "")


@pytest.fixture(scope="module")
def client():
    """Serves Gradio's own page, before its placeholders are filled in."""
    page = (Path(gr.__file__).parent / "templates" / "frontend" / "index.html").read_text()
    assert page.count("og:title") == 2
    routes = [Route("/", lambda request: HTMLResponse(page)), *identity_routes()]
    app = Starlette(routes=routes, middleware=[Middleware(EarlyHead, text="")])
    return TestClient(app, base_url="https://pixels.example.org")


def test_page_introduces_itself_and_not_gradio(client):
    tags = Tags(client.get("/").text)
    shared = {name: contents for name, contents in tags.metas.items() if name.startswith(("og:", "twitter:"))}
    assert "gradio" not in str(shared).lower() and all(len(contents) == 1 for contents in shared.values())
    assert tags.metas["og:title"] == [TITLE]
    assert tags.metas["description"] == tags.metas["og:description"] == [DESCRIPTION]
    assert tags.metas["twitter:card"] == ["summary_large_image"]
    assert tags.metas["og:url"] == ["https://pixels.example.org/"]


def test_social_picture_is_there_and_as_large_as_stated(client):
    tags = Tags(client.get("/").text)
    (address,) = tags.metas["og:image"]
    answer = client.get(address)
    assert address.startswith("https://pixels.example.org/") and answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == SOCIAL_SIZE
    assert [tags.metas[f"og:image:{side}"] for side in ("width", "height")] == [["1200"], ["630"]]
    assert len(answer.content) < 300_000  # sites ignore large ones


def test_icon_is_the_page_s_own(client):
    (address,) = Tags(client.get("/").text).links["icon"]
    answer = client.get(address)
    assert answer.headers["content-type"].startswith("image/svg+xml") and answer.text.startswith("<svg")
    assert "immutable" in answer.headers["cache-control"]


def test_font_is_the_page_s_own_and_small(client):
    text = client.get("/").text
    (address,) = Tags(text).links["preload"]
    answer = client.get(address)
    assert answer.content.startswith(b"wOF2") and len(answer.content) <= 100_000
    assert f"url({address})" in text and answer.headers["content-type"] == "font/woff2"


def test_host_cannot_write_tags():
    page = introduce(b"<head></head>", 'https://a"><script>alert(1)</script>').decode()
    assert "<script>alert" not in page
