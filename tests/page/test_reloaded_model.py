"""The model box after a reload, which is another session: the model, the fields, and what a tab could send instead."""

import math
from types import SimpleNamespace

import gradio as gr
import pytest

from viz.page import open_models as module
from viz.page import public
from viz.page.open_models import ELSEWHERE, GONE, OpenModels
from viz.page.progress import ProgressStrip
from viz.page.tabs import model_box, own_model, reloaded_model
from viz.page.viewer import Viewer

BEFORE, AFTER = SimpleNamespace(session_hash="before"), SimpleNamespace(session_hash="after")


@pytest.fixture
def messages(monkeypatch):
    """The messages shown so far."""
    messages: list[str] = []
    monkeypatch.setattr(reloaded_model, "inform", messages.append)
    return messages


@pytest.fixture
def handlers(models, monkeypatch, messages):
    opened = OpenModels()
    for each in (own_model, reloaded_model):
        monkeypatch.setattr(each, "open_models", opened)
    monkeypatch.setattr(module, "HANDOVER", 0.0)
    with gr.Blocks():
        box = model_box.lay_out()
        handlers = own_model.Handlers(box, Viewer(), ProgressStrip())
        own_model.wire(box, handlers.viewer, handlers.strip)
    return handlers


def open_named(handlers, name) -> str:
    """Open a model before the reload; returns the token that the tab keeps."""
    box = handlers.box
    values = {part: getattr(part, "value", None) for part in vars(box).values()}
    *_, outputs = handlers.open_name(values | {box.name: name, box.dtype: "float32", box.device: "cpu"}, BEFORE)
    return outputs[box.kept]["token"]


def bring_back(handlers, **data) -> dict:
    """The outputs by the names of the components."""
    outputs = handlers.bring_back(gr.EventData(None, data), AFTER)
    names = {part: name for name, part in vars(handlers.box).items()}
    return {names[part]: value for part, value in outputs.items()}


def test_box_is_as_it_was(handlers, messages):
    token = open_named(handlers, "Stable-Diffusion")
    samplers = own_model.open_models.get("before", "Stable-Diffusion").samplers
    filled = {
        "prompt": "a red\nmonster",
        "negative": "",
        "steps": 4,
        "guidance": 3.5,
        "seed": 9,
        "height": 24,
        "width": 32,
    }
    filled |= {"sampler": samplers[1], "thin": True, "both": True, "name": "Stable-Diffusion", "dtype": "bfloat16"}
    shown = bring_back(handlers, token=token, fields=filled | {"config": "", "device": "cpu"}, unfolded=True)
    assert shown["model"] == "Stable-Diffusion" and shown["status"].startswith("Stable-Diffusion is open: ")
    assert shown["settings"].visible and shown["words"].visible and shown["fold"].open and not shown["mask"].visible
    assert tuple(choice for _, choice in shown["sampler"].choices) == samplers
    plain = {name: getattr(shown[name], "value", shown[name]) for name in filled}
    assert plain == filled and shown["guidance"].visible and shown["both"].visible and shown["device"] == "cpu"
    assert shown["kept"] == {"token": token} and messages == [] and "config" not in shown
    assert own_model.open_models.get("after", "Stable-Diffusion")


def test_what_was_not_kept_is_as_after_opening(handlers):
    token = open_named(handlers, "DDPM")
    shown = bring_back(handlers, token=token)
    assert (shown["height"], shown["width"]) == (16, 16) and shown["sampler"].value == "DDPMScheduler"
    assert "fold" not in shown and "steps" not in shown and not shown["words"].visible


def test_tab_whose_model_is_gone_or_elsewhere_is_told_once_and_forgets_it(handlers, messages, monkeypatch):
    token = open_named(handlers, "DDPM")
    monkeypatch.setattr(module, "is_open", lambda session: True)
    for shown, sentence in ((token, ELSEWHERE), ("guessed", GONE), (None, GONE), ([token], GONE)):
        assert bring_back(handlers, token=shown) == {"status": sentence, "kept": {"token": None}}
        assert messages.pop() == sentence
    assert own_model.open_models.get("before", "DDPM")


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("prompt", 7),
        ("prompt", "x" * 10_001),
        ("negative", "\ud800"),
        ("steps", "4"),
        ("steps", True),
        ("seed", math.nan),
        ("seed", 10**400),
        ("guidance", math.inf),
        ("sampler", "EulerDiscreteScheduler; DROP"),
        ("dtype", "float64"),
        ("device", ["cpu"]),
        ("thin", "yes"),
        ("name", {"a": 1}),
    ],
)
def test_odd_values_are_left_out(handlers, name, odd):
    token = open_named(handlers, "DDPM")
    usual, shown = bring_back(handlers, token=token), bring_back(handlers, token=token, fields={name: odd})
    assert shown.keys() == usual.keys()
    value = getattr(shown.get(name), "value", shown.get(name))
    assert value == getattr(usual.get(name), "value", usual.get(name))
    for fields in (None, [odd], "prompt"):
        assert bring_back(handlers, token=token, fields=fields).keys() == usual.keys()


def test_public_page_takes_back_no_name_that_it_does_not_offer(models, monkeypatch):
    monkeypatch.setattr(public, "_caps", public.Caps())
    with gr.Blocks():
        box = model_box.lay_out()
    model = SimpleNamespace(samplers=("DDPMScheduler",))
    assert reloaded_model._checked(box, model, {"name": "google/ddpm-cifar10-32"}) == {}
    assert reloaded_model._checked(box, model, {"name": "DDPM"}) == {"name": "DDPM"}
