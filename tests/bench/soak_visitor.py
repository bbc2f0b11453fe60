"""Visitors for `tests.bench.soak`: sessions of the page, and what they send the server, as a browser does."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from PIL import Image

from viz.page.gallery import first_trace
from viz.page.line import MOST_WAITING
from viz.page.links import encode
from viz.recipe import Recipe
from viz.trace_header import read_description
from viz.view import View

CAPTIONS = (
    "a round green monster with two eyes",
    "a fluffy monster",
    "a triangular red monster with two white eyes, yellow horns and a frowning mouth on a green background",
)
SEEDS = 30  # of each caption: some runs are in the store already, others are new
ROW_LAYER = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"
WORD_LAYER = ROW_LAYER.replace("attn1", "attn2")
_FIRST = read_description(first_trace())  # the trace that the page opens with
STEPS = len(_FIRST["timesteps"])
SELF = [i for i, layer in enumerate(_FIRST["layers"]) if any(keys["kind"] == "pixels" for keys in layer["keys"])]
VIEW = View((0.5, 0.4), ROW_LAYER, 0)
PAUSE = (0.2, 1.5)  # seconds between two actions of a visitor
PATIENCE = 300.0  # seconds that a visitor waits for a run


class Failed(Exception):
    """An answer that no visitor should get."""


class Refused(Exception):
    """The server is too busy, and says so in a sentence."""


@dataclass
class Log:
    """Seconds of each action, and what went wrong."""

    began: float = field(default_factory=time.monotonic)
    spent: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # {action: [(when, seconds)]}
    refused: Counter[str] = field(default_factory=Counter)
    left: int = 0
    late: list[float] = field(default_factory=list)  # seconds by which this process was late
    failures: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # to runs that were finished

    async def time(self, name: str, act: Callable[[], Awaitable[Any]]) -> Any:
        began = time.monotonic()
        try:
            outcome = await act()
        except Refused:
            self.refused[name] += 1
        except (Failed, httpx.HTTPError, KeyError, TypeError, ValueError) as error:
            self.failures.append(f"{name}: {type(error).__name__}: {error}"[:300])
        else:
            self.spent.setdefault(name, []).append((began - self.began, time.monotonic() - began))
            return outcome
        return None


class Visitor:
    """One session: a connection, the page's configuration, and what its buttons send."""

    def __init__(self, connection: httpx.AsyncClient, log: Log, chance: random.Random) -> None:
        self._http, self._log, self._chance = connection, log, chance
        self._session = uuid.uuid4().hex[:10]
        self._config: dict[str, Any] = {}
        self._shown: dict[str, Any] = {}  # the viewer's value

    async def visit(self, until: float) -> None:
        """Open the page, do something until `until` or for a while, and leave."""
        until = min(until, time.monotonic() + self._chance.uniform(20, 60))
        if await self._log.time("open the page", self._open) is None:
            return
        async with self._heartbeat():
            actions = [
                (60, "map from the server", self._point),
                (12, "draw a picture", self._generate),
                (8, "rows, for a program", self._rows),
                (6, "word map, for a program", self._word_map),
                (5, "upload and open a trace", self._upload),
                (4, "export as HTML", self._export),
                (5, "copy a link", self._copy_link),
            ]
            while time.monotonic() < until:
                ((_, name, act),) = self._chance.choices(actions, [often for often, *_ in actions])
                await self._log.time(name, act)
                await asyncio.sleep(self._chance.uniform(*PAUSE))
            if self._chance.random() < 0.3:
                await self._leave_halfway()

    @asynccontextmanager
    async def _heartbeat(self) -> AsyncIterator[None]:
        """The connection by which Gradio notices that a page was closed."""

        async def beat() -> None:
            with suppress(httpx.HTTPError):
                async with self._http.stream("GET", f"gradio_api/heartbeat/{self._session}", timeout=None) as stream:
                    async for _ in stream.aiter_raw():
                        pass

        beating = asyncio.create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

    async def open_link(self, link: str) -> dict | None:
        """Open the page with a link; returns the viewer's value if the trace was in the store."""
        await self._read_page()
        for event in self._events("load"):
            shown, *_ = await self._run(event, [], query=f"?look={link}")
            if isinstance(shown, dict) and "trace" in shown:
                return shown
        return None

    async def _read_page(self) -> None:
        text = self._checked(await self._http.get("")).text
        found = re.search(r"window\.gradio_config = (\{.*?\});</script>", text, re.DOTALL)
        if not found:
            raise Failed("the page has no configuration")
        self._config = json.loads(found.group(1))
        self._shown = self._component("viewer")["props"]["value"]

    async def _open(self) -> bool:
        await self._read_page()
        for event in self._events("load"):
            await self._run(event, [])
        self._checked(await self._http.get(self._shown["trace"]["url"].removeprefix(str(self._http.base_url))))
        return True

    async def _point(self) -> int:
        """A pixel in every layer at one step, computed by the server."""
        query = {"kind": "pixel", "point": [self._chance.random(), self._chance.random()]}
        request = {
            "path": self._shown["trace"]["path"],
            "page": self._session,
            "turn": int(time.monotonic() * 1000),
            "mode": "row",
            "special": False,
            "queries": [query],
            "maps": [[0, layer, self._chance.randrange(STEPS), -1] for layer in SELF],
        }
        body = {
            "session_hash": self._session,
            "component_id": self._component("viewer")["id"],
            "fn_name": "answer",
            "data": request,
        }
        answer = self._checked(await self._http.post("gradio_api/component_server", json=body)).json()
        if "numbers" not in answer:
            raise Failed(str(answer))
        return answer["done"]

    async def _copy_link(self) -> None:
        body = {
            "session_hash": self._session,
            "component_id": self._component("export")["id"],
            "fn_name": "check_recipe",
            "data": Recipe(self._chance.choice(CAPTIONS), self._chance.randrange(SEEDS), 3, 1.5).to_json(),
        }
        self._checked(await self._http.post("gradio_api/component_server", json=body))

    def _recipe(self) -> list[Any]:
        return [self._chance.choice(CAPTIONS), self._chance.randrange(SEEDS), self._chance.randint(2, 6), 1.5]

    async def _generate(self) -> None:
        recipe = self._recipe()
        (picture,) = await self._call("generate", recipe)
        content = self._checked(await self._http.get(f"gradio_api/file={picture['path']}")).content
        if Image.open(io.BytesIO(content)).size != (64, 64):
            raise Failed("no picture")
        self._log.links.append(encode(Recipe(*recipe), VIEW))

    async def _rows(self) -> None:
        caption, seed, steps, guidance = self._recipe()
        (outcome,) = await self._call("rows", [caption, ROW_LAYER, 1, 0.5, 0.4, seed, steps, guidance])
        sums = np.asarray(outcome["maps"]).sum(axis=(1, 2))
        if not np.allclose(sums, 1, atol=1e-3):
            raise Failed(f"rows sum to {sums}")

    async def _word_map(self) -> None:
        caption, seed, steps, guidance = self._recipe()
        await self._call("word_map", [caption, "monster", WORD_LAYER, 1, seed, steps, guidance])

    async def _upload(self) -> None:
        """Save what the viewer shows, and open it as one's own file."""
        address = self._shown["trace"]["url"].removeprefix(str(self._http.base_url))
        content = self._checked(await self._http.get(address)).content
        files = {"files": (f"{uuid.uuid4().hex}.safetensors", content)}
        (path,) = self._checked(await self._http.post("gradio_api/upload", files=files)).json()
        _, outcome = await self._run(self._events("dropped")[0], [], {"path": path})
        if outcome.get("message") != "Opened.":
            raise Failed(str(outcome))

    async def _export(self) -> None:
        event = self._events("saved")[0]
        (outcome,) = await self._run(event, [self._shown], {"view": VIEW.to_json()})
        if "file" not in outcome:
            raise Failed(str(outcome))
        content = self._checked(await self._http.get(f"gradio_api/file={outcome['file']['path']}")).content
        if not content.startswith(b"<!doctype html>") and not content.startswith(b"<!DOCTYPE html>"):
            raise Failed("no HTML file")

    async def _leave_halfway(self) -> None:
        """Begin a long run, and go away."""
        with suppress(asyncio.TimeoutError, Refused, Failed, httpx.HTTPError):
            recipe = [self._chance.choice(CAPTIONS), self._chance.randrange(10**6), 100, 1.5]
            await asyncio.wait_for(self._call("generate", recipe), self._chance.uniform(0.3, 2))
        self._log.left += 1

    async def _call(self, name: str, data: list[Any]) -> list[Any]:
        dependency = next(each for each in self._config["dependencies"] if each["api_name"] == name)
        return await self._run(dependency, data)

    async def _run(
        self, dependency: dict, data: list[Any], event_data: dict | None = None, query: str = ""
    ) -> list[Any]:
        """What an event returns, which the queue streams. The session has no other."""
        body = {
            "data": data,
            "event_data": event_data,
            "fn_index": dependency["id"],
            "trigger_id": dependency["targets"][0][0] if dependency["targets"] else None,
            "session_hash": self._session,
        }
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._outcome(body, query)
        except TimeoutError as error:
            raise Failed(f"no outcome after {PATIENCE:.0f} seconds") from error

    async def _outcome(self, body: dict[str, Any], query: str) -> list[Any]:
        joined = await self._http.post(f"gradio_api/queue/join{query}", json=body)
        if joined.status_code == 503:
            raise Refused
        event = self._checked(joined).json()["event_id"]
        path = f"gradio_api/queue/data?session_hash={self._session}"
        # The server's heartbeats keep the stream alive however long an outcome takes.
        async with self._http.stream("GET", path, timeout=PATIENCE) as stream:
            async for line in stream.aiter_lines():
                message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if message.get("event_id") not in (None, event):
                    continue
                if message.get("msg") == "process_completed":
                    output = message["output"]
                    if message["success"]:
                        return output.get("data") or []
                    raise _problem(output)
        raise Failed("the stream ended before the outcome")

    def _events(self, name: str) -> list[dict]:
        found = [
            each
            for each in self._config["dependencies"]
            if any(event == name for _, event in each["targets"]) and not each["cancels"]
        ]
        if not found:
            raise Failed(f"the page has no event “{name}”")
        return found

    def _component(self, name: str) -> dict:
        return next(each for each in self._config["components"] if each["props"].get("elem_id") == name)

    @staticmethod
    def _checked(response: httpx.Response) -> httpx.Response:
        if response.status_code in (503, 507):  # too many wait; the uploads' quota is used up
            raise Refused
        begins = response.content[:10_000]  # `text` would decode whole traces, and make this process late
        if response.status_code != 200 or b"Traceback" in begins:
            raise Failed(f"{response.status_code} {begins[:200].decode(errors='replace')}")
        return response


def _problem(output: dict) -> Exception:
    text = str(output.get("error"))
    is_busy = text.startswith(f"{MOST_WAITING} runs are waiting") or "queue is full" in text.lower()
    return Refused(text) if is_busy else Failed(text)
