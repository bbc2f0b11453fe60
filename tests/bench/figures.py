"""The published figures: benches write docs/figures.json, which README.md and docs/figures.md take their tables from.

In both pages a table stands between `<!-- figures: SECTION NAMES -->` and `<!-- end -->`; without names it has every
figure of the section. `python -m tests.bench.figures` writes all tables again.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from models.opening.revision import revision

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "docs" / "figures.json"
PAGES = (ROOT / "README.md", ROOT / "docs" / "figures.md")
LIBRARIES = ("torch", "diffusers", "gradio")

# One number; a median with the ends of its 95 % interval; or one number for each column of the table.
Value = float | list[float] | dict[str, float]


@dataclass(frozen=True)
class Figure:
    """What a number means, how it is written, and the most or the least it should be."""

    label: str
    form: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def limit(self) -> str:
        """The limit in words of a table, such as "≤ 5 s"; empty if there is none."""
        limits = {"≤": self.at_most, "≥": self.at_least}
        form = re.sub(r"{.*}", "{:g}", self.form)
        return " and ".join(f"{sign} {form.format(limit)}" for sign, limit in limits.items() if limit is not None)

    def is_missed(self, value: Value) -> bool:
        """Whether a single number, or a median, is beyond its limit."""
        if isinstance(value, dict):
            return False
        one = value[0] if isinstance(value, list) else value
        return (self.at_most is not None and one > self.at_most) or (self.at_least is not None and one < self.at_least)


BUNDLED = {
    "recorded_over_plain": Figure(
        "a recorded run over a plain one: median of pairs that advance alternately, step by step", "{:.3f}", 1.02
    ),
    "later_step_over_plain": Figure("the same of a step after the first", "{:.3f}", 1.02),
    "plain_over_plain": Figure("the same for two plain runs, which shows the noise", "{:.3f}"),
    "recorded_over_plain_whole_runs": Figure(
        "a recorded run over a plain one, whole runs one after the other", "{:.3f}"
    ),
    "picture_s": Figure("one picture, drawn and recorded", "{:.1f} s", 5),
    "import_gradio_s": Figure("`import gradio` alone", "{:.1f} s"),
    "served_s": Figure("from `python app.py` to a served page", "{:.1f} s", 8),
    "served_over_allowed": Figure("the same over 1.3 × `import gradio` + 1 s, in turns", "{:.2f}", 1),
    "empty_page_s": Figure("from opening an empty Gradio page to its text", "{:.1f} s"),
    "first_map_s": Figure("from opening the warm page to the first map", "{:.1f} s", 2),
    "first_map_over_allowed": Figure("the same over 1.2 × the empty page + 0.5 s, in turns", "{:.2f}", 1),
    "first_map_slow_s": Figure("the same over a line with 1.6 Mbit/s and 150 ms", "{:.1f} s", 8),
    "first_word_ms": Figure(
        "from choosing a word just after *Generate* until its whole atlas is on screen", "{:.0f} ms", 100
    ),
    "hover_p95_ms": Figure(
        "script time of one hover (picture, atlas and words; all heads, 10 layers × 25 steps), 95th percentile",
        "{:.1f} ms",
        12,
    ),
    "hover_median_ms": Figure("the same, median", "{:.1f} ms"),
    "hover_four_pins_p95_ms": Figure("the same with four pins, 95th percentile", "{:.1f} ms", 16),
    "hover_special_p95_ms": Figure("the same with four pins and *Minus average*", "{:.1f} ms", 16),
    "hover_column_p95_ms": Figure("the same with four pins and *Is looked at by*", "{:.1f} ms", 16),
    "hover_plain_over_simd": Figure(
        "repaints of all 25 steps without WebAssembly over those with it", "{:.1f}×", at_least=5
    ),
    "columns_whole_s": Figure("from choosing *Is looked at by* until every map is computed", "{:.1f} s", 1),
    "special_whole_s": Figure("from choosing *Minus average* until every map is computed", "{:.1f} s", 1),
    "heap_growth_mb": Figure("growth of the tab's memory over 10,000 hovers", "{:.1f} MB"),
    "kept_mb": Figure("kept of one run: Q and K", "{:.0f} MB"),
    "maps_mb": Figure("what its maps would take", "{:.0f} MB"),
    "output_error": Figure("largest error of a module's output, recomputed from the trace", "{:.0e}", 1e-5),
    "atlas_ms": Figure("all rows of one pixel, all layers and steps, in Python", "{:.0f} ms"),
}
QUICK = (
    "recorded_over_plain",
    "later_step_over_plain",
    "plain_over_plain",
    "picture_s",
    "import_gradio_s",
    "served_s",
    "served_over_allowed",
    "empty_page_s",
    "first_map_s",
    "first_map_over_allowed",
    "first_word_ms",
    "hover_p95_ms",
)
STABLE_DIFFUSION = {
    "kept_10_steps_mb": Figure("kept of 10 steps in fp16", "{:.0f} MB", 483),
    "recorded_over_plain": Figure("a recorded step over a plain one, in turns step by step: median", "{:.3f}", 1.01),
    "plain_over_plain": Figure("the same for two plain runs, which shows the noise", "{:.3f}"),
    "first_step_over_plain": Figure(
        "the first step, in which every layer is followed and proved in more rows, over a plain one", "{:.2f}"
    ),
    "peak_over_planned": Figure("peak memory above plain runs over what `viz.plan` said", "{:.2f}", 1.05),
    "rows_of_a_pixel_ms": Figure("all rows of one pixel, 16 layers × 10 steps", "{:.0f} ms", 60),
    "file_kept_mb": Figure("kept of a run that is recorded into a file (50 steps)", "{:.0f} MB"),
    "file_peak_mb": Figure("its peak memory above plain runs", "{:.0f} MB", 200),
    "file_run_over_plain": Figure("the whole run, with writing the file at its end, over a plain one", "{:.3f}", 1.05),
    "file_step_over_plain": Figure("a step of it over one of a plain run, in turns: median", "{:.3f}", 1.05),
}
RIVALS = {
    "step": Figure("a recorded step over a plain one: median of alternating pairs", "{:.3f}"),
    "first": Figure("the first recorded step over a plain one (PixelGaze proves every layer in it)", "{:.3f}"),
    "peak_mb": Figure("peak memory above plain runs", "{:.0f} MB"),
    "kept_mb": Figure("kept (the other keeps both halves of the guided batch; it has no choice)", "{:.0f} MB"),
    "maps_s": Figure("one pixel, chosen afterwards: its maps of all layers, heads and steps", "{:.3f} s"),
    "one_step_s": Figure("the same of one step", "{:.3f} s"),
    "agree_to": Figure("largest difference between the maps of both, as a share of the largest weight", "{:.0e}"),
}
RIVALS_WORDS = {
    "step": Figure("a recorded step over a plain one: median of alternating pairs", "{:.3f}"),
    "peak_mb": Figure("peak memory above plain runs", "{:.0f} MB"),
    "kept_mb": Figure("kept (the other keeps both halves of the guided batch)", "{:.0f} MB"),
    "map_s": Figure("what pixels spend on one word, chosen afterwards: all layers, heads and steps", "{:.3f} s"),
    "row_s": Figure("what that word looks at", "{:.3f} s"),
    "map_agree_to": Figure(
        "largest difference between both maps of what pixels spend on it, as a share of the largest weight", "{:.0e}"
    ),
    "row_agree_to": Figure("the same of what it looks at", "{:.0e}"),
}
GPU = {
    "plain_ms": Figure("a step of a plain run", "{:.1f} ms"),
    "beside_over_plain": Figure(
        "a step of a recorded run over it: copies and proofs have a stream of their own", "{:.2f}"
    ),
    "waiting_over_plain": Figure("the same if the network waits for every copy and proof", "{:.2f}"),
    "beside_first_ms": Figure("the first recorded step", "{:.0f} ms"),
    "waiting_first_ms": Figure("the same if the network waits", "{:.0f} ms"),
    "beside_peak_mb": Figure("peak memory on the GPU above plain runs", "{:.0f} MB"),
    "waiting_peak_mb": Figure("the same if the network waits", "{:.0f} MB"),
}
SECTIONS = {
    "bundled": BUNDLED,
    "quick": {name: BUNDLED[name] for name in QUICK},
    "stable_diffusion": STABLE_DIFFUSION,
    "gpu": GPU,
    "rivals": RIVALS,
    "rivals_words": RIVALS_WORDS,
}
COLUMNS = {"ours": "PixelGaze", "theirs": "attention-map-diffusers 1.0"}


class Report:
    """The figures of one bench: a line for each as it comes, and all of them in the file at the end."""

    def __init__(self, section: str) -> None:
        self.section, self.figures = section, SECTIONS[section]
        self.values: dict[str, Value] = {}
        self._start = time.monotonic()
        self.machine = machine(gpu=section == "gpu")
        print(f"{section}: {_machine_text(self.machine)}", flush=True)

    def add(self, name: str, value: Value) -> None:
        """Print a figure's name, value and limit, and keep it for the file."""
        figure = self.figures[name]
        self.values[name] = _rounded(value)
        limit = figure.limit + "  MISSED" * figure.is_missed(value)
        elapsed = time.monotonic() - self._start
        print(f"{elapsed:4.0f} s  {name:<30} {_value_text(figure, value):>12}  {limit}", flush=True)

    def add_all(self, figures: Iterable[tuple[str, Value]]) -> None:
        for name, value in figures:
            self.add(name, value)

    def write(self, file: Path = FILE, pages: Iterable[Path] = PAGES) -> None:
        """Replace this section of the file, and write the tables again."""
        sections = json.loads(file.read_text()) if file.is_file() else {}
        sections[self.section] = {
            "date": date.today().isoformat(),
            "machine": self.machine,
            "versions": _versions(),
            "weights": revision() if self.section in ("bundled", "quick") else None,  # the others' are random
            "figures": self.values,
        }
        file.write_text(json.dumps(sections, indent=2, ensure_ascii=False) + "\n")
        for page in pages:
            page.write_text(with_tables(page.read_text(), sections))
        print(f"{self.section}: written to {file.name}", flush=True)


