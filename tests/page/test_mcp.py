"""The endpoints as tools of the Model Context Protocol, asked by its own client. `make test` installs that."""

import asyncio
import importlib
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.chromium import server

ROOT = Path(__file__).parent.parent.parent
FOLDER = Path(sys.prefix) / "mcp"
CAPTION, RUN = "a round green monster", {"seed": 3, "steps": 4, "guidance": 2.5}
SELF = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder in which the server keeps traces."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def url(kept):
    assert FOLDER.is_dir(), "run `make test` or `make test-quick` once: both install the client"
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(FOLDER)
    try:
        with server("--mcp", "--allow-host", "pixels.example.org", "--cache", str(kept)) as (url, _):
            yield f"{url}/gradio_api/mcp/"
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture(scope="module")
def client():
    """The client's modules, on the path for these tests only."""
    sys.path.append(str(FOLDER))
    yield importlib.import_module("mcp"), importlib.import_module("mcp.client.streamable_http")
    sys.path.remove(str(FOLDER))


def talk(client, url, conversation, headers=None):
    """The outcome of `conversation(session)`."""
    mcp, http = client

    async def run():
        async with (
            http.streamablehttp_client(url, headers=headers) as (reading, writing, _),
            mcp.ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            return await conversation(session)

    return asyncio.run(asyncio.wait_for(run(), 120))


def test_the_tools_are_the_endpoints(client, url):
    tools = {tool.name: tool for tool in talk(client, url, lambda session: session.list_tools()).tools}
    assert set(tools) == {"list_models", "generate", "rows", "word_map", "record_trace"}
    asked = list(tools["rows"].inputSchema["properties"])
    assert asked == ["caption", "layer", "step", "row", "column", "seed", "steps", "guidance"]
    assert all(len(tool.description) > 40 for tool in tools.values())


def test_rows_are_numbers_and_the_picture_is_one(client, url):
    place = {"caption": CAPTION, "layer": SELF, "step": 2, "row": 0.5, "column": 0.26}
    answer = talk(client, url, lambda session: session.call_tool("rows", place | RUN))
    assert not answer.isError
    numbers = json.loads(answer.content[0].text.replace("'", '"'))
    assert numbers["cell"] == [16, 8] and np.allclose(np.array(numbers["maps"]).sum((1, 2)), 1, atol=1e-3)
    drawn = talk(client, url, lambda session: session.call_tool("generate", {"caption": CAPTION} | RUN))
    assert not drawn.isError and "image" in {part.type for part in drawn.content}


def test_mistakes_are_sentences(client, url):
    nowhere = {"caption": CAPTION, "layer": "nowhere", "step": 2, "row": 0.5, "column": 0.5}
    answer = talk(client, url, lambda session: session.call_tool("rows", nowhere))
    assert answer.isError and "There is no layer 'nowhere'" in answer.content[0].text
    assert "Traceback" not in answer.content[0].text


def test_the_guard_stands_in_front(url):
    question = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    kinds = {"accept": "application/json, text/event-stream"}

    def ask(**headers):
        return httpx.post(url, json=question, headers=kinds | headers, timeout=30).status_code

    assert ask() == ask(host="pixels.example.org") == 200
    assert ask(host="evil.example") == ask(origin="https://evil.example") == 403
    assert ask(origin="https://evil.example", **{"sec-fetch-site": "cross-site"}) == 403


class Caller:
    """A caller of tools by plain HTTP, who can leave at any moment."""

    def __init__(self, url: str) -> None:
        self.url, self.kinds = url, {"accept": "application/json, text/event-stream"}
        details = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
        answer = self.post({"id": 0, "method": "initialize", "params": details})
        self.kinds["mcp-session-id"] = answer.headers["mcp-session-id"]

    def post(self, message: dict) -> httpx.Response:
        return httpx.post(self.url, json={"jsonrpc": "2.0"} | message, headers=self.kinds, timeout=120)

    @contextmanager
    def generating(self, seed: int, steps: int):
        """A call of the tool, number 1, which has begun; its end closes the connection."""
        arguments = {"caption": CAPTION, "seed": seed, "steps": steps}
        params = {"name": "generate", "arguments": arguments, "_meta": {"progressToken": 1}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        with httpx.stream("POST", self.url, json=message, headers=self.kinds, timeout=120) as answer:
            lines = answer.iter_lines()  # kept: a stream is closed with its iterator
            next(line for line in lines if "Processing" in line)
            yield


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cancels", "leaves", "stays"])
def test_a_run_ends_when_its_caller_cancels_or_leaves(url, kept, how):
    """One run comes after the other, so by the second one's end the first is kept, unless it was stopped."""
    caller, another = Caller(url), Caller(url)
    seed = ["cancels", "leaves", "stays"].index(how)
    before = set(kept.rglob("*.safetensors"))
    with ExitStack() as connection:
        connection.enter_context(caller.generating(10 + seed, 12 if how == "stays" else 99))
        if how == "cancels":
            assert caller.post({"method": "notifications/cancelled", "params": {"requestId": 1}}).status_code == 202
        elif how == "leaves":
            connection.close()
        short = another.post(another_run(20 + seed))
        assert 'isError":false' in short.text
        time.sleep(3)  # writing takes part of a second
    assert len(set(kept.rglob("*.safetensors")) - before) == (2 if how == "stays" else 1)


def another_run(seed: int) -> dict:
    arguments = {"caption": CAPTION, "seed": seed, "steps": 1}
    return {"id": 1, "method": "tools/call", "params": {"name": "generate", "arguments": arguments}}


def test_without_the_package_there_is_a_sentence_and_nothing_is_imported():
    command = [sys.executable, "app.py", "--mcp"]
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.endswith("--mcp needs the package mcp in a version 1; found none. Install pixelgaze[mcp]\n")
