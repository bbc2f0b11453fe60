"""Own models on a ZeroGPU Space, with a stand-in for `spaces` that forks as the real one does."""

import sys
import threading
import time

import pytest
import torch
from PIL import Image

from tests.support import lent_gpu
from tests.support.pipelines import PIPELINES
from viz.page import zero
from viz.page.line import Stopped
from viz.page.open_models import OpenModels
from viz.page.own_model import exact_device
from viz.recipe import RecipeError

FIELDS = {"prompt": None, "negative": None, "seed": 5, "steps": 3, "guidance": None, "height": 16, "width": 16}


@pytest.fixture
def lending(monkeypatch, tmp_path):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    monkeypatch.setitem(sys.modules, "spaces", lent_gpu.module())
    monkeypatch.setattr(zero, "_lent", None)
    yield lent_gpu
    lent_gpu.end()


@pytest.fixture
def opened(lending, tmp_path, monkeypatch):
    """Opens DDPM, as the page does."""
    folder = tmp_path / "models" / "DDPM"
    PIPELINES["DDPM"](tmp_path / "words").save_pretrained(folder)
    monkeypatch.setattr("viz.page.open_models.resolve_source", lambda *_: folder)
    models = OpenModels()

    def open_one():
        *_, model = models.open_model("visitor", "DDPM", None, "float32", "auto")
        return model

    return open_one


def run(model, method="draw", *, on_step=lambda *_: None, stopped=None, size=16, photo=None, **options):
    order = model.build_order(**{**FIELDS, "height": size, "width": size})
    arguments = (order, model.samplers[0], photo, False)
    lend = {"calls": model.count_calls(order), "on_step": on_step, "stopped": stopped or threading.Event()}
    return zero.run_model(model, method, *arguments, **lend, **options)


def same(one, other):
    pairs = [(getattr(one, kind), getattr(other, kind)) for kind in ("queries", "keys")]
    assert all(set(a) == set(b) and len(a) for a, b in pairs)
    assert (one.picture == other.picture).all()
    return all(torch.equal(a[key], b[key]) for a, b in pairs for key in a)


def test_a_run_in_the_process_is_the_run_here(opened, lending, tmp_path):
    model, steps = opened(), []
    assert exact_device("auto") == exact_device("cuda") == model.pipeline.unet.device.type == "cpu"
    before = set(model.pipeline.unet._forward_pre_hooks)
    trace = run(model, on_step=lambda step, preview: steps.append((step, preview.shape)), both=False)
    assert steps == [(step, (16, 16, 3)) for step in range(3)]
    assert len(lending.workers) == 1 and set(model.pipeline.unet._forward_pre_hooks) == before
    order = model.build_order(**FIELDS)
    assert same(trace, model.draw(order, model.samplers[0], None, False, lambda *_: None))
    assert all(tensor.device.type == "cpu" for tensor in trace.queries.values())
    assert list((tmp_path / "uploads").glob("*.safetensors")) == []
    assert lending.asked == [round(zero.FIRST_SECONDS + 3 * zero.STEP_SECONDS)]


def test_a_process_that_is_older_than_the_model_opens_it(opened, lending):
    first = run(opened())
    model = opened()
    assert same(first, run(model)) and same(first, run(model))
    assert len(lending.workers) == 1


def test_a_photo_is_recorded_there_and_mistakes_come_back_as_sentences(opened, lending, tmp_path):
    model = opened()
    Image.new("RGB", (20, 20), "red").save(tmp_path / "photo.png")
    assert run(model, "record_photo", photo=tmp_path / "photo.png").recipe["photo"]
    with pytest.raises(RecipeError, match="Upload a photo first"):
        run(model, "record_photo")
    assert run(model).steps and len(lending.workers) == 1


def test_a_run_that_is_left_has_ended_before_the_next_begins(opened):
    model = opened()
    unet = model.pipeline.unet
    slow = unet.mid_block.register_forward_hook(lambda *_: time.sleep(0.2))
    before = len(unet._forward_pre_hooks)
    order = model.build_order(**FIELDS)
    task = zero.Task(zero._openings[model], "draw", order, (model.samplers[0], None, False), {}, 3)
    updates = zero._follow(task)
    assert next(updates)[0] == "step" and len(unet._forward_pre_hooks) > before
    updates.close()
    assert len(unet._forward_pre_hooks) == before  # its thread has left the model
    slow.remove()


def test_stop_ends_the_run_there(opened, lending):
    model, stopped, steps = opened(), threading.Event(), []

    def on_step(step, preview):
        steps.append(step)
        stopped.set()

    with pytest.raises(Stopped):
        run(model, on_step=on_step, stopped=stopped)
    assert steps == [0]
    assert run(model).steps and len(lending.workers) == 1  # the process is free again
