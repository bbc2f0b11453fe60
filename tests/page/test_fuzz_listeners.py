"""Every private listener of the page, called with odd values and odd event data: none raises, whatever is sent.

$PIXELGAZE_FUZZ is how many calls there are of each; a tenth of 200 by default. Over HTTP: `test_events.py`.
"""

import asyncio
import math
import os
import traceback
from datetime import timedelta
from pathlib import Path

import gradio as gr
import pytest
from gradio.state_holder import SessionState
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import viz
from viz.__main__ import build
from viz.page.gallery import exhibits

fuzz = settings(
    max_examples=int(os.environ.get("PIXELGAZE_FUZZ", 20)),
    deadline=timedelta(seconds=30),  # none hangs
    suppress_health_check=list(HealthCheck),
)
# Without "/": a name with one of them is looked up on the Hub.
TEXT = st.text(st.characters(exclude_characters="/"), max_size=30)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | TEXT
    | st.sampled_from(["../../etc/passwd", "x" * 5_000, "\0", "<script>", "{{value}}", math.inf, 10**400])
)
JSON = st.recursive(
    LEAVES, lambda more: st.lists(more, max_size=4) | st.dictionaries(TEXT, more, max_size=4), max_leaves=6
)
EXHIBIT = exhibits()[0]
RIGHT = {
    "view": {"point": [0.5, 0.5], "layer": EXHIBIT.layer, "step": EXHIBIT.step},
    "path": str(EXHIBIT.trace),
    "layer": EXHIBIT.layer,
    "recipe": EXHIBIT.recipe.to_json(),
    "size": [64, 64],
} | dict.fromkeys(("index", "step", "number", "region", "seed"), 1)
FIELDS = (*RIGHT, "caption", "lines", "outside", "beside", "token", "fields")
EVENTS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4).map(lambda odd: RIGHT | odd) | JSON
SOURCES = str(Path(viz.__file__).parent)
PAGE = build()
LISTENERS = [fn for fn in PAGE.fns.values() if fn.fn is not None and fn.api_visibility == "private"]


@pytest.fixture(scope="module")
def session() -> SessionState:
    return SessionState(PAGE)


def test_there_are_listeners():
    assert len(LISTENERS) > 25


@pytest.mark.parametrize("fn", LISTENERS, ids=lambda fn: f"{fn._id}-{getattr(fn.fn, '__name__', 'function')}")
@fuzz
@given(data=st.data())
def test_no_listener_raises(session, fn, data):
    """What Gradio itself refuses before it calls the listener, such as text in place of a number, is not counted."""
    usual = [getattr(each, "value", None) for each in fn.inputs]
    values = [data.draw(JSON) if data.draw(st.integers(0, 2)) == 0 else value for value in usual]
    request = gr.Request(session_hash="odd", query_params={"look": data.draw(TEXT)})
    event = gr.EventData(None, data.draw(EVENTS))
    try:
        asyncio.run(PAGE.process_api(fn, values, state=session, request=request, event_data=event))
    except Exception as error:
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(SOURCES)]
        assert not ours, (values, error, ours)
