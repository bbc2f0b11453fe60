"""Temporary files: by age and by quota, those of killed servers at once, those of running ones never."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from viz.page import served, sweeper
from viz.page.sweeper import open_folder, sweep


@pytest.fixture(autouse=True)
def _folder_of_gradio(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


def write(path: Path, size: int, age: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_sweep_deletes_what_was_not_used_for_long(tmp_path):
    old, new = write(tmp_path / "a" / "old", 10, 5000), write(tmp_path / "new", 10, 3000)
    shown = write(tmp_path / "shown", 10, 5000)
    sweep(tmp_path, frozenset({shown}), age=4000)
    assert not old.parent.exists() and new.exists() and shown.exists()


def test_sweep_deletes_what_was_used_longest_ago_until_the_rest_fits(tmp_path):
    files = [write(tmp_path / str(age), 100, age) for age in (10, 100, 200, 300, 400)]
    sweep(tmp_path, limit=250)
    assert [path.exists() for path in files] == [True, True, False, False, False]
    sweep(tmp_path, limit=50)
    assert [path.exists() for path in files] == [True, False, False, False, False]  # the first is young


def test_serving_a_file_counts_as_use(tmp_path):
    path = write(tmp_path / "trace", 10, 5000)
    served.served_path(path)
    sweep(tmp_path, age=4000)
    assert path.exists()


def test_folder_of_a_killed_server_goes_and_that_of_a_running_one_stays(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from viz.page.sweeper import open_folder\n"
        "folder, lock = open_folder(Path(sys.argv[1])); (folder / 'upload').write_text('x')\n"
        "print(folder, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "root")]
    servers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        killed, running = (Path(server.stdout.readline().strip()) for server in servers)
        servers[0].kill()
        servers[0].wait()
        own, lock = open_folder(tmp_path / "root")
        assert not killed.exists() and (running / "upload").read_text() == "x" and own.is_dir()
        assert os.environ["GRADIO_TEMP_DIR"] == str(own)
        lock.release()
    finally:
        for server in servers:
            server.kill()
            server.wait()


def test_server_sweeps_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeper, "PAUSE", 0.02)
    kept = write(tmp_path / "kept", 10, 5000)
    sweeper.keep_swept(tmp_path)
    later = write(tmp_path / "later", 10, 5000)
    end = time.monotonic() + 20
    while later.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert kept.exists() and not later.exists()


def test_folders_may_vanish_while_they_are_looked_through(tmp_path, monkeypatch):
    write(tmp_path / "gone" / "file", 10, 0)
    stays = write(tmp_path / "stays" / "file", 20, 0)
    scan = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("gone"):
            raise FileNotFoundError(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert sweeper.taken(tmp_path) == 20
    sweep(tmp_path, limit=0)
    assert stays.exists(), "it is young"
