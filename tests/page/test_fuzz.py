"""Odd requests by the hundred, made from the API's own schema: each gets a sentence, and others notice nothing.

$PIXELGAZE_FUZZ is how many there are of each kind; 200 by default.
"""

import json
import os
from datetime import timedelta

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from viz.__main__ import build
from viz.page.gallery import exhibits
from viz.page.map_server import answer
from viz.page.menu import check_recipe
from viz.page.mistakes import exception_handlers

fuzz = settings(
    max_examples=int(os.environ.get("PIXELGAZE_FUZZ", 200)),
    deadline=timedelta(seconds=30),  # no request hangs
    suppress_health_check=list(HealthCheck),
)
TEXT = st.text(max_size=40)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.sampled_from(["path", "../../etc/passwd", "x" * 5_000, "\0", "<script>", "{{value}}", "${1}"])
)
JSON = st.recursive(
    LEAVES, lambda more: st.lists(more, max_size=4) | st.dictionaries(TEXT, more, max_size=4), max_leaves=8
)
# A run begins for words that the model knows, which the others do not hold.
BY_TYPE = {
    "string": TEXT.map(lambda text: f"qx{text}"),
    "integer": st.integers(),
    "number": st.floats(0, 1),
    "boolean": st.booleans(),
}
EXHIBIT = exhibits()[0]


@pytest.fixture(scope="module")
def url():
    page = build()
    handlers = {"exception_handlers": exception_handlers()}
    options = {"server_name": "127.0.0.1", "prevent_thread_lock": True, "quiet": True, "ssr_mode": False}
    _, url, _ = page.queue().launch(app_kwargs=handlers, **options)
    yield url
    page.close(verbose=False)


@pytest.fixture(scope="module")
def http(url):
    with httpx.Client(base_url=f"{url}gradio_api/", timeout=30) as connection:
        yield connection


@pytest.fixture(scope="module")
def endpoints(http) -> dict[str, list[str]]:
    """{name: the type of each parameter}, as the server describes them."""
    named = http.get("info").json()["named_endpoints"]
    return {name: [each["type"]["type"] for each in info["parameters"]] for name, info in named.items()}


@pytest.fixture(scope="module", autouse=True)
def others(http):
    """What others are answered is the same before and after."""
    before = _ask(http, "/models", [])
    yield
    assert _ask(http, "/models", []) == before and before.startswith("event: complete")


def _ask(http: httpx.Client, endpoint: str, values: list) -> str:
    """The stream that a call is answered with."""
    started = http.post(f"call{endpoint}", content=orjson.dumps({"data": values}), headers=HEADERS)
    assert started.status_code == 200, started.text
    return http.get(f"call{endpoint}/{started.json()['event_id']}").text


HEADERS = {"content-type": "application/json"}


def check(text: str) -> None:
    assert "Traceback" not in text and 'File "' not in text and "site-packages" not in text, text


def test_the_schema_is_that_of_the_endpoints(endpoints):
    assert set(endpoints) == {"/models", "/generate", "/rows", "/word_map", "/trace"}
    assert {kind for kinds in endpoints.values() for kind in kinds} <= set(BY_TYPE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["/generate", "/rows", "/word_map", "/trace"])
@fuzz
@given(data=st.data())
def test_values_of_any_kind_are_refused_in_a_sentence(http, endpoints, name, data):
    """One by one of the type that the schema names, or of any other; too few of them or too many."""
    kinds = endpoints[name]
    values = [data.draw(BY_TYPE[kind] if data.draw(st.booleans()) else JSON) for kind in kinds]
    values = values[: data.draw(st.sampled_from([0, 1, len(kinds), len(kinds), len(kinds)]))]
    values += data.draw(st.sampled_from([[], [], [], ["more"]]))
    try:
        body = orjson.dumps({"data": values})
    except TypeError:  # a whole number of more than 64 bits, which other programs may send
        body = json.dumps({"data": values}).encode()
    started = http.post(f"call{name}", content=body, headers=HEADERS)
    check(started.text)
    if started.status_code != 200:
        assert 400 <= started.status_code < 500, (values, started.text)
        return
    told = http.get(f"call{name}/{started.json()['event_id']}").text
    check(told)
    assert told.startswith("event: error"), (values, told[:300])


@fuzz
@given(
    path=st.sampled_from(["call/rows", "call/nowhere", "queue/join", "component_server", "reset", "cancel", "upload"]),
    body=st.dictionaries(
        st.sampled_from(["data", "fn_index", "session_hash", "event_data", "trigger_id", "component_id", "fn_name"]),
        JSON,
    )
    | JSON,
    kind=st.sampled_from(["application/json", "text/plain", "multipart/form-data", ""]),
)
def test_bodies_of_any_kind_are_no_fault_of_the_server(http, path, body, kind):
    answered = http.post(path, content=json.dumps(body).encode(), headers={"content-type": kind} if kind else {})
    check(answered.text)
    assert answered.status_code < 500, (path, body, answered.text)


def _changed(right: dict) -> st.SearchStrategy:
    """The right request with some of its fields replaced or left out, or anything at all."""

    def change(draw_from: tuple[dict, list[str]]) -> dict:
        odd, left_out = draw_from
        return {name: value for name, value in {**right, **odd}.items() if name not in left_out}

    names = st.sampled_from(sorted(right))
    return st.tuples(st.dictionaries(names, JSON, max_size=3), st.lists(names, max_size=1)).map(change) | JSON


REQUEST = {
    "path": str(EXHIBIT.trace),
    "page": "p",
    "turn": 1,
    "mode": "row",
    "special": False,
    "reading": None,
    "branch": None,
    "queries": [{"kind": "pixel", "point": [0.5, 0.5]}],
    "maps": [[0, 0, 0, -1]],
}


@fuzz
@given(request=_changed(REQUEST))
def test_the_map_server_answers_anything(request):
    answered = answer(request)
    assert {"turn"} < set(answered) and ("error" in answered or "numbers" in answered or "late" in answered)
    check(json.dumps(answered))


@fuzz
@given(recipe=_changed(EXHIBIT.recipe.to_json()))
def test_links_are_made_of_anything(recipe):
    answered = check_recipe(recipe)
    assert set(answered) in ({"recipe"}, {"problem"})
    check(json.dumps(answered))
