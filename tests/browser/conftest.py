"""One Chromium and one server for all browser tests, and a fresh page for each."""

from pathlib import Path

import pytest

from tests.support.chromium import browser, open_offline, open_page, server, settle
from viz.export import write_html
from viz.page.gallery import first_trace


def pytest_collection_modifyitems(items):
    for item in items:  # of every folder, not only this one
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def chromium():
    with browser() as chromium:
        yield chromium


@pytest.fixture(scope="package")
def url():
    with server() as (url, _):
        yield url


@pytest.fixture
def page(chromium, url):
    page = open_page(chromium, url)
    yield page
    complaints = page.complaints
    page.close()
    assert complaints == []


@pytest.fixture(scope="package")
def html_file(tmp_path_factory):
    """The first exhibit as one HTML file."""
    return write_html(first_trace(), tmp_path_factory.mktemp("html") / "trace.html")


@pytest.fixture
def offline_page(chromium, html_file):
    """That file, opened with the network off."""
    page = open_offline(chromium, html_file)
    settle(page)
    yield page
    complaints = page.complaints
    page.context.close()
    assert complaints == []
