"""Odd events and requests: each gets a sentence, none a traceback or status 500, and nothing changes for others."""

from __future__ import annotations

import inspect
import json
from typing import Any

import gradio as gr
import httpx
import orjson
import pytest

from viz.__main__ import build
from viz.page.events import OddEvent, number_in, path_in, value_in
from viz.page.gallery import exhibits
from viz.page.map_server import answer
from viz.page.menu import check_recipe
from viz.page.mistakes import exception_handlers

NAN = float("nan")
PLACE = {"kind": "pixel", "point": [0.5, 0.5]}
VIEW = {"point": [0.5, 0.5], "layer": exhibits()[0].layer, "step": 16}
PATH = str(exhibits()[0].trace)
# In the bodies of requests, so without NaN, which JSON lacks.
ODD: list[Any] = [None, [], {}, "text", "path", 3, -1, 10**18, 1e300, True, [{}], {"a": {"b": [None] * 9}}, ["x"] * 100]
FIELDS = ("view", "path", "index", "layer", "step", "recipe", "size", "number", "region", "caption", "seed", "lines")


def event(data: Any) -> gr.EventData:
    return gr.EventData(None, data)


@pytest.mark.parametrize("data", ODD)
def test_value_in_is_none_unless_the_data_is_an_object_that_has_it(data):
    assert value_in(event(data), "index") is None
    with pytest.raises(OddEvent):
        number_in(event(data), "index", 5)


@pytest.mark.parametrize("index", [-1, 5, 10**30, True, "1", 1.5, NAN, None, [1], {}])
def test_number_in_refuses_what_is_no_index(index):
    with pytest.raises(OddEvent, match="was not understood"):
        number_in(event({"index": index}), "index", 5)


def test_number_in_and_path_in_take_what_the_page_sends():
    assert number_in(event({"index": 4}), "index", 5) == 4 == number_in(event({"index": 4.0}), "index", 5)
    assert path_in({"trace": {"path": "x"}}) == "x"


@pytest.mark.parametrize("value", [*ODD, {"trace": None}, {"trace": "x"}, {"trace": {}}])
def test_path_in_refuses_other_values(value):
    with pytest.raises(OddEvent):
        path_in(value)


REQUEST = {
    "path": PATH,
    "page": "p",
    "turn": 1,
    "mode": "row",
    "special": False,
    "queries": [PLACE],
    "maps": [[0, 0, 0, -1]],
}


def test_answer_answers_the_request_that_is_made_odd_below():
    assert answer(REQUEST)["done"] == 1


@pytest.mark.parametrize("field", REQUEST)
@pytest.mark.parametrize("odd", [*ODD, 10**30, NAN, float("inf"), "\0", "x" * 5000, [[NAN, 0, 0, 0]], [[10**30] * 4]])
def test_answer_says_what_is_wrong_in_json(field, odd):
    said = answer(REQUEST | {field: odd})
    assert orjson.loads(orjson.dumps(said)) == said
    if "error" in said:
        assert said["turn"] == -1 and said["error"].strip()
    else:
        assert field in ("page", "turn", "mode", "special", "maps")  # these may be such values


@pytest.mark.parametrize("odd", [*ODD, 10**30, NAN])
def test_server_functions_take_anything(odd):
    for recipe in (odd, {"caption": odd}, {"caption": "a red monster", "seed": odd, "model": odd}):
        said = check_recipe(recipe)
        assert said.get("recipe") or said["problem"].startswith("No link")
        orjson.dumps(said)
    assert answer(odd)["error"]


@pytest.fixture(scope="module")
def server():
    """The whole page over HTTP: its address, and the page."""
    page = build()
    _, url, _ = page.queue().launch(
        prevent_thread_lock=True, quiet=True, app_kwargs={"exception_handlers": exception_handlers()}
    )
    yield url, page
    page.close()


def run_events(url: str, bodies: list[dict]) -> list[dict]:
    """Send events of one page, and wait for the last message about each."""
    names = []
    for body in bodies:
        joined = httpx.post(f"{url}gradio_api/queue/join", json=body | {"session_hash": "odd"})
        assert joined.status_code in (200, 400, 422), (body, joined.text)
        names += [joined.json()["event_id"]] if joined.status_code == 200 else []
    done: list[dict] = []
    with httpx.stream("GET", f"{url}gradio_api/queue/data?session_hash=odd", timeout=120) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if message.get("msg") == "process_completed":
                done.append(message)
            if len(done) == len(names):
                return done
    raise AssertionError("the stream ended")


def takes_event(function: Any) -> bool:
    return "EventData" in str(inspect.signature(function))


def test_odd_events_leave_no_traceback(server, capfd, caplog):
    """Every listener that reads an event's data, over HTTP, with data and fields of every kind."""
    url, page = server
    listeners = [fn for fn in page.fns.values() if fn.fn is not None and takes_event(fn.fn)]
    assert len(listeners) >= 9
    # Gradio itself refuses text as a path, with a sentence of its own.
    pairs = list(zip(FIELDS * 2, [*ODD[5:], *ODD, *ODD], strict=False))
    odd = [*ODD, *({field: None if field == "path" else value} for field, value in pairs)]
    for fn in listeners:
        values = [getattr(each, "value", None) for each in fn.inputs]
        bodies = [{"data": values, "fn_index": fn._id, "event_data": data} for data in odd]
        done = run_events(url, bodies)
        failed = [message["output"] for message in done if not message["success"]]
        assert failed == [], (fn.fn, failed[:1])
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err + caplog.text


@pytest.mark.parametrize("body", [*ODD, {"fn_name": "answer"}, {"component_id": 10**18, "fn_name": "answer"}])
def test_odd_requests_to_gradio_are_refused_without_status_500(server, body, capfd):
    url, _ = server
    for path in ("component_server", "queue/join", "run/predict", "call/trace", "call/rows"):
        assert httpx.post(f"{url}gradio_api/{path}", json=body, timeout=30).status_code in (
            200,
            400,
            404,
            405,
            422,
            503,
        )
    assert "Traceback" not in "".join(capfd.readouterr())
