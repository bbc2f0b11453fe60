"""Hosts, origins and policy headers: of a real server, asked as browsers, programs and attackers ask."""

import json

import httpx
import pytest
from gradio_client import Client

from viz.__main__ import build
from viz.page.guard import guard


@pytest.fixture(scope="module")
def url():
    page = build()
    _, url, _ = page.queue().launch(
        server_name="127.0.0.1",
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        enable_monitoring=False,
        app_kwargs={"middleware": [guard("127.0.0.1", ["pixels.example.org"])]},
    )
    yield url
    page.close(verbose=False)


def ask(url, method, path, **headers) -> httpx.Response:
    """A request with a body that Gradio would take."""
    body = {"session_hash": "s", "fn_name": "answer", "component_id": 1, "data": {}, "fn_index": 0}
    files = {"files": ("a.txt", b"a")} if path.endswith("upload") else None
    content = {} if method == "GET" else {"files": files} if files else {"content": json.dumps(body)}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if not files:
        names["content-type"] = "text/plain"  # which browsers send to other origins without asking first
    return httpx.request(method, f"{url}gradio_api/{path}".replace("gradio_api//", ""), headers=names, **content)


WRITES = ("component_server", "upload", "queue/join", "call/trace", "run/trace", "reset", "cancel")
READS = ("info", "queue/data?session_hash=s", "heartbeat/s", "startup-events")


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example", "sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
        {"origin": "http://localhost:1", "sec_fetch_site": "same-site", "sec_fetch_mode": "cors"},
        {"origin": "null", "sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:1"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": ""},
    ],
)
def test_other_origins_cannot_write(url, path, headers):
    answer = ask(url, "POST", path, **headers)
    assert (answer.status_code, answer.text) == (403, "Pages of other sites may not call this server.\n")


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("mode", ["cors", "no-cors", "navigate"])
def test_other_origins_cannot_read_the_api(url, path, mode):
    headers = {"sec_fetch_site": "cross-site", "sec_fetch_mode": mode, "sec_fetch_dest": "document"}
    assert ask(url, "GET", path, **headers).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin", "origin": "https://proxied.example"},
        {"origin": "https://pixels.example.org"},
        {"origin": "https://pixels.example.org", "sec_fetch_site": "cross-site"},
    ],
)
def test_programs_the_page_itself_and_allowed_hosts_can_write(url, headers):
    assert ask(url, "POST", "upload", **headers).status_code == 200


def test_the_page_opens_by_a_link_from_another_site_and_by_no_other_request(url):
    visit = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert httpx.get(url, headers=visit | {"sec-fetch-dest": "document"}).status_code == 200
    assert httpx.get(url, headers=visit | {"sec-fetch-dest": "iframe"}).status_code == 200
    assert httpx.get(url, headers=visit | {"sec-fetch-dest": "object"}).status_code == 403
    assert httpx.get(url, headers=visit | {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:7", "LOCALHOST", "127.0.0.1", "[::1]:1", "192.168.0.7", "[::1]"])
def test_known_names_and_all_addresses_are_hosts(url, host):
    assert httpx.get(url, headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.nip.io:7860", "localhost.evil.example", "", "[", "a:b:c"])
def test_other_hosts_are_refused(url, host):
    answer = httpx.get(url, headers={"host": host, "sec-fetch-site": "same-origin"})
    assert answer.status_code == 403 and "--allow-host" in answer.text
    assert ask(url, "POST", "component_server", host=host).status_code == 403


def test_a_page_on_the_same_address_with_another_port_is_another_origin(url):
    port = httpx.URL(url).port
    own, other = (ask(url, "POST", "upload", origin=f"http://127.0.0.1:{p}") for p in (port, port + 1))
    assert (own.status_code, other.status_code) == (200, 403)


@pytest.mark.parametrize("path", ["", "config", "theme.css", "gradio_api/info", "none"])
def test_every_answer_has_policy_headers(url, path):
    headers = httpx.get(f"{url}{path}").headers
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == "'self'" and policy["object-src"] == "'none'"
    assert policy["frame-ancestors"] == "'self' https://pixels.example.org"
    assert not any("http" in policy[name] for name in policy if name != "frame-ancestors")


def test_monitoring_is_closed(url):
    assert httpx.get(f"{url}monitoring/summary").status_code == 403


def test_programs_draw_as_before(url):
    """The queue's events stream through the guard."""
    assert Client(url, verbose=False).predict("a green monster", 3, 1, api_name="/trace")


def test_a_space_knows_every_host_and_may_be_framed_by_hugging_face(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/pixelgaze")
    monkeypatch.setenv("SPACE_HOST", "someone-pixelgaze.hf.space")
    options = guard("0.0.0.0").kwargs
    assert "*" in options["hosts"] and options["origins"] == {
        "huggingface.co",
        "hf.co",
        "someone-pixelgaze.hf.space",
    }
    assert "frame-ancestors 'self' https://hf.co https://huggingface.co https://someone" in options["policy"]
