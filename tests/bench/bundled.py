"""The figures of the bundled model and the page (`make bench`, or `make bench-quick` for those that matter most)."""

from __future__ import annotations

import argparse
import copy
import random
import statistics
from collections.abc import Callable, Iterator
from functools import partial

from playwright.sync_api import Browser, Page

from tests.bench.figures import Report, Value
from tests.bench.opening import first_maps, starting
from tests.bench.timing import alternate, end_step, median_with_interval, seconds
from tests.support.chromium import VIEWER, VIEWER_ROOT, browser, look, open_page, server, settle, wait_for_frame
from viz.recording.heap import keep_freed_memory

CAPTION = "a round purple monster with two yellow eyes, red horns and a toothy mouth on a blue background"
PIXEL = {"kind": "pixel", "point": [0.55, 0.33]}
BOX = {"kind": "box", "from": [0.4, 0.55], "to": [0.62, 0.72]}
REGION = {"kind": "region", "grid": [8, 8], "mask": "_wAAAAAAAAA"}  # the top eighth
WORD = {"kind": "word", "text": "purple"}
PINS = [PIXEL, BOX, REGION, PIXEL | {"point": [0.7, 0.6]}]

Figures = Iterator[tuple[str, Value]]


def with_own_unet(pipeline):
    """A pipeline that shares the weights of another, with a network and scheduler object of its own to record."""
    weights = {id(tensor): tensor for tensor in [*pipeline.unet.parameters(), *pipeline.unet.buffers()]}
    parts = {"unet": copy.deepcopy(pipeline.unet, weights), "scheduler": copy.deepcopy(pipeline.scheduler)}
    other = type(pipeline)(**pipeline.components | parts)
    other.set_progress_bar_config(disable=True)
    return other


def draw(pipeline, on_step: Callable[[], None] = lambda: None) -> None:
    pipeline(CAPTION, seed=8, num_inference_steps=25, callback_on_step_end=lambda *_: on_step())


def draw_recorded(pipeline, on_step: Callable[[], None] = lambda: None) -> None:
    from viz import record

    with record(pipeline.unet):
        draw(pipeline, on_step)


def cost_step_by_step(pipeline, runs: int) -> Figures:
    """What recording costs, from runs that advance alternately, step by step.

    Steps vary far less than whole runs, but they share their memory: whatever recording did to the allocator would
    slow all of them. Whole runs would show that.
    """
    import torch

    ways = [partial(way, with_own_unet(pipeline), on_step=end_step) for way in (draw_recorded, draw, draw)]
    with torch.no_grad():  # set here because greenlets share what a thread has set
        alternate(ways)  # warm up
        steps = [alternate(ways) for _ in range(runs)]
    spent = [[sum(seconds) for seconds in run] for run in steps]
    ratios = [2 * with_it / (one + other) for with_it, one, other in spent]
    yield "recorded_over_plain", median_with_interval(ratios)
    later = [2 * step[0] / (step[1] + step[2]) for run in steps for step in list(zip(*run, strict=False))[1:25]]
    yield "later_step_over_plain", median_with_interval(later)
    yield "plain_over_plain", median_with_interval([one / other for _, one, other in spent])


def recording(runs: int, quick: bool) -> Figures:
    """Recording on the bundled model: 25 steps, guided, every layer and step."""
    from models import load
    from viz.recipe import Recipe
    from viz.recording.run import perform

    pipeline = load("critters")
    perform_recipe = partial(perform, Recipe(CAPTION, seed=8), pipeline)
    trace = perform_recipe()
    yield "picture_s", statistics.median(seconds(perform_recipe) for _ in range(3))
    yield from cost_step_by_step(pipeline, runs)
    if quick:
        return
    pairs = [(seconds(partial(draw_recorded, pipeline)), seconds(partial(draw, pipeline))) for _ in range(runs)]
    yield "recorded_over_plain_whole_runs", statistics.median(with_it / without for with_it, without in pairs)
    yield "kept_mb", trace.kept_bytes / 1e6
    yield "maps_mb", trace.map_bytes / 1e6
    yield "output_error", max(trace.verify().values())
    points = [(random.uniform(0, 64), random.uniform(0, 64)) for _ in range(20)]
    yield "atlas_ms", 1000 * statistics.median(seconds(partial(trace.atlas, point)) for point in points)


def hover_frames(page: Page, hovers: int, *, pins: int = 0, **changes: object) -> list[float]:
    """Sorted milliseconds of script time of repaints for moves of a real mouse, with the mean of all heads.

    Args:
        changes: to the view; what hovering needs with them is computed beforehand.
    """
    view = {"pins": PINS[:pins], "active": -1, "head": -1, "mode": "row", "special": False}
    page.evaluate(f"(view) => {VIEWER}.view(view)", view | changes)
    settle(page)
    generator = random.Random(0)
    for _ in range(30):
        look(page, generator.random(), generator.random())
    page.evaluate(f"{VIEWER}.frames.length = 0")
    for _ in range(hovers):
        look(page, generator.random(), generator.random())
    return sorted(page.evaluate(f"{VIEWER}.frames"))


def repaints(page: Page, count: int) -> float:
    """Median milliseconds of script time of so many repaints, with every step of the trace in the atlas."""
    return page.evaluate(
        f"""async (count) => {{
            {VIEWER}.frames.length = 0;
            for (let i = 0; i < count; i++) {{
                {VIEWER}.hover([Math.random(), Math.random()]);
                await {VIEWER}.whole();
            }}
            const spent = [...{VIEWER}.frames].sort((a, b) => a - b);
            return spent[spent.length >> 1];
        }}""",
        count,
    )


