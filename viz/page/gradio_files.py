"""Which of Gradio's own scripts and style sheets the page needs, so that its head can ask for them at once.

Gradio's front end finds out step by step: its entry loads the app, this the layout, and only that what the components
need, some sixty files in all. Here the scripts are named in the head, and the style sheets made one. Nothing of this is
needed for the page to work: where Gradio's files look otherwise than expected, fewer are found, and the page loads the
others as Gradio does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import gradio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from viz.page.compressed import FOREVER

FRONT = Path(gradio.__file__).parent / "templates" / "frontend"

_ENTRY = re.compile(r'src="\./assets/(index-[\w-]+\.js)"')
_IMPORT = re.compile(r"import\(`\./([\w.-]+\.js)`\)[^,]*,__vite__mapDeps\(\[([\d,]*)\]\)")
_NEEDS = re.compile(r"m\.f=\[([^\]]*)\]")
_COMPONENT = r'[{{,]"?{kind}"?:\{{(?:(?!\}},).)*?component:\(\)\W+\w+\(\(\)\W+{script}'


@cache
def needed(kinds: frozenset[str]) -> tuple[str, ...]:
    """The files in Gradio's `assets` that a page of such components loads after the entry, in the order of need.

    Args:
        kinds: of the components, as `Block.get_block_name` names them.
    """
    try:
        entry = _ENTRY.search((FRONT / "index.html").read_text())
        if entry is None:
            return ()
        names = dict.fromkeys(_needed(entry[1], kinds))
        loaded = set(re.findall(r'="\./assets/([^"]+)"', (FRONT / "index.html").read_text()))
    except OSError:
        return ()
    return tuple(name for name in names if name not in loaded and (FRONT / "assets" / name).is_file())


def _needed(entry: str, kinds: frozenset[str]) -> Iterator[str]:
    app = [files for files in _imports(_text(entry)) if len(files) > 1]
    for files in app:
        yield from files
    for files in app:
        text = _text(files[0])
        yield from (name for further in _imports(text) if further[0].startswith("Blocks-") for name in further)
        for kind in sorted(kinds):
            pattern = _COMPONENT.format(kind=re.escape(kind), script=_IMPORT.pattern)
            if (found := re.search(pattern, text)) is not None:
                yield from _files(text, *found.groups())


def _text(name: str) -> str:
    return (FRONT / "assets" / name).read_text()


def _imports(text: str) -> Iterator[list[str]]:
    """Of each import that a script makes while it runs, the script that it imports and what that needs."""
    for script, places in _IMPORT.findall(text):
        yield _files(text, script, places)


def _files(text: str, script: str, places: str) -> list[str]:
    """A script and what it needs: places in the list that begins the text."""
    listed = _NEEDS.search(text)
    names = re.findall(r'"\./([^"]+)"', listed[1]) if listed else []
    return [script, *(names[int(place)] for place in places.split(",") if place and int(place) < len(names))]


@cache
def _styles(kinds: frozenset[str]) -> tuple[str, str]:
    """The path of the style sheet that holds those that are needed, and its text."""
    text = "\n".join(_text(name) for name in needed(kinds) if _is_joined(name))
    return f"/pixelgaze-gradio-{hashlib.sha256(text.encode()).hexdigest()[:16]}.css", text


def _is_joined(name: str) -> bool:
    """Whether a file is a style sheet that does not care where it lies."""
    return name.endswith(".css") and not re.search(r"url\(|@import|@charset", _text(name))


def styles_route(kinds: frozenset[str]) -> Route:
    """Serves this style sheet; for `launch(app_kwargs={"routes": [...]})`."""
    path, text = _styles(kinds)

    def respond(request: Request) -> Response:
        return Response(text, media_type="text/css", headers={"Cache-Control": FOREVER})

    return Route(path, respond)


def component_scripts(kinds: frozenset[str]) -> list[str]:
    """The scripts among the files that are needed for the components alone, which Gradio loads last."""
    app = needed(frozenset())
    return [name for name in needed(kinds) if name.endswith(".js") and name not in app]


def file_links(kinds: frozenset[str]) -> str:
    """For the page's head: request the app's own scripts and all style sheets. One that is disabled is not loaded, but
    Gradio takes it as loaded."""
    names = needed(kinds)
    links = [f'<link rel="stylesheet" href=".{_styles(kinds)[0]}">'] if names else []
    for name in names:
        if name.endswith(".js") and name in needed(frozenset()):
            links.append(f'<link rel="modulepreload" crossorigin href="./assets/{name}">')
        elif _is_joined(name):
            links.append(f'<link rel="stylesheet" disabled href="./assets/{name}">')
    return "".join(links)
