"""Two servers that share traces: one run for both, and what one of them leaves undone the other does."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from filelock import FileLock, Timeout
from gradio_client import Client

from viz import Trace
from viz.page.gallery import pin_revision
from viz.page.shared_traces import digest
from viz.page.store import Store
from viz.recipe import Recipe

ROOT = Path(__file__).parent.parent.parent
RECIPE = ("a round green monster", 77, 100, 2.5)


@contextmanager
def replica(cache: Path, home: Path, *options: str):
    """A server with a folder of its own for temporary files; yields its process and its address."""
    home.mkdir()
    command = [sys.executable, "-u", "app.py", "--on-demand", "--cache", str(cache), *options]
    environment = os.environ | {"GRADIO_TEMP_DIR": str(home), "OMP_NUM_THREADS": "1"}
    with open(home / "log", "w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            while not (address := re.search(r"http://\S+", (home / "log").read_text())):
                assert process.poll() is None, (home / "log").read_text()
                time.sleep(0.1)
            yield process, address.group()
        finally:
            process.kill()
            process.wait()


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_locked(folder: Path) -> bool:
    """Whether a process makes a trace of the folder."""
    for path in folder.glob("locks/*.lock"):
        try:
            with FileLock(path).acquire(timeout=0):
                pass
        except Timeout:
            return True
    return False


@pytest.mark.slow
def test_one_is_killed_in_a_run_and_the_other_makes_the_trace(tmp_path):
    cache = tmp_path / "cache"
    traces = cache / "traces"
    with replica(cache, tmp_path / "a") as (one, first), replica(cache, tmp_path / "b") as (other, second):
        downloads = str(tmp_path / "downloads")
        clients = [Client(url, verbose=False, download_files=downloads) for url in (first, second)]
        clients[0].submit(*RECIPE, api_name="/trace")
        wait_for(lambda: is_locked(traces))
        waiting = clients[1].submit(*RECIPE, api_name="/trace")
        time.sleep(2)
        assert not waiting.done() and not list(traces.glob("*.safetensors")), "the run is over before it was killed"
        one.send_signal(signal.SIGKILL)
        one.wait()
        made = Trace.load(waiting.result(timeout=240))
        assert made.picture is not None and made.recipe["seed"] == RECIPE[1]
        assert other.poll() is None and httpx.get(second).status_code == 200
        (kept,) = traces.glob("*.safetensors")
        assert not list(traces.glob(".*")), "nothing half-written is left"
        with replica(cache, tmp_path / "c") as (_, third):
            began = time.monotonic()
            again = Client(third, verbose=False, download_files=downloads).predict(*RECIPE, api_name="/trace")
            assert Path(again).read_bytes() == kept.read_bytes() and time.monotonic() - began < 60
        assert list(traces.glob("*.safetensors")) == [kept]
    assert Store(traces).find(pin_revision(Recipe(*RECIPE))) == kept


@pytest.mark.slow
def test_servers_without_a_common_folder_share_through_an_address(tmp_path):
    recipe, shared = ("a round green monster", 78, 4, 1.0), tmp_path / "shared"

    def answer_of(name: str) -> bytes:
        with replica(tmp_path / f"cache {name}", tmp_path / name, "--shared", f"file://{shared}") as (_, url):
            client = Client(url, verbose=False, download_files=str(tmp_path / "downloads"))
            content = Path(client.predict(*recipe, api_name="/trace")).read_bytes()
            wait_for(lambda: any(shared.glob("*.safetensors")))
            return content

    drawn = answer_of("a")
    (sent,) = shared.glob("*.safetensors")
    marked = Trace.load(sent)
    marked.recipe["seed"] = 1234  # so that what was fetched differs from what would be drawn again
    path = marked.save(tmp_path / "marked.safetensors", compact=True)
    sent.unlink()
    path.rename(shared / f"{sent.name[:64]}-{digest(path)}.safetensors")
    fetched = answer_of("b")
    (tmp_path / "fetched.safetensors").write_bytes(fetched)
    assert fetched != drawn and Trace.load(tmp_path / "fetched.safetensors").recipe["seed"] == 1234
