"""How cost grows with the grid, the heads, the steps and the layers (`make bench-growth`).

U-Nets with random weights, whose layers all have one grid, are recorded; their files are opened by the page twice, on
a server that sends the browser everything and on one that computes every map itself. One quantity varies at a time. It
writes docs/growth.json, the tables of docs/growth.md and docs/growth.svg.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as TooLong

from tests.bench.bundled import hover_frames
from tests.bench.growth_tables import FILE, Measured, write_pages
from tests.bench.timing import seconds
from tests.support.chromium import VIEWER, browser, open_page, server
from viz.recording.heap import keep_freed_memory

if TYPE_CHECKING:
    from diffusers import UNet2DModel

    from viz import Trace

Sweeps = dict[str, tuple[int, ...]]

HEAD_SIZE = 12  # numbers of a query or key, as in the bundled model's layers on 32×32
PAIRS = 8  # of recorded and plain steps
PATIENCE = 20  # seconds for all columns; what takes longer is not waited for


@dataclass(frozen=True)
class Size:
    """What is recorded; by default the bundled model's numbers, on its largest grid."""

    grid: int = 32
    heads: int = 4
    steps: int = 25
    layers: int = 10

    @property
    def name(self) -> str:
        return f"{self.grid}×{self.grid}, {self.heads} heads, {self.steps} steps, {self.layers} layers"


SWEEPS: Sweeps = {
    "grid": (8, 16, 32, 48, 64),
    "heads": (1, 4, 8, 16),
    "steps": (5, 25, 50, 100),
    "layers": (4, 10, 18, 34),
}
SMALL: Sweeps = {"grid": (8, 16), "heads": (1, 2), "steps": (2, 3), "layers": (4, 6)}  # to try the bench itself


def network(size: Size) -> UNet2DModel:
    """A U-Net of one level: 2n + 2 attention layers, all on the grid of its picture."""
    import torch
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=size.grid,
        block_out_channels=(size.heads * HEAD_SIZE,),
        down_block_types=("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",),
        layers_per_block=size.layers // 2 - 1,
        attention_head_dim=HEAD_SIZE,
        norm_num_groups=4,
    ).eval()


def record_beside_plain(size: Size) -> tuple[Trace, float]:
    """A recorded run, and the median of its first steps but one over those of a plain run that advances with it."""
    import torch

    from viz import record

    recorded = network(size)
    plain = copy.deepcopy(recorded)
    sample = torch.randn(1, 3, size.grid, size.grid)
    ratios = []
    with torch.no_grad():
        plain(sample, 0)
        with record(recorded, dtype=torch.float16) as trace:
            for step in range(size.steps):
                timestep = 1000 - 1000 * (step + 1) // size.steps
                spent = {}
                unets = [recorded, plain] if step <= PAIRS else [recorded]
                for unet in random.sample(unets, len(unets)):
                    spent[unet is recorded] = seconds(partial(unet, sample, timestep))
                if len(unets) == 2 and step > 0:  # in the first step every layer is proved in many rows
                    ratios.append(spent[True] / spent[False])
    trace.picture = np.random.default_rng(0).integers(0, 256, (size.grid, size.grid, 3), np.uint8)
    trace.recipe = {"model": size.name}
    return trace, statistics.median(ratios)


def open_file(page: Page, path: Path, name: str) -> None:
    """Show this file in the page's viewer, and wait until all of it is on screen."""
    page.set_default_timeout(120_000)
    page.locator("#export input[type=file]").set_input_files(path)
    page.wait_for_function(f"(name) => {VIEWER}.trace?.recipe.model === name", arg=name)
    page.evaluate(f"async () => {{ await {VIEWER}.whole() }}")


def in_browser(page: Page, hovers: int) -> Iterator[tuple[str, float | None]]:
    """Median milliseconds of a hover, and seconds until all columns are there; None if they take too long."""
    yield "hover_ms", statistics.median(hover_frames(page, hovers))
    page.set_default_timeout(1000 * PATIENCE)
    whole = f"""async () => {{
      const began = performance.now();
      {VIEWER}.view({{ mode: "column" }});
      window.columns = null;
      {VIEWER}.whole().then(() => (window.columns = performance.now() - began));
    }}"""
    page.evaluate(whole)
    try:
        yield "columns_s", page.wait_for_function("window.columns").json_value() / 1000
    except TooLong:
        yield "columns_s", None
    page.set_default_timeout(120_000)
    page.evaluate(f"async () => {{ {VIEWER}.view({{ mode: 'row' }}); await {VIEWER}.whole(); }}")  # workers have an end


