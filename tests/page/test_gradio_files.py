"""Which of Gradio's files the page's head asks for; tests/browser/test_opening.py compares them with what is loaded."""

import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from viz.page import gradio_files
from viz.page.gradio_files import FRONT, component_scripts, file_links, needed, styles_route

KINDS = frozenset({"html", "gallery", "textbox", "row", "no such component"})


@pytest.fixture
def forget():
    """What was found in Gradio's files is found again."""
    for found in (gradio_files.needed, gradio_files._styles):
        found.cache_clear()
    yield
    for found in (gradio_files.needed, gradio_files._styles):
        found.cache_clear()


def test_needed_files_exist_and_belong_to_these_components():
    names = needed(KINDS)
    assert len(names) == len(set(names)) > 40 and all((FRONT / "assets" / name).is_file() for name in names)
    assert any(name.startswith("Gallery-") for name in names) and any(name.startswith("HTML-") for name in names)
    fewer = needed(KINDS - {"gallery"})
    assert set(fewer) < set(names) and not any(name.startswith("Gallery-") for name in fewer)
    assert needed(KINDS - {"no such component"}) == names


def test_style_sheets_are_one_and_named_as_loaded():
    links = re.findall(r"<link [^>]+>", file_links(KINDS))
    first, *others = (link for link in links if 'rel="stylesheet"' in link)
    route = styles_route(KINDS)
    response = TestClient(Starlette(routes=[route])).get(route.path)
    assert f'href=".{route.path}"' in first and "disabled" not in first
    assert "immutable" in response.headers["cache-control"]
    assert len(others) > 15 and all(" disabled " in link for link in others)
    for link in others:
        assert (FRONT / re.search(r'href="\./([^"]+)"', link)[1]).read_text() in response.text
    scripts = [re.search(r'href="\./assets/([^"]+)"', link)[1] for link in links if "modulepreload" in link]
    later = component_scripts(KINDS)
    assert sorted(scripts + later) == sorted(name for name in needed(KINDS) if name.endswith(".js"))
    assert any(name.startswith("Blocks-") for name in scripts) and any(name.startswith("Gallery-") for name in later)


@pytest.mark.parametrize("page", [None, "<html></html>", '<script src="./assets/index-12345678.js"></script>'])
def test_nothing_is_asked_for_where_gradio_s_files_look_otherwise(tmp_path, monkeypatch, forget, page):
    monkeypatch.setattr(gradio_files, "FRONT", tmp_path)
    if page is not None:
        (tmp_path / "assets").mkdir()
        (tmp_path / "assets" / "index-12345678.js").write_text("import(`./App-12345678.js`)")
        (tmp_path / "index.html").write_text(page)
    assert needed(KINDS) == () and file_links(KINDS) == ""
