"""Uploads have a quota, over HTTP: refused with a sentence when it is used up, after what is old was deleted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import gradio as gr
import httpx
import pytest
from starlette.middleware import Middleware

from viz.__main__ import _parser, main
from viz.page import mistakes, quota, sweeper
from viz.page.quota import UploadQuota


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A page whose uploads may take 3 MB, each 1 MB: what uploads a file of so many bytes, and their folder."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with gr.Blocks() as page:
        gr.File()
    upload_quota = Middleware(UploadQuota, folder=tmp_path, limit=3_000_000, largest=1_000_000)
    handlers = mistakes.exception_handlers()
    _, url, _ = page.launch(
        prevent_thread_lock=True, quiet=True, app_kwargs={"middleware": [upload_quota], "exception_handlers": handlers}
    )

    def upload(size: int, **options) -> httpx.Response:
        files = {"files": ("a.bin", os.urandom(size))}
        return httpx.post(f"{url}gradio_api/upload", files=files, timeout=30, **options)

    yield upload, tmp_path
    page.close()


def make_old(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - 600,) * 2)


def test_uploads_are_refused_with_a_sentence_when_the_quota_is_used_up(server):
    upload, folder = server
    assert [upload(900_000).status_code for _ in range(3)] == [200, 200, 200]
    refused = upload(900_000)
    assert refused.status_code == 507 and refused.text.startswith("The server has no room for more files at the moment")
    assert sweeper.taken(folder) < 3_000_000
    make_old(folder)  # then room is made, no more than is needed
    assert upload(900_000).status_code == 200
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 3


def test_upload_larger_than_one_may_be_is_refused(server):
    upload, folder = server
    refused = upload(1_100_000)
    assert refused.status_code == 413 and "the limit is 1 MB" in refused.text
    assert sweeper.taken(folder) == 0


def test_uploads_leave_some_of_the_disk_free(server, monkeypatch):
    upload, _ = server
    monkeypatch.setattr(quota, "SPARE", 10**18)
    assert upload(10).status_code == 507


def test_uploads_on_their_way_count(tmp_path):
    waiting = UploadQuota(lambda *_: None, folder=tmp_path, limit=1000, largest=1000)
    assert waiting._admit(600) is None
    assert waiting._admit(600) is not None and waiting._admit(400) is None


def test_full_disk_is_a_sentence(server, monkeypatch):
    upload, _ = server

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gradio.route_utils.GradioMultiPartParser.parse", fail)
    answer = upload(10)
    assert (
        answer.status_code == 507 and answer.text == "The server could not write the file: No space left on device.\n"
    )


def test_server_that_cannot_write_says_so_and_ends(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file"))
    monkeypatch.setattr("sys.argv", ["pixelgaze", "--cache", str(tmp_path)])
    monkeypatch.setattr("viz.__main__._parser", _parser)
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert "cannot write to" in said and "set GRADIO_TEMP_DIR to another folder" in said and "Traceback" not in said
