"""Scripts and style sheets are compressed once."""

import gzip

import brotli
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from viz.page.compressed import LARGE, Compressed

FIXED = "/assets/Index-DAx5Uzyn2.js"
TEXT = "const map = softmax(query * key);\n" * 200


@pytest.fixture
def asked():
    """The paths that the app behind was asked for."""
    return []


@pytest.fixture
def client(asked):
    def respond(request):
        asked.append(request.url.path)
        if "missing" in request.url.path:
            return PlainTextResponse("there is none", 404)
        text = "x" * LARGE if "large" in request.url.path else TEXT
        return Response(text, media_type="text/javascript", headers={"ETag": "one", "X-Own": "kept"})

    app = Starlette(routes=[Route("/{path:path}", respond)], middleware=[Middleware(Compressed)])
    return TestClient(app)


def raw(client, path, accepted):
    with client.stream("GET", path, headers={"Accept-Encoding": accepted}) as response:
        return response, b"".join(response.iter_raw())


@pytest.mark.parametrize(
    ("accepted", "encoding", "open_up"),
    [
        ("gzip, deflate, br", "br", brotli.decompress),
        ("gzip;q=1.0, deflate", "gzip", gzip.decompress),
        ("identity", None, bytes),
    ],
)
def test_text_is_asked_for_and_compressed_once(client, asked, accepted, encoding, open_up):
    for _ in range(3):
        response, body = raw(client, FIXED, accepted)
        assert response.status_code == 200 and open_up(body) == TEXT.encode()
        assert response.headers.get("content-encoding") == encoding
        assert int(response.headers["content-length"]) == len(body)
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["x-own"] == "kept" and response.headers["content-type"].startswith("text/javascript")
        assert encoding is None or (len(body) < len(TEXT) / 4 and "Accept-Encoding" in response.headers["vary"])
    assert asked == [FIXED]


def test_each_way_to_compress_is_kept_apart(client):
    for accepted, encoding in [("br", "br"), ("gzip", "gzip"), ("", None), ("br", "br")]:
        response, _ = raw(client, FIXED, accepted)
        assert response.headers.get("content-encoding") == encoding


@pytest.mark.parametrize(
    "path",
    ["/", "/assets/icon.svg", "/gradio_api/file=/assets/a-12345678.js", "/theme.css", "/assets/large-12345678.js"],
)
def test_everything_else_is_asked_for_each_time(client, asked, path):
    for _ in range(2):
        assert client.get(path).status_code == 200
    assert asked == [path, path]


def test_what_is_missing_is_asked_for_again_and_may_not_be_cached(client, asked):
    for _ in range(2):
        response = client.get("/assets/missing-12345678.js")
        assert (response.status_code, response.text) == (404, "there is none")
        assert "cache-control" not in response.headers
    assert len(asked) == 2


def test_requests_with_conditions_reach_the_app(client, asked):
    client.get(FIXED)
    client.get(FIXED, headers={"Range": "bytes=0-3"})
    client.get(FIXED, headers={"If-None-Match": "one"})
    client.post(FIXED)
    assert len(asked) == 3  # a POST is refused by the route


def test_text_is_found_behind_a_proxy(asked):
    def respond(request):
        asked.append(request.url.path)
        return Response(TEXT)

    inner = Starlette(routes=[Route("/{path:path}", respond)], middleware=[Middleware(Compressed)])
    client = TestClient(Starlette(routes=[Mount("/under", inner)]))
    for _ in range(2):
        assert client.get(f"/under{FIXED}").text == TEXT
    assert len(asked) == 1
