"""Messages for visitors."""

import gradio as gr
import pytest

from viz.page.notices import as_sentence, warn, without_folders


def test_warn_escapes_html(monkeypatch):
    messages = []
    monkeypatch.setattr(gr, "Warning", messages.append)
    warn("<img src=x onerror=alert(1)> & “quotes”")
    assert messages == ["&lt;img src=x onerror=alert(1)&gt; &amp; “quotes”"]


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("height must be even", "Height must be even."),
        ("was the download cut short?", "Was the download cut short?"),
        ("bad.safetensors is not complete", "bad.safetensors is not complete."),
        ("google/ddpm is not there.", "google/ddpm is not there."),
        ("FluxPipeline has no U-Net", "FluxPipeline has no U-Net."),
    ],
)
def test_as_sentence_adds_capital_and_full_stop(message, sentence):
    assert as_sentence(ValueError(message)) == sentence


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ("a.json in /srv/models/x cannot be read", "a.json in x cannot be read"),
        ("[Errno 2] No such file: '/home/ann/.cache/hub/w.safetensors'", "[Errno 2] No such file: 'w.safetensors'"),
        ("see https://huggingface.co/docs/hub or google/ddpm", "see https://huggingface.co/docs/hub or google/ddpm"),
        ("(/a/b/c; /d)", "(c; /d)"),
    ],
)
def test_without_folders_keeps_names_of_files_and_addresses(message, left):
    assert without_folders(message) == left
