"""How the server begins and ends: sentences for addresses it cannot have, and no abort in the middle of a run."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client

from tests.support.ports import free_port
from viz.page.lifetime import check_address

ROOT = Path(__file__).parent.parent.parent


def start(*arguments, **environment) -> subprocess.Popen:
    command = [sys.executable, "-u", "app.py", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, preexec_fn=hear_interrupts, **pipes)


def hear_interrupts() -> None:
    """A shell's background process ignores SIGINT, and so do those that it starts, this one if the tests run there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_check_address_takes_free_ones():
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):
        assert check_address(host, None) is None
    assert check_address("127.0.0.1", free_port()) is None


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("192.0.2.1", None, r"cannot listen on 192.0.2.1 \(.*\); choose another --host"),
        ("nowhere.invalid", None, r"cannot listen on nowhere.invalid \(.*\); choose another --host"),
        ("a" * 70, None, "choose another --host"),
        ("127.0.0.1", 70_000, "expected a --port from 1 to 65535, got 70000"),
        ("127.0.0.1", -1, "expected a --port from 1 to 65535, got -1"),
    ],
)
def test_check_address_says_what_is_wrong(host, port, sentence):
    assert re.search(sentence, check_address(host, port))


def test_a_port_in_use_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = start("--port", str(port))
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in output
    expected = rf"cannot listen on port {port} of 127.0.0.1 \(.*\); choose another --port, or leave it out .*\n"
    assert re.search(f"error: {expected}$", output)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_is_interrupted_without_an_abort(tmp_path, name):
    process = start("--on-demand", GRADIO_TEMP_DIR=str(tmp_path), PIXELGAZE_CACHE=str(tmp_path / "cache"))
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            break
    client = Client(found.group(), verbose=False, download_files=False)
    client.predict("a monster", 1, 1, api_name="/trace")  # the model is loaded, and a file was written
    assert list(tmp_path.rglob("*.safetensors"))
    client.submit("a monster", 1, 100, api_name="/trace")
    time.sleep(1)
    process.send_signal(getattr(signal, name))
    try:
        output, _ = process.communicate(timeout=20)  # a second or two where the other tests leave a core free
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in output and "Closing." in output
