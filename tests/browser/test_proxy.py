"""The page behind a reverse proxy, below a path."""

import re

import httpx
import pytest

from tests.support.chromium import VIEWER, VIEWER_ROOT, fill_field, look, open_page, server, settle, state
from tests.support.proxy import proxy
from viz.page.lifetime import check_root_path

PREFIX = "/lab/pixels"
NAME = "pixels.example.org"


@pytest.fixture(scope="module")
def behind():
    """The server's own address."""
    with server("--root-path", f"{PREFIX}/", "--allow-host", NAME) as (url, _):
        yield url


@pytest.fixture(scope="module")
def strays() -> list[str]:
    """Paths that were asked for outside of the prefix."""
    return []


@pytest.fixture(scope="module")
def front(behind, strays):
    with proxy(behind, PREFIX, elsewhere=strays) as address:
        yield address


def test_the_page_works_below_a_path(chromium, front, strays):
    page = open_page(chromium, f"{front}/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    settle(page)
    before = page.locator(".pg-sentence").inner_text()
    look(page, 0.3, 0.7)
    settle(page)
    assert page.locator(".pg-sentence").inner_text() != before
    fill_field(page, "steps", "3")
    page.locator("#seed input").fill("11")
    page.get_by_role("button", name="Generate", exact=True).click()
    page.wait_for_function(f"{VIEWER}.trace?.steps.length === 3 && !{VIEWER}.trace.arriving", timeout=90_000)
    settle(page)
    assert state(page)["step"] <= 2 and page.locator(f"{VIEWER_ROOT} .pg-picture").is_visible()
    assert page.complaints == []
    page.close()
    assert asked and all(url.startswith((f"{front}/", "data:", "blob:")) for url in asked), asked
    assert strays == []


@pytest.mark.parametrize("strip", [True, False])
def test_the_page_names_its_files_below_the_path(behind, strip):
    with proxy(behind, PREFIX, strip=strip) as address:
        page = httpx.get(f"{address}/")
        assert page.status_code == 200
        assert "requestEarly" in page.text and f'content="{address}/pixelgaze-social' in page.text
        root = re.search(r'"root":"([^"]*)"', page.text)
        assert root is not None and root.group(1) == address
        (script,) = set(re.findall(r"/pixelgaze-[0-9a-f]{16}\.js", page.text))
        assert httpx.get(f"{address}{script}").headers["content-type"].startswith("text/javascript")


def test_the_guard_knows_the_name_that_the_proxy_passes_on(front):
    join = f"{front}/gradio_api/queue/join"

    def ask(**headers: str) -> int:
        return httpx.post(join, json={}, headers=headers).status_code

    assert httpx.get(f"{front}/", headers={"Host": NAME}).status_code == 200
    assert httpx.get(f"{front}/", headers={"Host": "evil.example"}).status_code == 403
    assert ask(Host=NAME, Origin=f"http://{NAME}") == 422  # what the queue says of an empty request
    assert ask(Host=NAME, Origin="http://evil.example") == 403
    assert ask(Host=NAME, **{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}) == 403


@pytest.mark.parametrize("text", ["", "/", "/a", "/a/b-c/", "https://example.org/a", "http://localhost:8080"])
def test_root_paths(text):
    assert check_root_path(text) == text.rstrip("/")


@pytest.mark.parametrize(
    "text", ["a", "//evil.example", "/a b", "/a?b", "https://", "https://a/?b", "/<script>", "ftp://a"]
)
def test_other_root_paths_are_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match="expected a --root-path such as /pixelgaze"):
        check_root_path(text)