def _versions() -> dict[str, str]:
    """Of the libraries that are installed: a bench without the page needs no gradio."""
    return {name: version(name) for name in LIBRARIES if find_spec(name)}


def machine(*, gpu: bool = False) -> dict[str, str | int | None]:
    """What the figures are measured on: processor, cores that this process may use, memory and, if asked for, GPU."""
    processor = platform.processor() or None
    if (listed := Path("/proc/cpuinfo")).is_file() and (
        model := re.search(r"^model name\s*: (.*)$", listed.read_text(), re.MULTILINE)
    ):
        processor = model.group(1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = None
    if hasattr(os, "sysconf"):
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    found: dict[str, str | int | None] = {"cpu": processor, "cores": cores, "memory_gib": memory}
    if gpu:
        import torch  # only for this: it takes seconds

        found["gpu"] = torch.cuda.get_device_name()
    return found


def with_tables(text: str, sections: dict) -> str:
    """A page's text with the tables between its markers written from the file's content."""

    def written(marker: re.Match) -> str:
        section, *names = marker.group(1).split()
        return f"<!-- figures: {marker.group(1)} -->\n{table(section, sections[section], names)}\n<!-- end -->"

    return re.sub(r"<!-- figures: ([^>]*?) -->\n.*?<!-- end -->", written, text, flags=re.DOTALL)


def table(section: str, entry: dict, names: Iterable[str] = ()) -> str:
    """One section in Markdown: what it was measured on, then a row for each figure."""
    figures, values = SECTIONS[section], entry["figures"]
    names = list(names) or [name for name in figures if name in values]
    columns = next(([*value] for value in values.values() if isinstance(value, dict)), None)
    headings = [COLUMNS[column] for column in columns] if columns else ["measured", "limit"]
    lines = [measured_on(entry), ""]
    lines += ["| | " + " | ".join(headings) + " |", "|---|" + "---|" * len(headings)]
    for name in names:
        figure, value = figures[name], values[name]
        if isinstance(value, dict):
            cells = [figure.form.format(value[column]) for column in columns or ()]
        else:
            cells = [_value_text(figure, value), figure.limit + ", missed" * figure.is_missed(value)]
        lines.append(f"| {figure.label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured_on(entry: dict) -> str:
    """The machine, the date and the versions of a section, in one line."""
    libraries = ", ".join(f"{name} {number}" for name, number in entry["versions"].items())
    return f"{_machine_text(entry['machine'])}; {entry['date']}; {libraries}."


def _machine_text(on: dict) -> str:
    memory = f", {on['memory_gib']} GiB" if on["memory_gib"] else ""
    gpu = f"{on['gpu']}; " if on.get("gpu") else ""
    return f"{gpu}{on['cpu']}, {on['cores']} core{'' if on['cores'] == 1 else 's'}{memory}"


def _value_text(figure: Figure, value: Value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{column} {figure.form.format(number)}" for column, number in value.items())
    if isinstance(value, list):
        median, *ends = map(figure.form.format, value)
        return f"{median} ({' to '.join(ends)})"
    return figure.form.format(value)


def _rounded(value: Value) -> Value:
    if isinstance(value, dict):
        return {column: float(f"{number:.4g}") for column, number in value.items()}
    if isinstance(value, list):
        return [float(f"{number:.4g}") for number in value]
    return float(f"{value:.4g}")


if __name__ == "__main__":
    content = json.loads(FILE.read_text())
    for path in PAGES:
        path.write_text(with_tables(path.read_text(), content))
