"""What a notebook's cell shows of a trace. That it works is seen in tests/browser/test_notebook.py."""

import html
import re
from dataclasses import replace

import torch

from tests.support.traces import trace_of_odds, trace_of_segments
from viz import Trace
from viz.notebook import as_html

HOSTILE = '"></iframe><script>alert(1)</script>'


def frame(text: str) -> re.Match:
    match = re.fullmatch(
        r'<iframe title="([^"]*)" sandbox="([^"]*)" allow="fullscreen" style="[^"]*" srcdoc="([^"]*)"></iframe>', text
    )
    assert match, text[:200]
    return match


def test_repr_html_is_one_frame_of_its_own_origin_with_the_whole_file():
    title, sandbox, document = frame(trace_of_segments()._repr_html_()).groups()
    assert title == "PixelGaze: a red monster"
    assert sandbox.split() == ["allow-scripts", "allow-downloads"]  # with allow-same-origin it could read the notebook
    page = html.unescape(document)
    assert page.startswith("<!doctype html>") and "default-src 'none'" in page and 'id="pg-trace"' in page


def test_text_of_a_trace_cannot_leave_the_frame():
    trace = replace(trace_of_segments(), recipe={"caption": HOSTILE})
    assert html.unescape(frame(as_html(trace)).group(1)) == f"PixelGaze: {HOSTILE}"
    summary = as_html(trace, largest=10)
    assert "<script" not in summary and html.escape(HOSTILE) in summary


def test_too_large_a_trace_is_a_sentence_and_a_summary():
    trace = trace_of_segments()
    half = sum(tensor.numel() * 2 for store in (trace.queries, trace.keys) for tensor in store.values())
    assert as_html(trace, largest=half).startswith("<iframe")
    text = as_html(trace, largest=half - 1)
    assert "too large for the output of a cell" in text and "trace.select(steps=trace.steps[::4])" in text
    for fact in ("a red monster", "3 (", "cross-attention", "picture 1 of 2, picture 2 of 2", "1 modules"):
        assert fact in text, fact
    assert "<iframe" not in text


def test_trace_that_cannot_be_pointed_at_says_so():
    some = trace_of_odds().select(queries=(0.2, 0.2))
    assert "keeps only the queries that were asked for" in some._repr_html_()


def test_trace_with_numbers_too_large_for_a_browser_says_so():
    trace = trace_of_odds()
    key = next(iter(trace.queries))
    trace.queries = {key: torch.full_like(trace.queries[key], 1e6)}
    assert "<iframe" not in (text := trace._repr_html_()) and "<table>" in text
    assert "half" in text or "float16" in text


def test_empty_trace_says_so():
    assert "Nothing has been recorded" in Trace()._repr_html_()
