"""Traces at an address that several servers share: found by all, whole or not at all, and done without if need be."""

import logging
import threading
import time
import uuid

import fsspec
import pytest

from tests.support.stores import OTHER, RECIPE, Maker, follow
from viz.page.shared_traces import SharedTraces
from viz.page.store import Store, set_cache


@pytest.fixture(params=["file", "memory"])
def place(request, tmp_path, monkeypatch):
    """An address of fsspec's."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    yield f"file://{tmp_path}/there" if request.param == "file" else f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def make():
    maker = Maker()
    maker.go.set()
    return maker


def server(tmp_path, place, name, **options) -> Store:
    """The store of one of the servers, with a folder of its own."""
    return Store(tmp_path / name, shared=SharedTraces(place, **options))


def listing(place) -> dict[str, bytes]:
    """{name: content} of the files at an address."""
    there, root = fsspec.core.url_to_fs(place)
    return {path.rsplit("/", 1)[-1]: there.cat_file(path) for path in there.ls(root, detail=False)}


def overwrite(place, name, content) -> None:
    there, root = fsspec.core.url_to_fs(place)
    there.makedirs(root, exist_ok=True)
    there.pipe_file(f"{root}/{name}", content)


def wait_for_sending() -> None:
    for thread in threading.enumerate():
        if thread.name == "share":
            thread.join(10)


def test_what_one_server_made_another_finds(tmp_path, place, make):
    kept = follow(server(tmp_path, place, "a"), make)
    wait_for_sending()
    assert listing(place) == {kept.path.name: kept.path.read_bytes()}
    other = server(tmp_path, place, "b")
    found = other.find(RECIPE)
    assert found is not None and found.parent == other.folder and found.read_bytes() == kept.path.read_bytes()
    assert [path.name for path in other.folder.iterdir()] == [kept.path.name], "no half copy is left"
    assert follow(server(tmp_path, place, "c"), make).path.read_bytes() == found.read_bytes() and make.runs == 1
    assert other.find(OTHER) is None


@pytest.mark.parametrize("content", [b"", b"cut", b"another" * 1000])
def test_half_sent_file_is_made_and_sent_again(tmp_path, place, make, content, caplog):
    kept = follow(server(tmp_path, place, "a"), make)
    wait_for_sending()
    overwrite(place, kept.path.name, content)
    other = server(tmp_path, place, "b")
    assert other.find(RECIPE) is None and "damaged or not whole" in caplog.text
    assert list(other.folder.iterdir()) == []
    assert follow(other, make).path.read_bytes() == kept.path.read_bytes() and make.runs == 2
    wait_for_sending()
    assert listing(place) == {kept.path.name: kept.path.read_bytes()}


def test_other_files_there_stay_and_are_not_fetched(tmp_path, place, make):
    overwrite(place, "notes.txt", b"mine")
    store = server(tmp_path, place, "a", limit=1)
    kept = follow(store, make)
    wait_for_sending()
    assert listing(place) == {"notes.txt": b"mine", kept.path.name: kept.path.read_bytes()}


def test_those_sent_longest_ago_go_first(tmp_path, place, make):
    store = server(tmp_path, place, "a")
    first = follow(store, make)
    wait_for_sending()
    store.shared.limit = int(1.5 * first.path.stat().st_size)
    time.sleep(0.05)
    second = follow(store, make, OTHER)
    wait_for_sending()
    assert list(listing(place)) == [second.path.name]
    assert store.find(RECIPE) == first.path, "its own copy stays"


def test_server_goes_on_without_an_address_that_fails(tmp_path, make, caplog):
    (tmp_path / "file").write_text("in the way of a folder")
    store = server(tmp_path, f"file://{tmp_path}/file/there", "a")
    with caplog.at_level(logging.WARNING):
        kept = follow(store, make)
        wait_for_sending()
    assert kept.problem == "" and store.find(RECIPE) == kept.path
    assert "could not be written" in caplog.text


def test_nothing_is_fetched_where_nothing_is_kept(tmp_path, place, make):
    follow(server(tmp_path, place, "a"), make)
    wait_for_sending()
    assert Store(tmp_path / "b", limit=0, shared=SharedTraces(place)).find(RECIPE) is None


@pytest.mark.parametrize(("address", "why"), [("nowhere://x", "Protocol not known"), ("dask://x", "dask")])
def test_unknown_address_is_a_sentence(address, why):
    with pytest.raises(ValueError, match=f"traces cannot be shared at '{address}': .*{why}"):
        set_cache(None, "2GB", address)
