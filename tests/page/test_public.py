"""Public mode: what is refused, with which sentence, and what a public server writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest
from gradio_client import Client

from viz.page import limits, public, runs
from viz.page.tabs import model_box
from viz.recipe import Recipe, RecipeError

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def is_public(monkeypatch):
    monkeypatch.setattr(public, "_caps", public.Caps(steps=30, side=64, runs=3))
    public._begun.clear()


def test_space_is_public_by_itself_and_others_if_asked(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    public.set_public()
    assert public.caps() is None
    public.set_public(True)
    assert public.caps() == public.Caps()
    public.set_public()
    monkeypatch.setenv("SPACE_ID", "someone/pixelgaze")
    public.set_public()
    assert public.caps() == public.Caps()


def test_only_listed_models_can_be_opened(models, tmp_path):
    assert limits.resolve_source(" DDPM ") == models / "DDPM"
    for name, upload in (("google/ddpm-cifar10-32", None), ("DDPM", str(tmp_path / "x.safetensors")), ("", None)):
        with pytest.raises(RecipeError, match=r"opens the models in its own folder only: DDPM, "):
            limits.resolve_source(name, upload)


def test_page_without_listed_models_offers_none(monkeypatch):
    monkeypatch.setattr(limits, "_limits", limits.Limits())
    with gr.Blocks() as page:
        model_box.lay_out()
    assert [each.visible for each in page.blocks.values() if each.elem_id == "model-box"] == [False]
    with pytest.raises(RecipeError, match="which has none besides the bundled one"):
        limits.resolve_source("DDPM")


def test_page_with_listed_models_offers_these_alone(models):
    with gr.Blocks():
        box = model_box.lay_out()
    assert not box.upload.visible and not box.config.visible and not box.name.allow_custom_value
    assert [name for name, _ in box.name.choices] == limits.model_names()


def test_steps_and_sizes_are_capped(models):
    from viz.page.own_model import open_model

    model = open_model(models / "DDPM", "float32", "cpu")
    fields = {"prompt": "", "negative": "", "seed": 1, "guidance": 1.0, "steps": 30, "height": 64, "width": 64}
    assert model.build_order(**fields)
    for name, value, most in (("steps", 31, 30), ("height", 72, 64), ("width", 72, 64)):
        with pytest.raises(RecipeError, match=f"whole number from .* to {most}; got {value}"):
            model.build_order(**fields | {name: value})
    public.check_steps(Recipe("a red monster", steps=30))
    with pytest.raises(RecipeError, match=r"draws with at most 30 steps; got 31"):
        next(runs.follow_recipe(Recipe("a red monster", steps=31), None, None))


def test_runs_a_minute_are_capped_for_each_page(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(public.time, "monotonic", lambda: now[0])

    def begin(session: str) -> None:
        with runs.stoppable_run(session):
            pass

    for _ in range(3):
        begin("a")
        now[0] += 10
    with pytest.raises(RecipeError, match=r"allows 3 runs a minute\. Please wait 30 seconds\."):
        begin("a")
    begin("b")
    assert runs._stop_events == {}
    now[0] += 31
    begin("a")


def test_public_server_writes_in_its_cache_only(tmp_path):
    """A run over HTTP, with every other place where programs write made a folder that stays empty."""
    places = {name: tmp_path / name for name in ("home", "tmp", "work", "cache")}
    for place in places.values():
        place.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GRADIO", "XDG", "HF_"))}
    environment |= {"HOME": str(places["home"]), "TMPDIR": str(places["tmp"]), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-u", "-m", "viz", "--public", "--on-demand", "--cache", str(places["cache"])]
    with subprocess.Popen(command, cwd=places["work"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = next(line for line in process.stdout if "http://" in line).split()[-1]
            client = Client(url, verbose=False, download_files=str(tmp_path / "downloads"))
            assert client.predict("a red monster", 3, 2, 2.5, api_name="/trace")
            with pytest.raises(Exception, match="at most 50 steps"):
                client.predict("a red monster", 3, 51, 2.5, api_name="/generate")
            written = {name: [path for path in place.rglob("*") if path.is_file()] for name, place in places.items()}
        finally:
            process.send_signal(signal.SIGTERM)
    assert written["home"] == written["tmp"] == written["work"] == []
    assert any(path.suffix == ".safetensors" for path in written["cache"])
