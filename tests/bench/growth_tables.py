"""What `tests.bench.growth` measured, as docs/growth.json, the tables of docs/growth.md and the figure docs/growth.svg.

`python -m tests.bench.growth_tables` writes tables and figure again from the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from playwright.sync_api import Browser
from plotly.subplots import make_subplots

from tests.bench.figures import LIBRARIES, ROOT, measured_on
from tests.bench.figures import machine as this_machine
from tests.support.chromium import browser
from viz.page.limits import BROWSER_BYTES
from viz.page.plots import PLOTLY
from viz.plots import COLORS

FILE = ROOT / "docs" / "growth.json"

Measured = dict[str, Any]  # {figure: a number, or None for what took too long}, and the quantity that varied

LABELS = {"grid": "grid", "heads": "heads", "steps": "steps", "layers": "layers"}
COLUMNS = {
    "recorded_over_plain": ("a recorded step over a plain one", "{:.2f}"),
    "file_mb": ("file", "{:.1f} MB"),
    "hover_ms": ("hover, in the browser", "{:.1f} ms"),
    "columns_s": ("all columns, in the browser", "{:.1f} s"),
    "request_ms": ("one answer of the server", "{:.0f} ms"),
    "server_hover_ms": ("hover, from the server", "{:.0f} ms"),
}
PANELS = (
    (
        "ms of a hover",
        {
            "hover_ms": "in the browser",
            "server_hover_ms": "from the server, the whole atlas",
            "request_ms": "one answer of the server",
        },
    ),
    ("s until all columns are there", {"columns_s": "in the browser"}),
    ("MB of the file", {"file_mb": "file"}),
    ("recorded step / plain step", {"recorded_over_plain": "recorded / plain"}),
)


def write_pages(
    chromium: Browser, base: Mapping[str, int], sweeps: dict[str, list[Measured]], file: Path = FILE
) -> None:
    """Write the file, and beside it the tables (if there is such a page) and the figure."""
    content = {
        "date": date.today().isoformat(),
        "machine": this_machine(),
        "versions": {name: version(name) for name in LIBRARIES},
        "base": base,
        "sweeps": sweeps,
    }
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    draw(chromium, content, file)


def draw(chromium: Browser, content: dict, file: Path) -> None:
    """Write the tables into the page and the figure, both named as the file."""
    if (page := file.with_suffix(".md")).is_file():
        page.write_text(with_tables(page.read_text(), content))
    file.with_suffix(".svg").write_text(as_svg(chromium, figure(content["sweeps"])))


def with_tables(text: str, content: dict) -> str:
    """The page's text with the tables between its markers, one for each quantity, written from the file's content."""
    tables = "\n\n".join(table(quantity, rows) for quantity, rows in content["sweeps"].items())
    written = f"<!-- growth -->\n{measured_on(content)}\n\n{tables}\n<!-- end -->"
    return re.sub(r"<!-- growth -->\n.*?<!-- end -->", lambda _: written, text, flags=re.DOTALL)


def table(quantity: str, rows: Sequence[Measured]) -> str:
    """One quantity in Markdown: a row for each of its values. The larger ones are for the server."""
    headings = [LABELS[quantity], *(label for label, _ in COLUMNS.values())]
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for row in rows:
        value = f"{row[quantity]}²" if quantity == "grid" else f"{row[quantity]}"
        cells = ["over 20 s" if row[name] is None else form.format(row[name]) for name, (_, form) in COLUMNS.items()]
        mark = "" if fits_browser(row) else ", server"
        lines.append(f"| {value}{mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def fits_browser(row: Measured) -> bool:
    """Whether the page sends such a trace to the browser, unless `--browser` says otherwise."""
    return row["kept_mb"] * 1e6 <= BROWSER_BYTES


def figure(sweeps: Mapping[str, Sequence[Measured]]) -> go.Figure:
    """A column of panels for each quantity, on logarithmic axes; crosses are where the server takes over."""
    drawn = make_subplots(
        len(PANELS),
        len(sweeps),
        shared_xaxes="columns",
        shared_yaxes="rows",
        horizontal_spacing=0.03,
        vertical_spacing=0.04,
    )
    for column, (quantity, rows) in enumerate(sweeps.items(), 1):
        values = [row[quantity] for row in rows]
        for panel, (title, names) in enumerate(PANELS, 1):
            for color, (name, label) in zip((COLORS[0], COLORS[4], COLORS[3]), names.items(), strict=False):
                drawn.add_scatter(
                    x=values,
                    y=[row[name] for row in rows],
                    name=label,
                    mode="lines+markers",
                    line={"color": color, "width": 2},
                    marker={"size": 8, "symbol": ["circle" if fits_browser(row) else "x" for row in rows]},
                    showlegend=column == 1 and panel == 1,
                    row=panel,
                    col=column,
                )
            if name == "file_mb":
                drawn.add_hline(
                    BROWSER_BYTES / 1e6, line={"color": "#555", "dash": "dot", "width": 1}, row=panel, col=column
                )
            drawn.update_xaxes(type="log", tickvals=values, ticktext=values, row=panel, col=column)
            logarithmic = {} if name == "recorded_over_plain" else {"type": "log", "dtick": 1}
            drawn.update_yaxes(title_text=title if column == 1 else None, row=panel, col=column, **logarithmic)
        ticks = [f"{value}²" for value in values] if quantity == "grid" else values
        drawn.update_xaxes(title_text=LABELS[quantity], ticktext=ticks, row=len(PANELS), col=column)
    drawn.update_yaxes(rangemode="tozero", row=len(PANELS))
    drawn.update_xaxes(gridcolor="#d8dce4", linecolor="#8a90a0").update_yaxes(gridcolor="#d8dce4", linecolor="#8a90a0")
    return drawn.update_layout(
        template="none",
        width=1000,
        height=980,
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif", "size": 12, "color": "#222"},
        legend={"orientation": "h", "y": 1.04, "x": 0},
        margin={"l": 70, "r": 16, "t": 40, "b": 56},
    )


def as_svg(chromium: Browser, drawn: go.Figure) -> str:
    """The figure as Plotly draws it in Chromium, without the network."""
    page = chromium.new_page()
    page.add_script_tag(path=PLOTLY)
    size = {"format": "svg", "width": drawn.layout.width, "height": drawn.layout.height}
    url = page.evaluate("async ([figure, size]) => Plotly.toImage(figure, size)", [json.loads(drawn.to_json()), size])
    text = page.evaluate("(url) => decodeURIComponent(url.slice(url.indexOf(',') + 1))", url)
    page.close()
    return text + "\n"


if __name__ == "__main__":
    with browser() as chromium:
        draw(chromium, json.loads(FILE.read_text()), FILE)
