"""One Chromium and one server for all browser tests, and a fresh page for each."""

from pathlib import Path

import pytest

from tests.support.chromium import browser, open_page, server


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
