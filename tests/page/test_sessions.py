"""A new session is described as before, without what took Gradio long."""

from __future__ import annotations

import inspect
from datetime import timedelta

import gradio as gr
from gradio.data_classes import FileData
from gradio.state_holder import SessionState, StateHolder

from viz.page.sessions import forget, quicken


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


def test_sessions_without_a_page_go_once_they_are_not_used():
    page = lay_out()
    holder = StateHolder()
    holder.set_blocks(page)
    page.state_holder = holder
    for name in ("open", "closed", "used"):
        assert holder[name] is holder[name]
    for name in ("open", "closed"):
        holder.time_last_used[name] -= timedelta(seconds=200)
    forget(page, lambda session: session == "open", grace=180)
    assert sorted(holder.session_data) == sorted(holder.time_last_used) == ["open", "used"]
    forget(page, lambda session: session == "open", grace=0)
    assert list(holder.session_data) == ["open"]
