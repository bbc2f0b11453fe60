"""The model box's handlers, called with the values that Gradio passes: a dictionary by component."""

import threading
import time
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from PIL import Image

from models import load
from viz import Trace
from viz.page import callers, public, runs
from viz.page.open_models import OpenModels
from viz.page.progress import ProgressStrip
from viz.page.tabs import model_box, own_model
from viz.page.viewer import Viewer
from viz.recipe import RecipeError

ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"
)
REQUEST = SimpleNamespace(session_hash="a visitor")


@pytest.fixture
def handlers(models, monkeypatch):
    monkeypatch.setattr(own_model, "open_models", OpenModels())
    with gr.Blocks():
        box = model_box.lay_out()
        handlers = own_model.Handlers(box, Viewer(), ProgressStrip())
        own_model.wire(box, handlers.viewer, handlers.strip)
    return handlers


@pytest.fixture
def warnings(monkeypatch):
    """The warnings shown so far."""
    warnings = []
    monkeypatch.setattr(own_model, "warn", warnings.append)
    return warnings


def values(handlers, **changes) -> dict:
    """The value of every component of the box, as after opening the page, but for some."""
    box = handlers.box
    blank = {part: getattr(part, "value", None) for part in vars(box).values()}
    small = {box.steps: 2, box.height: 16, box.width: 16, box.dtype: "float32", box.device: "cpu"}
    return blank | small | {getattr(box, name): value for name, value in changes.items()}


def open_name(handlers, name) -> dict:
    *_, outputs = handlers.open_name(values(handlers, name=name), REQUEST)
    return outputs


def test_open_name_shows_what_the_model_takes(handlers):
    box, outputs = handlers.box, open_name(handlers, "DDPM")
    assert outputs[box.model] == "DDPM" and outputs[box.status].startswith("DDPM is open: DDPMPipeline")
    assert outputs[box.settings].visible and not outputs[box.words].visible and not outputs[box.mask].visible
    assert (outputs[box.height], outputs[box.width]) == (16, 16)
    assert not outputs[box.both].visible  # there is no guidance
    guided = open_name(handlers, "inpainting")
    assert guided[box.mask].visible and guided[box.both].visible


def test_open_name_warns_and_closes_settings_on_failure(handlers, warnings):
    open_name(handlers, "DDPM")
    box, outputs = handlers.box, open_name(handlers, "/etc/passwd")
    assert outputs[box.model] is None and not outputs[box.settings].visible
    assert [outputs[box.status]] == warnings and "Expected a Hugging Face model ID" in outputs[box.status]
    assert outputs[box.kept] == {"token": None}


def test_open_name_shows_its_progress_in_the_strip(handlers):
    *news, last = handlers.open_name(values(handlers, name="DDPM"), REQUEST)
    notes = [outputs[handlers.strip]["note"] for outputs in news]
    assert notes[0] == "Loading the model…" and notes[-1] == "Loading the networks"
    assert notes == [outputs[handlers.box.status] for outputs in news] and last[handlers.strip] is None


def test_open_name_says_that_another_model_is_being_loaded_and_can_be_stopped(handlers, warnings):
    box, strip = handlers.box, handlers.strip
    open_name(handlers, "DDPM")
    with runs.opening_lock:
        news = handlers.open_name(values(handlers, name="Stable-Diffusion"), REQUEST)
        assert next(news)[strip]["note"] == "Waiting until another model is loaded…"
        runs.stop_runs(REQUEST)
        (last,) = news
    assert last[strip] is None and last[box.model] is None and not last[box.settings].visible
    assert last[box.status] == "No model open: you stopped it." and warnings == []
    with runs.opening_lock:  # once the thread has ended
        assert own_model.open_models.get("a visitor", "DDPM")  # the model before is still there


def test_open_name_stopped_while_loading_opens_nothing(handlers, warnings, monkeypatch):
    loaded, go = threading.Event(), threading.Event()

    def load_slowly(*arguments, progress, **options):
        progress(None, "Loading the networks")
        assert go.wait(timeout=30)
        loaded.set()
        return load(*arguments, **options)

    monkeypatch.setattr("viz.page.own_model.load", load_slowly)
    news = handlers.open_name(values(handlers, name="DDPM"), REQUEST)
    while next(news)[handlers.strip]["note"] != "Loading the networks":
        pass
    runs.stop_runs(REQUEST)
    *_, last = news
    assert last[handlers.strip] is None and last[handlers.box.model] is None and not loaded.is_set()
    go.set()
    with runs.opening_lock:  # once the thread has ended
        assert loaded.is_set()
    with pytest.raises(RecipeError, match="no longer loaded"):
        own_model.open_models.get("a visitor", "DDPM")


def test_label_photo_and_mask_name_the_file_or_what_to_choose(handlers):
    for label, empty in (
        (handlers.label_photo, "Choose photo…"),
        (handlers.label_mask, "Choose mask… (white = repaint)"),
    ):
        assert label("/tmp/upload/cat.png").label == "cat.png ✓"
        assert label(None).label == empty


def test_forecast_is_empty_until_a_model_is_open(handlers):
    assert handlers.forecast(values(handlers), REQUEST) == {handlers.box.memory: ""}


def test_forecast_describes_memory_or_says_what_is_wrong(handlers):
    box = handlers.box
    open_name(handlers, "DDPM")
    outputs = handlers.forecast(values(handlers, model="DDPM"), REQUEST)
    assert "(4 layers × 2 calls of the network)" in outputs[box.memory] and not outputs[box.skipped].visible
    wrong = handlers.forecast(values(handlers, model="DDPM", steps=0), REQUEST)
    assert "steps must be a whole number" in wrong[box.memory]
    assert "no longer loaded" in handlers.forecast(values(handlers, model="another"), REQUEST)[box.memory]