def plain_over_simd(chromium: Browser, url: str, rounds: int = 15) -> list[float]:
    """Repaints of all 25 steps without WebAssembly over those with it, on two pages in turns, with an interval."""
    fast, plain = (chromium.new_page(viewport={"width": 1440, "height": 900}) for _ in range(2))
    plain.add_init_script("WebAssembly = undefined")
    for page in (fast, plain):
        page.goto(url)
        generate(page, 8)
        page.get_by_role("button", name="all 25").click()
        page.evaluate(f"{VIEWER}.view({{ pins: [], active: -1, head: -1, mode: 'row', special: false }})")
        settle(page)
        repaints(page, 100)
    ratios = []
    for _ in range(rounds):
        pair = []
        for page in (plain, fast):
            page.bring_to_front()
            pair.append(repaints(page, 20))
        ratios.append(pair[0] / pair[1])
    fast.close()
    plain.close()
    return median_with_interval(ratios)


def generate(page: Page, seed: int) -> None:
    """Draw a critter with a seed of its own, so that the viewer shows a trace of all 25 steps that it has not seen."""
    page.wait_for_selector(f"{VIEWER_ROOT} .pg-main:not([hidden])")
    page.locator("#caption textarea").fill(CAPTION)
    page.locator("#seed input").fill(str(seed))
    wait_for_frame(page)  # which takes the value
    page.locator("#generate").click()
    page.wait_for_function(
        f"(seed) => {VIEWER}.trace.recipe.seed === seed && {VIEWER}.trace.steps.length === 25",
        arg=seed,
        timeout=120_000,
    )


def seconds_until_whole(page: Page, **changes: object) -> float:
    """Seconds from a change of the view until all maps on screen are computed."""
    view = {"pins": [], "active": -1, "head": -1, "mode": "row", "special": False}
    page.evaluate(f"(view) => {VIEWER}.view(view)", view)
    settle(page)

    def change() -> None:
        page.evaluate(f"(view) => {VIEWER}.view(view)", changes)
        settle(page)

    return seconds(change)


def percentile_95(frames: list[float]) -> float:
    return frames[int(0.95 * len(frames))]


def heap_growth(page: Page, hovers: int = 10_000) -> float:
    """Megabytes of JavaScript's heap that hovering leaves behind, after garbage collection."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")

    def heap() -> float:
        devtools.send("HeapProfiler.collectGarbage")
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "JSHeapUsedSize") / 1e6

    hover = f"""(count) => {{
        for (let i = 0; i < count; i++) {{
            {VIEWER}.hover([(i * 0.618) % 1, (i * 0.414) % 1]);
            {VIEWER}.repaint();
        }}
    }}"""
    page.evaluate(hover, 500)  # allocates what is allocated once
    before = heap()
    for _ in range(10):
        page.evaluate(hover, hovers // 10)
    return heap() - before


def first_word(page: Page) -> float:
    """Milliseconds from choosing a word of the caption until its atlas is whole and on screen.

    If the trace is still arriving, they count from its last byte.
    """
    view = {"pins": [WORD], "active": 0, "head": -1, "mode": "row"}
    return page.evaluate(
        f"""async (view) => {{
            const viewer = {VIEWER};
            let began = performance.now();
            if (viewer.trace.arriving) viewer.arrived().then(() => (began = performance.now()));
            viewer.view(view);
            await viewer.whole();
            return performance.now() - began;
        }}""",
        view,
    )


def page_figures(hovers: int, quick: bool) -> Figures:
    """Starting, opening and hovering, in a real Chromium; hovering on a freshly drawn trace of all 25 steps."""
    yield from starting(3 if quick else 5)
    with server() as (url, _), browser() as chromium:
        page = open_page(chromium, url)
        if not quick:
            yield (
                "heap_growth_mb",
                heap_growth(page),
            )  # on the gallery's four steps: leaks do not depend on their number
        generate(page, 8)
        yield "first_word_ms", first_word(page)
        frames = hover_frames(page, hovers)
        yield "hover_p95_ms", percentile_95(frames)
        if not quick:
            yield "hover_median_ms", statistics.median(frames)
            yield "columns_whole_s", seconds_until_whole(page, mode="column")
            yield "hover_four_pins_p95_ms", percentile_95(hover_frames(page, hovers, pins=4))
            yield "hover_special_p95_ms", percentile_95(hover_frames(page, hovers, pins=4, special=True))
            yield "hover_column_p95_ms", percentile_95(hover_frames(page, hovers, pins=4, mode="column"))
            generate(page, 9)  # of which nothing is computed yet
            yield "special_whole_s", seconds_until_whole(page, special=True)
            yield "hover_plain_over_simd", plain_over_simd(chromium, url)
        page.close()
        # The server has loaded the model and drawn with it: nothing else keeps it busy now.
        yield from first_maps(chromium, url, slow=not quick)


def main(quick: bool) -> None:
    keep_freed_memory()  # as the page does
    report = Report("quick" if quick else "bundled")
    report.add_all(page_figures(100 if quick else 200, quick))
    report.add_all(recording(3 if quick else 9, quick))
    report.write()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the figures that matter most")
    main(parser.parse_args().quick)
