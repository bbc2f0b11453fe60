"""What `tests.bench.soak` saw, as docs/soak.json, the table of docs/soak.md and the figure docs/soak.svg."""

from __future__ import annotations

import json
import re
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tests.bench.figures import LIBRARIES, ROOT, machine, measured_on
from tests.bench.growth_tables import as_svg
from tests.support.chromium import browser
from viz.plots import COLORS

FILE = ROOT / "docs" / "soak.json"
PANELS = {"rss_mb": "memory, MB", "threads": "threads", "files": "open files", "cache_mb": "files on disk, MB"}


def write_pages(found: dict[str, Any], file: Path = FILE) -> None:
    """Write the file, and beside it the table (if there is such a page) and the figure."""
    versions = {name: version(name) for name in LIBRARIES}
    content = {"date": date.today().isoformat(), "machine": machine(), "versions": versions, **found}
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if (page := file.with_suffix(".md")).is_file():
        page.write_text(with_table(page.read_text(), content))
    with browser() as chromium:
        file.with_suffix(".svg").write_text(as_svg(chromium, figure(content)))


def with_table(text: str, content: dict[str, Any]) -> str:
    """The page's text with the table between its markers."""
    written = f"<!-- soak -->\n{measured_on(content)}\n\n{table(content)}\n<!-- end -->"
    return re.sub(r"<!-- soak -->\n.*?<!-- end -->", lambda _: written, text, flags=re.DOTALL)


def table(content: dict[str, Any]) -> str:
    """In Markdown: a row for each action, and a sentence about the rest."""
    lines = ["| | a minute | median | 95 % within | refused |", "|---|---|---|---|---|"]
    for name, each in content["actions"].items():
        times = [f"{each[key]:.2f} s" if each[key] is not None else "–" for key in ("p50", "p95")]
        lines.append(f"| {name} | {each['per_minute']:.1f} | {' | '.join(times)} | {each['refused']} |")
    minutes, failed = content["seconds"] / 60, len(content["failures"])
    summary = (
        f"{content['sessions']} sessions for {minutes:.0f} minutes, {content['left']} runs left halfway, {failed} "
        f"failures. Memory in the last quarter over the second: {content['rss_growth']:.2f}. "
        f"The visitors' own process was at most {1000 * content['late']['p95']:.0f} ms late, 95 % of the time."
    )
    return "\n".join([*lines, "", summary])


def figure(content: dict[str, Any]) -> go.Figure:
    """What the server took over the minutes, one panel for each quantity."""
    drawn = make_subplots(2, 2, shared_xaxes=True, subplot_titles=list(PANELS.values()), vertical_spacing=0.1)
    minutes = [each["at"] / 60 for each in content["samples"]]
    for i, name in enumerate(PANELS):
        line = {"color": COLORS[0], "width": 2}
        values = [each[name] for each in content["samples"]]
        drawn.add_scatter(x=minutes, y=values, line=line, showlegend=False, row=i // 2 + 1, col=i % 2 + 1)
    drawn.update_xaxes(title_text="minutes", row=2).update_yaxes(rangemode="tozero")
    drawn.update_xaxes(gridcolor="#d8dce4", linecolor="#8a90a0").update_yaxes(gridcolor="#d8dce4", linecolor="#8a90a0")
    return drawn.update_layout(
        template="none",
        width=1000,
        height=560,
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif", "size": 12, "color": "#222"},
        margin={"l": 60, "r": 16, "t": 40, "b": 50},
    )
