"""A new session is described as before, without what took Gradio long."""

from __future__ import annotations

import inspect

import gradio as gr
from gradio.data_classes import FileData
from gradio.state_holder import SessionState

from viz.page.sessions import quicken


def lay_out() -> gr.Blocks:
    with gr.Blocks() as page:
        gr.UploadButton("Upload…")
        gr.Number(3)
        gr.Dropdown(["a", "b"], label="Letter")
        gr.State([1])
    return page


def described(page: gr.Blocks) -> dict:
    return SessionState(page).config_values


def test_sessions_are_described_as_before(monkeypatch):
    page = lay_out()
    before = described(page)
    quicken(page)
    assert described(page) == before and len(before) >= 4
    changed = described(page)
    changed[next(iter(page.blocks))]["props"].clear()
    for config in changed.values():
        config.get("api_info", {}).clear()
    assert described(page) == before  # what one session does to its own is no other's business


def test_sessions_need_no_signatures_and_no_schemas(monkeypatch):
    page = lay_out()
    quicken(page)
    slow: list[str] = []

    def signature_of(*_, **__):
        slow.append("signature")
        raise AssertionError

    monkeypatch.setattr(inspect, "_signature_from_function", signature_of)
    monkeypatch.setattr(FileData, "model_json_schema", lambda *_, **__: slow.append("schema"))
    described(page)
    assert slow == []
