"""The endpoints for programs, through gradio_client and as raw HTTP."""

import json
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, exceptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from viz import Trace
from viz.__main__ import build

ROOT = Path(__file__).parent.parent.parent
CAPTION = "a round green monster"
RUN = {"seed": 3, "steps": 4, "guidance": 2.5}
SELF = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"
CROSS = SELF.replace("attn1", "attn2")


@pytest.fixture(scope="module")
def url():
    page = build()
    _, url, _ = page.queue().launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, ssr_mode=False)
    yield url
    page.close(verbose=False)


@pytest.fixture(scope="module")
def client(url, tmp_path_factory):
    return Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


@pytest.fixture(scope="module")
def http(url):
    with httpx.Client(base_url=f"{url}gradio_api/", timeout=30) as connection:
        yield connection


@pytest.fixture(scope="module")
def trace(client) -> Trace:
    """The run's trace, from the endpoint that has the whole file."""
    return Trace.load(client.predict(CAPTION, *RUN.values(), api_name="/trace"))


def test_models_lists_the_layers_that_are_recorded(client, trace):
    (model,) = client.predict(api_name="/models")
    assert model["name"] == "critters" and model["revision"] == trace.recipe["revision"]
    expected = [(layer.name, layer.kind, layer.heads, list(layer.grid)) for layer in trace]
    assert [(each["name"], each["kind"], each["heads"], each["grid"]) for each in model["layers"]] == expected


def test_generate_draws_the_picture_of_the_trace(client, trace):
    path = client.predict(CAPTION, **RUN, api_name="/generate")
    assert np.array_equal(np.asarray(Image.open(path)), trace.picture)


@pytest.mark.parametrize(("place", "cell"), [((0, 0), [0, 0]), ((0.5, 0.26), [16, 8]), ((1, 1), [31, 31])])
def test_rows_are_softmax_of_q_and_k(client, trace, place, cell):
    answer = client.predict(CAPTION, SELF, 2, *place, **RUN, api_name="/rows")
    maps, spec = np.array(answer.pop("maps")), trace.layers[SELF]
    timestep = trace.timesteps[2]
    assert answer == {"cell": cell, "layer": SELF, "step": 2, "timestep": timestep, "grid": [32, 32]}
    q, k = (store[("conditional", SELF, 2)].double().numpy() for store in (trace.queries, trace.keys))
    scores = np.einsum("hd,hmd->hm", q[:, cell[0] * 32 + cell[1]], k) * spec.scale
    expected = np.exp(scores - scores.max(-1, keepdims=True))
    expected /= expected.sum(-1, keepdims=True)
    assert maps.shape == (4, 32, 32) and np.abs(maps.reshape(4, -1) - expected).max() < 1e-6


def test_word_map_is_what_pixels_spend_on_a_word(client, trace):
    answer = client.predict(CAPTION, "green", CROSS, 2, **RUN, api_name="/word_map")
    q, k = (store[("conditional", CROSS, 2)].double().numpy() for store in (trace.queries, trace.keys))
    scores = np.einsum("hnd,hmd->hnm", q, k) * trace.layers[CROSS].scale
    spent = np.exp(scores - scores.max(-1, keepdims=True))
    spent /= spent.sum(-1, keepdims=True)
    tokens = [index for index, word in enumerate(CAPTION.split()) if word == "green"]  # a token for each word
    assert np.abs(np.array(answer["maps"]).reshape(4, -1) - spent[..., tokens].sum(-1)).max() < 1e-6
    assert (answer["word"], answer["grid"]) == ("green", [32, 32])


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/generate", ("", 3), "caption is empty"),
        ("/generate", (CAPTION, 3, 4, 1e9), "Guidance must be a number from 0 to 20"),
        ("/generate", ("qwertz uiop", 3, 4), "knows none of these words"),
        ("/rows", (CAPTION, "nowhere", 2, 0.5, 0.5), "no layer 'nowhere'; the endpoint models lists them"),
        ("/rows", (CAPTION, CROSS, 2, 0.5, 0.5), "ask word_map"),
        ("/rows", (CAPTION, SELF, 25, 0.5, 0.5), "The step must be a whole number from 0 to 24"),
        ("/rows", (CAPTION, SELF, 2, 1.5, 0.5), "The row must be a number from 0 to 1"),
        ("/word_map", (CAPTION, "green", SELF, 2), "ask rows"),
        ("/word_map", (CAPTION, "grene", CROSS, 2, *RUN.values()), "grene"),
    ],
)
def test_a_mistake_is_a_sentence(client, endpoint, arguments, message):
    with pytest.raises(exceptions.AppError, match=message):
        client.predict(*arguments, api_name=endpoint)


def test_endpoints_are_documented(url):
    endpoints = httpx.get(f"{url}gradio_api/info").json()["named_endpoints"]
    for name in ("/models", "/generate", "/rows", "/word_map"):
        assert len(endpoints[name]["description"]) > 40, name
    given_to = {name: [each["parameter_name"] for each in endpoints[name]["parameters"]] for name in endpoints}
    assert given_to["/rows"] == ["caption", "layer", "step", "row", "column", "seed", "steps", "guidance"]
    assert all(each["type"]["type"] != "any" for name in given_to for each in endpoints[name]["parameters"])


def test_the_example_of_the_readme_runs(url):
    blocks = re.findall(r"```py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (example,) = (block for block in blocks if "gradio_client" in block)
    assert len(example.split("\n\n")) <= 2 and len([line for line in example.splitlines() if line]) == 5
    names: dict = {}
    exec(compile(example.replace("http://127.0.0.1:7860", url), "README.md", "exec"), names)
    assert names["maps"].shape == (4, 32, 32) and np.allclose(names["maps"].sum((1, 2)), 1, atol=1e-3)


# Values that no run is begun for: every one of them makes the request wrong.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(max_value=-1),
    st.floats(max_value=-0.1),
    st.just(float("1e400")),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    st.just("x" * 1_000),
)
RIGHT = {
    "/rows": (CAPTION, SELF, 2, 0.5, 0.5, *RUN.values()),
    "/word_map": (CAPTION, "green", CROSS, 2, *RUN.values()),
    "/generate": (CAPTION, *RUN.values()),
}


@pytest.mark.parametrize("endpoint", sorted(RIGHT))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_odd_values_are_refused_in_a_sentence(http, trace, endpoint, data):
    arguments = list(RIGHT[endpoint])
    place = data.draw(st.integers(0, len(arguments) - 1))
    arguments[place] = data.draw(ODD)
    body = json.dumps({"data": arguments})
    started = http.post(f"call{endpoint}", content=body, headers={"content-type": "application/json"})
    if started.status_code != 200:  # JSON that is none
        assert "Infinity" in body and 400 <= started.status_code < 500, started.text
        return
    answer = http.get(f"call{endpoint}/{started.json()['event_id']}").text
    assert answer.startswith("event: error"), (arguments[place], answer[:200])
    assert "Traceback" not in answer and re.search(r"[a-z]{2,} [a-z]{2,}.*[.!?]", answer), answer
