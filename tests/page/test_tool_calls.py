"""Calls of tools, without a tool: labelled, told apart, cancelled by whoever made them, and noticed when they leave."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest

from viz.page import callers, tool_calls
from viz.page.tool_calls import LABEL, SESSION, ToolCalls, call_of


class Client:
    """Sends requests to the middleware. The application behind it notes them, and answers once `answer` is set."""

    def __init__(self) -> None:
        self.app, self.answer = ToolCalls(self._app), asyncio.Event()
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.answer.set()

    async def _app(self, scope, receive, send) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part["body"], part["more_body"]
        self.seen.append(({name.decode(): value.decode() for name, value in scope["headers"]}, body))
        await self.answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send(self, message, path="/gradio_api/mcp/", address="1.2.3.4", **headers) -> tuple[int, dict[str, str]]:
        """The status and the headers of the answer."""
        content = message if isinstance(message, bytes) else json.dumps(message).encode()
        parts = [content[:7], content[7:]]

        async def receive():
            if not parts:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        answers = []

        async def send(answer):
            answers.append(answer)

        lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": path, "headers": lines, "client": (address, 1)}
        await self.app(scope, receive, send)
        return answers[0]["status"], {name.decode(): value.decode() for name, value in answers[0]["headers"]}

    def begin(self, message, **options) -> asyncio.Task:
        self.answer.clear()
        return asyncio.create_task(self.send(message, **options))


def call(number) -> dict:
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "generate"}}


def cancel(number) -> dict:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}


def run(conversation) -> None:
    async def within_a_time():
        await asyncio.wait_for(conversation(Client()), 20)

    asyncio.run(within_a_time())


async def begun(client: Client, count: int) -> list:
    """The requests that the application has seen, as its endpoints get them."""
    while len(client.seen) < count:
        await asyncio.sleep(0.01)
    return [SimpleNamespace(headers=headers, session_hash="Gradio's own") for headers, _ in client.seen]


def test_calls_of_two_callers_count_for_two_sessions():
    async def conversation(client):
        named = {SESSION.replace("-", "_"): "one"}
        tasks = [client.begin(call(1), **named), client.begin(call(1)), client.begin(call(1), address="5.6.7.8")]
        requests = await begun(client, 3)
        assert len({request.headers[LABEL] for request in requests}) == 3
        assert [callers.session_of(request) for request in requests] == [
            "tools one",
            "tools of 1.2.3.4",
            "tools of 5.6.7.8",
        ]
        client.answer.set()
        await asyncio.gather(*tasks)
        assert not tool_calls._calls
        assert all(call_of(request).gone.is_set() for request in requests)  # they are over

    run(conversation)


def test_only_the_caller_cancels_a_call():
    async def conversation(client):
        one, other = ({SESSION.replace("-", "_"): name} for name in ("one", "other"))
        tasks = [client.begin(call(3), **one), client.begin(call(3), **other), client.begin(call(4), **one)]
        requests = await begun(client, 3)
        client.begin(cancel(3), **one)
        await begun(client, 4)
        assert [call_of(request).gone.is_set() for request in requests] == [True, False, False]
        client.begin(cancel("3"), **other)
        client.begin({"method": "notifications/cancelled", "params": None}, **other)
        await begun(client, 6)
        assert not call_of(requests[1]).gone.is_set()
        client.answer.set()
        await asyncio.gather(*tasks)

    run(conversation)


def test_a_closed_connection_ends_a_call():
    async def conversation(client):
        task = client.begin(call(1))
        (request,) = await begun(client, 1)
        found = call_of(request)
        assert not found.gone.is_set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert found.gone.is_set() and call_of(request).gone.is_set()

    run(conversation)


def test_a_label_of_ones_own_is_replaced_and_elsewhere_means_nothing():
    async def conversation(client):
        await client.send(call(1), x_pixelgaze_call="mine")
        ((headers, _),) = client.seen
        assert headers[LABEL] != "mine"
        await client.send(call(1), path="/gradio_api/queue/join")
        assert LABEL not in client.seen[1][0]
        assert call_of(SimpleNamespace(headers={LABEL: "mine"})).gone.is_set()
        assert call_of(SimpleNamespace(headers={})) is call_of(None) is None

    run(conversation)


def test_callers_are_named_when_they_introduce_themselves():
    async def conversation(client):
        names = [(await client.send({"method": "initialize", "id": 0}))[1][SESSION] for _ in range(2)]
        assert len(set(names)) == 2 and all(len(name) == 32 for name in names)
        assert SESSION not in (await client.send({"method": "tools/list", "id": 1}))[1]

    run(conversation)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"3", b"[" * 100_000, b"\xff\xfe", b'{"method": ["tools/call"]}'])
def test_other_bodies_are_passed_on_as_they_are(body):
    async def conversation(client):
        await client.send(body)
        assert client.seen == [({}, body)]

    run(conversation)


def test_large_bodies_are_passed_on_and_not_read_whole(monkeypatch):
    monkeypatch.setattr(tool_calls, "MOST_BYTES", 5)
    body = json.dumps(call(1)).encode()

    async def conversation(client):
        await client.send(body)
        assert client.seen == [({}, body)]

    run(conversation)


def test_only_so_many_tools_run_at_once(monkeypatch):
    monkeypatch.setattr(tool_calls, "MOST_CALLS", 2)

    async def conversation(client):
        tasks = [client.begin(call(number)) for number in range(2)]
        await begun(client, 2)
        assert (await client.send(call(9)))[0] == 503
        client.answer.set()
        await asyncio.gather(*tasks)
        assert (await client.send(call(9)))[0] == 200

    run(conversation)
