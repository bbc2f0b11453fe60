"""The visitors' models: one each, in a budget; the one used longest ago goes, and its owner is told."""

import shutil
import threading
import time

import pytest

from tests.support import single_file
from tests.support.pipelines import PIPELINES
from viz.page import limits, open_models
from viz.page.open_models import ELSEWHERE, GONE, LEFT, MADE_ROOM, NOT_OPEN, OpenModels
from viz.page.own_model import OwnModel, expected_bytes
from viz.recipe import RecipeError


def open_named(models: OpenModels, name: str, upload: str | None = None, config: str | None = None, session="A"):
    *messages, model = models.open_model(session, name, upload, "float32", "cpu", config)
    assert messages and all(isinstance(message, str) for message in messages)
    assert isinstance(model, OwnModel)
    return model


def why_not(models: OpenModels, session: str, name: str | None) -> str:
    with pytest.raises(RecipeError) as raised:
        models.get(session, name)
    return str(raised.value)


@pytest.fixture
def room_for(models, monkeypatch):
    """Limits what visitors' models may take, to that of these models together."""

    def room_for(*names: str, spare: int = 0) -> int:
        size = sum(expected_bytes(models / name, "float32") for name in names) + spare
        monkeypatch.setattr(limits, "_limits", limits.Limits(None, models, open_models=str(size)))
        return size

    return room_for


def test_open_model_replaces_the_visitors_own(models):
    opened = OpenModels()
    first = open_named(opened, "Stable-Diffusion")
    assert opened.get("A", "Stable-Diffusion") is first
    second = open_named(opened, "DDPM")
    assert opened.get("A", "DDPM") is second
    assert why_not(opened, "A", "Stable-Diffusion") == GONE


def test_visitors_keep_their_models_while_there_is_room(models):
    opened = OpenModels()
    first, second = open_named(opened, "DDPM", session="A"), open_named(opened, "DDPM", session="B")
    assert opened.get("A", "DDPM") is first is not second and opened.get("B", "DDPM") is second
    assert why_not(opened, "C", "DDPM") == GONE and why_not(opened, "A", None) == NOT_OPEN


@pytest.mark.parametrize("name", ["DDPM", "Stable-Diffusion", "inpainting"])
def test_expected_bytes_are_those_of_the_open_model(models, name):
    """They are read from the files' headers before anything is loaded; a few buffers come on top."""
    model = open_named(OpenModels(), name)
    assert 0 < expected_bytes(models / name, "float32") <= model.size < 1.02 * expected_bytes(models / name, "float32")
    assert expected_bytes(models / name, "float16") * 2 == expected_bytes(models / name, "float32")


def test_model_used_longest_ago_is_closed_and_its_owner_told(models, room_for):
    opened = OpenModels()
    open_named(opened, "DDPM", session="A")
    open_named(opened, "DDPM", session="B")
    opened.get("A", "DDPM")
    room_for("DDPM", "inpainting", spare=100_000)
    open_named(opened, "inpainting", session="C")
    assert why_not(opened, "B", "DDPM") == MADE_ROOM
    assert opened.get("A", "DDPM") and opened.get("C", "inpainting")
    room_for("DDPM", "DDPM", "inpainting", spare=100_000)
    open_named(opened, "DDPM", session="B")
    assert opened.get("B", "DDPM") and opened.get("A", "DDPM")


def test_model_that_runs_is_not_closed(models, room_for):
    opened = OpenModels()
    open_named(opened, "DDPM", session="A")
    room_for("DDPM", spare=1000)
    with opened.in_use("A", "DDPM"):
        with pytest.raises(RecipeError, match=r"of which other visitors' runs take .* Please try again in a few"):
            open_named(opened, "DDPM", session="B")
        assert opened.get("A", "DDPM")
    open_named(opened, "DDPM", session="B")
    assert why_not(opened, "A", "DDPM") == MADE_ROOM


def test_model_larger_than_the_room_is_refused_before_it_is_loaded(models, room_for, monkeypatch):
    monkeypatch.setattr("viz.page.own_model.load", lambda *_, **__: pytest.fail("it was loaded"))
    room_for("DDPM", spare=-1)
    with pytest.raises(
        RecipeError, match=r"This model takes .*; there are .* for models here\. Try a lower precision\."
    ):
        open_named(OpenModels(), "DDPM")


def test_leaving_closes_the_model_after_a_while(models, monkeypatch):
    monkeypatch.setattr(open_models, "AWAY", 0.05)
    opened = OpenModels()
    open_named(opened, "DDPM", session="A")
    open_named(opened, "DDPM", session="B")
    opened.leave("A")
    deadline = time.monotonic() + 5
    while "A" in opened._places and time.monotonic() < deadline:
        time.sleep(0.01)
    assert why_not(opened, "A", "DDPM") == LEFT and opened.get("B", "DDPM")


def test_page_that_comes_back_keeps_its_model(models, monkeypatch):
    monkeypatch.setattr(open_models, "AWAY", 0.3)
    opened = OpenModels()
    open_named(opened, "DDPM")
    opened.leave("A")
    opened.get("A", "DDPM")
    time.sleep(0.6)
    assert opened.get("A", "DDPM")


@pytest.fixture
def open_pages(monkeypatch) -> set[str]:
    """The sessions whose pages are open, none at first; nobody is waited for."""
    sessions: set[str] = set()
    monkeypatch.setattr(open_models, "is_open", sessions.__contains__)
    monkeypatch.setattr(open_models, "HANDOVER", 0.0)
    return sessions


