"""The Dockerfile: what it holds, and its steps, run here without Docker."""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard

from tests.support.docker import exec_form, instructions, is_sent, stage
from tests.support.ports import free_port

ROOT = Path(__file__).parent.parent.parent
STEPS = instructions((ROOT / "Dockerfile").read_text())
IGNORED = (ROOT / ".dockerignore").read_text()


def arguments_of(name: str) -> list[str]:
    return [rest for step, rest in STEPS if step == name]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The files of /app in the image, which its user may only read."""
    folder = tmp_path_factory.mktemp("image")
    assert {"app.py", "viz/__main__.py", "models/load.py"} & set(stage(ROOT, folder))
    subprocess.run(["chmod", "-R", "a-w", str(folder)], check=True)
    yield folder
    subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)


def test_its_python_is_that_of_the_space():
    version = SpaceCard.load(ROOT / "README.md").data.python_version
    assert arguments_of("FROM") == [f"python:{version}-slim"]


def test_it_does_not_run_as_root():
    names = [name for name, _ in STEPS]
    assert names.index("USER") < names.index("ENTRYPOINT") and arguments_of("USER") == ["pixelgaze"]
    assert any("useradd" in each and "pixelgaze" in each for each in arguments_of("RUN"))
    assert "COPY" not in names[names.index("USER") :], "the user does not own what runs"


def test_pip_leaves_no_cache():
    installs = re.findall(r"pip install [^;&]*", " ".join(arguments_of("RUN")))
    assert len(installs) == 2 and all("--no-cache-dir" in each for each in installs)


def test_it_holds_what_the_page_needs_and_nothing_else(tmp_path):
    staged = set(stage(ROOT, tmp_path))
    assert {path.split("/")[0] for path in staged} == {"app.py", "requirements.txt", "models", "viz", "assets"}
    tracked = subprocess.check_output(["git", "ls-files", "models", "viz"], cwd=ROOT, text=True).splitlines()
    assert set(tracked) <= staged
    assert not any(path.startswith("assets/screenshots") for path in staged)
    assert sum((ROOT / path).stat().st_size for path in staged) < 60_000_000


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("app.py", True),
        ("viz/page/store.py", True),
        ("assets/critters/card.json", True),
        ("README.md", False),
        (".git/config", False),
        (".venv/bin/python", False),
        ("runs/a/b", False),
        ("viz/__pycache__/view.pyc", False),
        ("viz/page/viewer.pyi", False),
        ("assets/screenshots/a.png", False),
        ("tests/viz/a.py", False),
    ],
)
def test_what_is_sent_to_the_build(path, sent):
    assert is_sent(path, IGNORED) == sent


@pytest.mark.parametrize("index", ["", "https://wheels.example.org/cpu"])
def test_torch_comes_from_the_index_that_is_named(tmp_path, index):
    """The step that installs, with a pip that only writes down what it was asked for."""
    (step,) = (each for each in arguments_of("RUN") if "pip" in each)
    pip = tmp_path / "pip"
    pip.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    pip.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TORCH_INDEX": index}
    subprocess.run(["sh", "-euc", step], cwd=ROOT, env=environment, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    pin = re.search(r"^torch==\S+", (ROOT / "requirements.txt").read_text(), re.MULTILINE).group()
    whole = "install --no-cache-dir -r requirements.txt"
    assert asked == ([f"install --no-cache-dir --index-url {index} {pin}"] if index else []) + [whole]


@contextmanager
def container(image: Path, home: Path, port: int):
    """Run the image's command in its folder, with its environment, as a user who owns no file outside of `home`."""
    environment = os.environ | dict(each.split("=", 1) for each in arguments_of("ENV")[0].split())
    cache = environment["PIXELGAZE_CACHE"].replace("/home/pixelgaze", str(home))
    environment |= {"HOME": str(home), "PIXELGAZE_CACHE": cache, "GRADIO_TEMP_DIR": str(home / "tmp")}
    _, *rest = exec_form(arguments_of("ENTRYPOINT")[0])
    # Root writes everywhere, unless it has lost its capabilities.
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    command = [*drop, sys.executable, *(each.replace("7860", str(port)) for each in rest), "--on-demand"]
    with open(home / "log", "w") as log:
        process = subprocess.Popen(command, cwd=image, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=20)


def is_healthy(port: int) -> bool:
    _, *rest = exec_form(arguments_of("HEALTHCHECK")[0])
    command = [sys.executable, *(each.replace("7860", str(port)) for each in rest)]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.slow
def test_its_command_serves_a_healthy_page_from_files_that_it_cannot_write(image, tmp_path):
    port = free_port()
    assert not is_healthy(port)
    with container(image, tmp_path, port) as process:
        deadline = time.monotonic() + 60
        while not is_healthy(port):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
    assert not is_healthy(port)
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert not list(image.rglob("*.pyi")) and not list(image.rglob("__pycache__"))
