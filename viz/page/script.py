"""The page's JavaScript: one script whose address contains its hash, so that browsers may cache it forever.

Components load it in their `js_on_load`, which Gradio runs as the body of a function: `import()` works there, a static
import does not. The page's head requests it before Gradio has started.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from viz.web import joined


@cache
def script() -> tuple[str, str]:
    """The path of the script on the server, and its text."""
    text = f"export default {joined('hosts/page.js')};\n"
    return f"/pixelgaze-{hashlib.sha256(text.encode()).hexdigest()[:16]}.js", text


def script_route() -> Route:
    """Serves the script; for `launch(app_kwargs={"routes": [...]})`. Gradio compresses the response."""
    path, text = script()

    def respond(request: Request) -> Response:
        return Response(
            text, media_type="text/javascript", headers={"Cache-Control": "public, max-age=31536000, immutable"}
        )

    return Route(path, respond)


def js_on_load(function: str, *events: str) -> str:
    """The `js_on_load` of a component: call an export of viz/web/hosts/page.js with what Gradio provides.

    Args:
        events: names of the component's own events. Gradio knows only those that it finds here in quotes.
    """
    return (
        f"// Events: {', '.join(map(json.dumps, events)) or 'none'}.\n"
        f"import(`${{window.gradio_config.root}}{script()[0]}`).then(({{ default: page }}) => "
        f"page.{function}({{ element, props, trigger, server, upload, watch }}));"
    )


def head(trace: str | Path) -> str:
    """For the page's head: request the script, and the trace that the viewer will open with, at once."""
    early = json.dumps({"script": script()[0], "trace": str(trace)}).replace("<", r"\u003c")
    return f"<script>{joined('hosts/early.js')}.requestEarly({early});</script>"
