"""Not one request leaves the machine, from browser or server: opening, drawing, exports, a model of one's own."""

import re
import subprocess
import sys

from playwright.sync_api import expect

from tests.support.chromium import ROOT, VIEWER, VIEWER_ROOT, export_file, open_page, reload, server, settle
from tests.support.pipelines import PIPELINES

HERE = ("data:", "blob:")
EXPORTS = ("2 times the size", "with real text", "the map over the picture", "the maps of the atlas", "one HTML file")


def draw_with_own_model(page):
    page.locator("#model-box > button").click()
    name = page.locator("#model-name textarea, #model-name input").first
    name.fill("DDPM")
    name.press("Enter")
    page.locator("#model-open").click()
    status = page.locator("#model-status textarea, #model-status input").first
    expect(status).to_have_value(re.compile("DDPM is open: DDPMPipeline"), timeout=180_000)
    page.locator("#model-steps input").first.fill("2")
    page.locator("#model-draw").click()


def test_nothing_is_asked_of_any_other_machine(chromium, tmp_path):
    PIPELINES["DDPM"](tmp_path / "words").save_pretrained(tmp_path / "models" / "DDPM")
    asked, outside = [], tmp_path / "outside"
    start = ("-m", "tests.support.offline_app", str(outside))
    with server("--models", str(tmp_path / "models"), start=start, own_store=True) as (url, _):
        page = open_page(chromium, url)
        page.context.on("request", lambda request: asked.append(request.url))
        reload(page)
        page.wait_for_selector(f"{VIEWER_ROOT} .pg-main:not([hidden])")
        page.wait_for_function(f"!{VIEWER}.trace.arriving")
        settle(page)
        for label in EXPORTS:
            export_file(page, label)
        page.get_by_role("tab", name="How it works").click()
        page.wait_for_function("document.querySelector('.pg-lesson')?.lesson")
        page.get_by_role("tab", name="Explore").click()
        draw_with_own_model(page)
        page.wait_for_function(f"{VIEWER}.trace.recipe.model === 'DDPM'", timeout=90_000)
        settle(page)
        page.close()
        assert len(asked) > 20 and all(each.startswith((url, *HERE)) for each in asked), asked
        assert outside.read_text() == ""


def test_a_server_that_asks_another_machine_is_noticed(tmp_path):
    code = (
        "import socket, sys; from tests.support.offline_app import watch; watch(sys.argv[1])\n"
        "for host in ('127.0.0.1', 'localhost', 'pixels.invalid'):\n"
        "    try: socket.create_connection((host, 9), timeout=1)\n"
        "    except OSError: pass\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "outside")], cwd=ROOT, check=True)
    assert (tmp_path / "outside").read_text() == "socket.getaddrinfo pixels.invalid\n"