def test_forecast_ends_when_its_visitor_leaves(handlers, monkeypatch):
    """Each layer takes long, also of the copy that the plan calls; the visitor leaves in the first."""
    open_name(handlers, "DDPM")
    gone, called = threading.Event(), []
    monkeypatch.setattr(callers, "present_caller", lambda: SimpleNamespace(is_gone=gone.is_set))
    monkeypatch.setattr(callers, "LOOK", 0.02)

    def dawdle(module, arguments):
        called.append(module)
        gone.set()
        time.sleep(0.1)

    modules = list(own_model.open_models.get("a visitor", "DDPM").pipeline.unet.modules())
    handles = [module.register_forward_pre_hook(dawdle) for module in modules]
    outputs = handlers.forecast(values(handlers, model="DDPM"), REQUEST)
    assert outputs == {handlers.box.memory: gr.skip()} and 0 < len(called) < 20 < len(modules)
    for handle in handles:
        handle.remove()
    gone.clear()
    assert "(4 layers × 2 calls" in handlers.forecast(values(handlers, model="DDPM"), REQUEST)[handlers.box.memory]


def test_draw_yields_progress_and_then_the_trace(handlers):
    box, viewer, strip = handlers.box, handlers.viewer, handlers.strip
    sampler = open_name(handlers, "DDPM")[box.sampler].value
    *news, last = handlers.draw(values(handlers, model="DDPM", sampler=sampler), REQUEST)
    assert [outputs[strip]["step"] for outputs in news] == [0, 1, 2]
    assert last[strip] is None and not last[box.skipped].visible
    assert Trace.load(last[viewer]["trace"]["path"]).steps == [0, 1]


def test_draw_records_both_halves_if_chosen(handlers):
    box = handlers.box
    sampler = open_name(handlers, "Stable-Diffusion")[box.sampler].value
    chosen = values(handlers, model="Stable-Diffusion", sampler=sampler, prompt="a red monster", both=True)
    *_, last = handlers.draw(chosen, REQUEST)
    assert list(Trace.load(last[handlers.viewer]["trace"]["path"]).branches) == ["unconditional", "conditional"]


def test_draw_warns_of_a_prompt_longer_than_the_encoder_reads(handlers, warnings):
    box = handlers.box
    sampler = open_name(handlers, "Stable-Diffusion")[box.sampler].value
    chosen = values(handlers, model="Stable-Diffusion", sampler=sampler, prompt="red monster " * 50)
    *_, last = handlers.draw(chosen, REQUEST)
    (sentence,) = warnings
    assert sentence.startswith("The encoder reads 77 tokens; ") and " tokens were cut off after “" in sentence
    assert Trace.load(last[handlers.viewer]["trace"]["path"]).words


def test_draw_ends_when_stopped(handlers, warnings):
    sampler = open_name(handlers, "DDPM")[handlers.box.sampler].value
    news = handlers.draw(values(handlers, model="DDPM", sampler=sampler, steps=50), REQUEST)
    next(news), next(news)
    runs.stop_runs(REQUEST)
    *_, last = news
    assert last == {handlers.strip: None} and warnings == []


def test_record_photo_warns_without_a_photo(handlers, warnings, tmp_path):
    sampler = open_name(handlers, "DDPM")[handlers.box.sampler].value
    *_, last = handlers.record_photo(values(handlers, model="DDPM", sampler=sampler), REQUEST)
    assert last == {handlers.strip: None} and warnings == ["Upload a photo first."]
    Image.new("RGB", (40, 40), "red").save(tmp_path / "photo.png")
    photo = str(tmp_path / "photo.png")
    *_, last = handlers.record_photo(values(handlers, model="DDPM", sampler=sampler, photo=photo), REQUEST)
    assert Trace.load(last[handlers.viewer]["trace"]["path"]).recipe["model"] == "DDPM"


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to"), RuntimeError(ALLOCATOR)], ids=repr
)
def test_run_out_of_memory_is_a_sentence_and_the_next_one_works(handlers, warnings, error):
    """Raised by a layer of the network, in the middle of a run."""
    sampler = open_name(handlers, "DDPM")[handlers.box.sampler].value
    network = own_model.open_models.get("a visitor", "DDPM").pipeline.unet
    chosen = values(handlers, model="DDPM", sampler=sampler)

    def fail(module, arguments, output):
        if not arguments[0].is_meta:  # the plan calls a copy without storage
            raise error

    handle = network.mid_block.register_forward_hook(fail)
    *_, last = handlers.draw(chosen, REQUEST)
    handle.remove()
    assert last == {handlers.strip: None}
    assert [sentence.partition(". Choose")[0] for sentence in warnings] == [
        "The run failed: there is not enough memory for it now"
    ]
    assert len(runs.line) == 0 and runs._stop_events == {}
    *_, last = handlers.draw(chosen, REQUEST)
    assert Trace.load(last[handlers.viewer]["trace"]["path"]).steps == [0, 1]


def test_model_that_a_public_page_does_not_list_is_refused_with_a_warning(handlers, warnings, monkeypatch):
    monkeypatch.setattr(public, "_caps", public.Caps())
    outputs = open_name(handlers, "google/ddpm-cifar10-32")
    assert outputs[handlers.box.status] == warnings[0] and "in its own folder only" in warnings[0]