def why_not_over(models: OpenModels, token: str, session: str) -> str:
    with pytest.raises(RecipeError) as raised:
        models.take_over(token, session)
    return str(raised.value)


def test_model_of_a_page_that_was_left_is_taken_over(models, open_pages, monkeypatch):
    """However often, with the same token, even if its page left again before it knew."""
    monkeypatch.setattr(open_models, "AWAY", 0.3)
    opened = OpenModels()
    model = open_named(opened, "DDPM", session="A")
    token = opened.token("A")
    opened.leave("A")
    for session in "BC":
        assert opened.take_over(token, session) is opened.get(session, "DDPM") is model
    assert opened.token("C") == token and opened.token("A") is opened.token("B") is None
    assert why_not(opened, "A", "DDPM") == why_not(opened, "B", "DDPM") == GONE
    open_pages.add("D")
    assert opened.take_over(token, "D") is opened.take_over(token, "D") is model
    time.sleep(0.6)
    assert opened.get("D", "DDPM") is model  # leaving A closed nothing of D


def test_model_taken_over_by_a_page_that_left_meanwhile_is_closed(models, open_pages, monkeypatch):
    monkeypatch.setattr(open_models, "AWAY", 0.05)
    opened = OpenModels()
    open_named(opened, "DDPM", session="A")
    token = opened.token("A")
    opened.take_over(token, "B")  # for which no page is open
    deadline = time.monotonic() + 5
    while "B" in opened._places and time.monotonic() < deadline:
        time.sleep(0.01)
    assert why_not_over(opened, token, "C") == LEFT


def test_model_is_not_taken_over_while_its_page_is_open(models, open_pages):
    opened = OpenModels()
    model = open_named(opened, "DDPM", session="A")
    open_pages.update("AB")
    assert why_not_over(opened, opened.token("A"), "B") == ELSEWHERE
    assert opened.get("A", "DDPM") is model and why_not(opened, "B", "DDPM") == GONE
    open_pages.remove("A")
    assert opened.take_over(opened.token("A"), "B") is model


def test_page_that_leaves_late_is_waited_for(models, open_pages, monkeypatch):
    monkeypatch.setattr(open_models, "HANDOVER", 10.0)
    opened = OpenModels()
    model = open_named(opened, "DDPM", session="A")
    open_pages.update("AB")
    timer = threading.Timer(0.3, open_pages.remove, "A")
    timer.start()
    assert opened.take_over(opened.token("A"), "B") is model


def test_only_its_token_takes_a_model_over(models, open_pages):
    opened = OpenModels()
    model = open_named(opened, "DDPM", session="A")
    first = opened.token("A")
    for wrong in ("", "A", first[:-1], first + "=", first.swapcase(), "é" * 43, "\ud800"):
        assert why_not_over(opened, wrong, "B") == GONE
    assert opened.get("A", "DDPM") is model
    other = open_named(opened, "DDPM", session="B")
    assert len({first, opened.token("B")}) == 2 and len(first) >= 40
    assert opened.take_over(opened.token("B"), "C") is other


def test_token_of_a_closed_model_says_why(models, open_pages, room_for, monkeypatch):
    opened = OpenModels()
    open_named(opened, "DDPM", session="A")
    open_named(opened, "DDPM", session="B")
    tokens = [opened.token(session) for session in "AB"]
    opened.get("A", "DDPM")
    room_for("DDPM", "inpainting", spare=100_000)
    open_named(opened, "inpainting", session="C")
    open_named(opened, "Stable-Diffusion", session="A")
    assert [why_not_over(opened, token, "D") for token in tokens] == [GONE, MADE_ROOM]


def test_model_opened_meanwhile_stays(models, open_pages):
    """The page was loaded again, and another model was opened before the first was asked for."""
    opened = OpenModels()
    open_named(opened, "DDPM", session="A")
    token = opened.token("A")
    second = open_named(opened, "inpainting", session="B")
    assert opened.take_over(token, "B") is opened.get("B", "inpainting") is second
    assert why_not_over(opened, token, "B") == GONE and list(opened._places) == ["B"]


def test_open_model_says_why_it_failed_without_paths(models, tmp_path, monkeypatch):
    shutil.copytree(models, tmp_path / "models")
    (tmp_path / "models" / "DDPM" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    monkeypatch.setattr(limits, "_limits", limits.Limits(None, tmp_path / "models"))
    opened = OpenModels()
    open_named(opened, "Stable-Diffusion")
    with pytest.raises(RecipeError, match="holds no safetensors weights") as raised:
        open_named(opened, "DDPM")
    assert str(tmp_path) not in str(raised.value)
    assert why_not(opened, "A", "Stable-Diffusion") == GONE


def test_open_model_takes_single_file_with_config_of_another(models, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    single_file.write(PIPELINES["Stable Diffusion"](tmp_path / "words"), tmp_path / "one.safetensors")
    opened, upload = OpenModels(), str(tmp_path / "one.safetensors")
    with pytest.raises(RecipeError, match="configuration and tokenizer are not in the file"):
        open_named(opened, "", upload)
    assert open_named(opened, "", upload, "Stable-Diffusion").takes_prompt
    with pytest.raises(RecipeError, match="Expected a Hugging Face model ID"):
        open_named(opened, "", upload, "/etc")