def from_server(page: Page, hovers: int) -> Iterator[tuple[str, float]]:
    """Median milliseconds of one request for maps, and from a hover until its whole atlas is there."""
    page.evaluate(f"() => {VIEWER}.view({{ pins: [], active: -1, head: -1, mode: 'row', special: false }})")
    answered = page.evaluate(
        f"""async (hovers) => {{
          const plain = window.fetch, requests = [], wholes = [];
          window.fetch = async (resource, ...options) => {{
            const began = performance.now();
            const response = await plain(resource, ...options);
            if (!String(resource.url || resource).includes("component_server")) return response;
            await response.clone().arrayBuffer();
            requests.push(performance.now() - began);
            return response;
          }};
          await {VIEWER}.whole();
          requests.length = 0;
          for (let i = 1; i <= hovers; i++) {{
            const began = performance.now(), before = requests.length;
            {VIEWER}.hover([(i * 0.618) % 1, (i * 0.414) % 1]);
            await {VIEWER}.whole();
            if (requests.length > before) wholes.push(performance.now() - began); // not a cell that it knew already
          }}
          window.fetch = plain;
          return {{ requests, wholes }};
        }}""",
        hovers,
    )
    yield "request_ms", statistics.median(answered["requests"])
    yield "server_hover_ms", statistics.median(answered["wholes"])


def measure(size: Size, local: Page, remote: Page, hovers: int) -> Measured:
    """All figures of one size; of the two pages, one gets its maps from the server."""
    trace, ratio = record_beside_plain(size)
    figures: dict[str, Any] = {"recorded_over_plain": ratio, "kept_mb": trace.kept_bytes / 1e6}
    with tempfile.TemporaryDirectory() as folder:
        path = trace.save(Path(folder) / "run.safetensors", compact=True)
        figures["file_mb"] = path.stat().st_size / 1e6
        for page, figure in ((local, in_browser), (remote, from_server)):
            open_file(page, path, size.name)
            assert bool(page.evaluate(f"{VIEWER}.trace.remote")) == (page is remote)
            figures.update(figure(page, hovers))
    return {name: None if value is None else float(f"{value:.4g}") for name, value in figures.items()}


def measure_all(chromium: Browser, sweeps: Sweeps, base: Size, hovers: int) -> dict[str, list[Measured]]:
    """{quantity: the figures of each of its values}, printed as they come."""
    done: dict[Size, Measured] = {}
    began = time.monotonic()
    results: dict[str, list[Measured]] = {}
    with ExitStack() as stack:
        addresses = [stack.enter_context(server("--browser", limit))[0] for limit in ("100GB", "1kB")]
        local, remote = (open_page(chromium, address) for address in addresses)
        for page in (local, remote):
            page.wait_for_function("document.querySelector('#viewer .pg-export') !== null")
        for quantity, values in sweeps.items():
            results[quantity] = []
            for value in values:
                size = replace(base, **{quantity: value})
                if size not in done:
                    done[size] = measure(size, local, remote, hovers)
                    figures = ", ".join(f"{name} {number}" for name, number in done[size].items())
                    print(f"{time.monotonic() - began:4.0f} s  {size.name}: {figures}", flush=True)
                results[quantity].append({quantity: value, **done[size]})
    return results


def main(small: bool, file: Path) -> None:
    keep_freed_memory()  # as the page does
    base = Size(8, 2, 3, 4) if small else Size()
    with browser() as chromium:
        sweeps = measure_all(chromium, SMALL if small else SWEEPS, base, 5 if small else 30)
        write_pages(chromium, asdict(base), sweeps, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=Path, help="try the bench at small sizes and write its file there")
    arguments = parser.parse_args()
    main(arguments.small is not None, arguments.small or FILE)
