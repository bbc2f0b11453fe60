"""The PixelGaze page: its tabs, in order, and the command that serves it (`pixelgaze`, `python -m viz`)."""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path

# Gradio reads this on import and then sends no usage reports.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from starlette.middleware import Middleware

from viz.page import public, zero
from viz.page.ahead import follow_ahead
from viz.page.callers import THREADS, Page
from viz.page.compressed import Compressed
from viz.page.gallery import GALLERY, opening_exhibit
from viz.page.gradio_files import component_scripts, file_links, styles_route
from viz.page.guard import guard
from viz.page.identity import DESCRIPTION, TITLE, identity_routes
from viz.page.leaving import Leaving, is_open
from viz.page.lifetime import check_address, check_mcp, check_root_path, serve_until_interrupted
from viz.page.limits import set_limits
from viz.page.map_server import compute_elsewhere
from viz.page.menu import MAX_FILE
from viz.page.mistakes import exception_handlers
from viz.page.open_models import open_models
from viz.page.plots import PLOTLY
from viz.page.quota import UploadQuota
from viz.page.runs import leave, load_bundled
from viz.page.script import EarlyHead, head, script_route
from viz.page.served import send_in_large_pieces
from viz.page.sessions import keep_few, quicken
from viz.page.store import set_cache, store
from viz.page.sweeper import keep_swept, open_folder
from viz.page.tabs import api, explore, lesson
from viz.page.theme import theme
from viz.page.tool_calls import ToolCalls
from viz.recording.heap import keep_freed_memory, release_freed_memory_regularly, share_arenas
from viz.web import WEB

MAX_UPLOAD = MAX_FILE + 1_000_000  # with what stands around a file in a request

HEADER = """
<header class="pg-header">
  <h1>◉ PixelGaze</h1>
  <span>Point at a pixel. See where it looks: in every attention layer and head, step by step.</span>
</header>
"""


def build() -> gr.Blocks:
    """Build the page: its tabs, in order."""
    gr.set_static_paths([GALLERY, PLOTLY, store.folder])
    with Page(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as page:
        gr.HTML(HEADER, apply_default_css=False)
        with gr.Tab("Explore"):
            explore.build(page)
        with gr.Tab("How it works"):
            lesson.build()
        api.build()
    quicken(page)
    return page


def _leave(session: str) -> None:
    leave(session)
    open_models.leave(session)


def _early_head(kinds: frozenset[str]) -> str:
    first = opening_exhibit()
    if first is None or first.trace is None:
        return head()
    return head(first.trace, first.picture, first.layer, first.step, component_scripts(kinds))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pixelgaze", description=DESCRIPTION)
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=None, help="by default the first free port from 7860 on")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=os.environ.get("PIXELGAZE_ALLOW_HOST", "").split(","),
        metavar="NAME",
        help="a further name under which browsers reach the page, such as that of a reverse proxy; * for any",
    )
    parser.add_argument(
        "--root-path",
        default=os.environ.get("GRADIO_ROOT_PATH", ""),
        metavar="PATH",
        help="where a reverse proxy has put the page, such as /pixelgaze, or its whole address",
    )
    parser.add_argument(
        "--mcp",
        action="store_true",
        help="offer the endpoints for programs as tools of the Model Context Protocol, too; needs pixelgaze[mcp]",
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--memory", help="the most memory a recording may take, such as 2GiB; by default a quarter of the free memory"
    )
    parser.add_argument(
        "--models", help="a folder of models (folders or .safetensors files) that the page can open by name"
    )
    parser.add_argument(
        "--model-memory",
        help="the most memory that visitors' own models may take together, such as 8GiB; by default most of the free",
    )
    parser.add_argument(
        "--public", action="store_true", help="for strangers: listed models only, with caps (README); a Space is public"
    )
    parser.add_argument("--download", help="the largest model fetched from the Hub, by default 16GB")
    parser.add_argument(
        "--browser",
        help="the largest trace sent to a browser, by default 96MB; for larger ones the server computes the maps",
    )
    parser.add_argument(
        "--cache",
        metavar="FOLDER",
        help="where recorded traces are kept; by default $PIXELGAZE_CACHE, or pixelgaze in the user's cache folder",
    )
    parser.add_argument(
        "--cache-size",
        default="2GB",
        help="how much they may take, by default 2GB, of which each run takes 30MB; 0: none",
    )
    parser.add_argument(
        "--shared",
        metavar="ADDRESS",
        help="where servers share traces, such as s3://bucket/traces or another of fsspec's",
    )
    parser.add_argument(
        "--on-demand", action="store_true", help="record the gallery's pictures when they are chosen, not ahead of time"
    )
    return parser


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    public.set_public(arguments.public)
    try:
        set_limits(arguments.memory, arguments.models, arguments.browser, arguments.model_memory, arguments.download)
        set_cache(arguments.cache, arguments.cache_size, arguments.shared)
        root_path = check_root_path(arguments.root_path)
    except ValueError as error:
        parser.error(str(error))
    problem = check_address(arguments.host, arguments.port) or (check_mcp() if arguments.mcp else None)
    if problem:
        parser.error(problem)
    keep_freed_memory()
    share_arenas()
    send_in_large_pieces()
    compute_elsewhere()
    try:
        folder, _lock = open_folder(_temporary())  # held until the process ends
    except OSError as error:
        where, reason = error.filename or "the temporary folder", error.strerror or error
        parser.error(f"cannot write to {where} ({reason}); free some space, or set GRADIO_TEMP_DIR to another folder")
    page = build()
    kinds = frozenset(block.get_block_name() for block in page.blocks.values())
    if zero.is_present():
        zero.lent()
    page.queue().launch(
        server_name=arguments.host,
        server_port=arguments.port,
        root_path=root_path,
        theme=theme(),
        css_paths=[WEB / "styles" / f"{name}.css" for name in ("viewer", "menu", "plots", "compare", "lesson", "page")],
        app_kwargs={
            "exception_handlers": exception_handlers(),
            "routes": [script_route(), styles_route(kinds), *identity_routes()],
            "middleware": [
                guard(arguments.host, arguments.allow_host),
                Middleware(Compressed),
                _quota(folder),
                Middleware(Leaving, leave=_leave),
                *([Middleware(ToolCalls)] if arguments.mcp else []),
                Middleware(EarlyHead, text=_early_head(kinds), links=file_links(kinds)),
            ],
        },
        enable_monitoring=False,
        max_threads=THREADS,
        inbrowser=arguments.open,
        prevent_thread_lock=True,
        footer_links=[],
        max_file_size=MAX_FILE,
        mcp_server=arguments.mcp,
        run_history=False,
        ssr_mode=False,
    )
    keep_swept(folder)
    keep_few(page, is_open)
    release_freed_memory_regularly()
    # The page is up and shows a recorded trace without torch. Load the model while the visitor looks at it.
    threading.Thread(target=_prepare, args=(not arguments.on_demand,), daemon=True).start()
    serve_until_interrupted(page)


def _temporary() -> Path | None:
    """Where temporary files go: on a public page in the cache, so that nothing is written outside of it."""
    return store.folder.parent / "temporary" if public.caps() is not None else None


def _quota(folder: Path) -> Middleware:
    caps = public.caps()
    if caps is None:
        return Middleware(UploadQuota, folder=folder, largest=MAX_UPLOAD)
    return Middleware(UploadQuota, folder=folder, largest=caps.upload, limit=caps.uploads)


def _prepare(ahead: bool) -> None:
    store.sweep()
    load_bundled()
    if ahead:
        follow_ahead()


if __name__ == "__main__":
    main()
