"""Maps of traces that are too big for the browser. `viz/web/core/remote_answers.js` sends the requests.

They are computed in a process of their own (`viz.page.map_process`), and in this one while that starts.
"""

from __future__ import annotations

from typing import Any, get_args

import gradio as gr

from viz.page.callers import departed
from viz.page.line import Stopped
from viz.page.map_answers import NOT_UNDERSTOOD, Asked, compute
from viz.page.map_process import MapProcess
from viz.page.served import served_path
from viz.view import Mode, Reading, ViewError, query_from_json

MAX_MAPS, MAX_QUERIES = 5_000, 32  # in one request

map_process: MapProcess | None = None  # of a server; see `compute_elsewhere`


def compute_elsewhere() -> None:
    """From now on, compute maps in a process of their own."""
    global map_process
    map_process = map_process or MapProcess()


def answer(request: dict, caller: gr.Request | None = None) -> dict:
    """Maps of queries, for a page that shows a trace of this server.

    Args:
        request: {"path": the trace's file, "page": the page's own name, "turn": a number that grows, "mode": "row",
            "column", or "shares" for what places spend on words, "special": whether to subtract the mean row,
            "reading", "branch": as views hold them, optional, "queries": likewise, "maps": [[index of the query, of the
            layer, of the step, a head or -1 for the mean of all], …]}. Layers are those of `viz.query.Maps.layers`.
        caller: the page's request; nothing more is computed once it has been left.

    Returns:
        {"turn", "done": how many of the maps were computed, at least the first, "numbers": those in half precision,
        times uniform, one after another, in base64}; {"turn", "late": True} if the same page has asked again in the
        meantime, or others take long; {"turn", "error": a sentence} if the request is malformed, the trace is gone, or
        a layer has no map at a step or of a query; with "refused", the number of a map that takes too much, so that
        the page does not ask for it again. Maps are on `viz.query.map_grid`. Shares are one number for each key that
        belongs to a word, in the order of `viz.words.words_of_layer`, and not times uniform.
    """
    is_gone = departed(caller)
    try:
        asked = _parse(request)
        found = map_process.ask(asked, is_gone) if map_process is not None else None
        return compute(asked, is_gone) if found is None else found
    except Stopped:
        return {"turn": -1, "late": True}
    except (PermissionError, ViewError) as error:
        return {"turn": -1, "error": str(error)}
    except (KeyError, TypeError, IndexError, OverflowError, AttributeError, ValueError):
        return {"turn": -1, "error": NOT_UNDERSTOOD}


def _parse(request: dict) -> Asked:
    """A request from a browser; raises PermissionError or ViewError with a sentence, or others if it is malformed."""
    path, page, turn = served_path(request["path"]), str(request["page"])[:40], _turn(request["turn"])
    queries = tuple(query_from_json(query) for query in request["queries"][:MAX_QUERIES])
    maps = tuple(_four(each) for each in request["maps"][:MAX_MAPS])
    return Asked(path, page, turn, queries, maps, shares=request["mode"] == "shares", **_way(request))


def _turn(value: object) -> int:
    """A request's turn; TypeError for anything but a whole number that JSON can carry back."""
    if type(value) is not int or not 0 <= value < 2**53:
        raise TypeError("no turn")
    return value


def _four(values: Any) -> tuple[int, int, int, int]:
    query, layer, step, head = map(int, values)
    return query, layer, step, head


def _way(request: dict) -> dict[str, Any]:
    """How all queries of a request are asked, as `Maps.one` takes it; ViewError for an unknown reading or branch."""
    reading, branch = request.get("reading") or "spent", request.get("branch") or None
    if reading not in get_args(Reading) or not isinstance(branch, str | None):
        raise ViewError("A reading must be spent, used or looks, and a branch a name.")
    mode: Mode = "column" if request["mode"] == "column" else "row"
    return {"mode": mode, "special": bool(request["special"]), "reading": reading, "branch": branch}
