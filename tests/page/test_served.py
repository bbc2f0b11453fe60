"""Paths that a browser names."""

import time

import anyio
import pytest
from starlette.responses import FileResponse

from viz.page import served
from viz.page.gallery import exhibits


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Gradio's cache in an empty folder, beside a file that is not served."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "secret").write_text("secret")
    monkeypatch.setattr(served, "get_upload_folder", lambda: str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_served_path_takes_files_of_gallery_and_cache(cache):
    (cache / "trace").touch()
    for path in (exhibits()[0].trace, cache / "trace"):
        assert served.served_path(str(path)) == path.resolve()


def test_served_path_refuses_files_elsewhere(cache):
    (cache / "link").symlink_to(cache.parent / "secret")
    for path in (cache.parent / "secret", f"{cache}/../secret", cache / "link", f"{cache}x", "/etc/passwd", None, 3):
        with pytest.raises(PermissionError, match="does not serve that file"):
            served.served_path(path)


def test_served_path_says_that_a_file_is_gone(cache):
    with pytest.raises(PermissionError, match="no longer on the server"):
        served.served_path(str(cache / "gone"))


@pytest.mark.parametrize("path", ["/a" * 200_000, "a" * 400_000, "x" * 300, "\0", "/tmp/\0", ["/"] * 100_000, {"a": 1}])
def test_odd_paths_are_refused_at_once(path):
    """A path of 400 kB with many folders took 13 seconds to resolve."""
    began = time.perf_counter()
    with pytest.raises(PermissionError, match="does not serve that file"):
        served.served_path(path)
    assert time.perf_counter() - began < 0.5


def test_files_go_out_in_few_pieces(cache, monkeypatch):
    monkeypatch.setattr(FileResponse, "chunk_size", FileResponse.chunk_size)
    path, messages = cache / "trace", []
    path.write_bytes(bytes(range(256)) * 4096)  # 1 MiB

    async def send(message):
        messages.append(message)

    async def answer():
        await FileResponse(path)({"type": "http", "method": "GET", "headers": []}, anyio.sleep_forever, send)

    served.send_in_large_pieces()
    anyio.run(answer)
    pieces = [message["body"] for message in messages if message["type"] == "http.response.body" and message["body"]]
    assert len(pieces) == 4 and b"".join(pieces) == path.read_bytes()
