"""The endpoints as tools of the Model Context Protocol, asked by its own client. `make test` installs that."""

import asyncio
import importlib
import json
import os
import subprocess
import sys
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
def url():
    assert FOLDER.is_dir(), "run `make test` or `make test-quick` once: both install the client"
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(FOLDER)
    try:
        with server("--mcp", "--allow-host", "pixels.example.org") as (url, _):
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


def test_without_the_package_there_is_a_sentence_and_nothing_is_imported():
    command = [sys.executable, "app.py", "--mcp"]
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.endswith("--mcp needs the package mcp in a version 1; found none. Install pixelgaze[mcp]\n")
