"""One Chromium, one server and a fresh page for the browser tests."""

import pytest

from tests.support.chromium import browser, open_page, server


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
