"""The measured figures (`make bench`): progress on the way, one JSON object on the last line.

Times that are compared are taken in turns within one run, because machines are noisy; what is printed is their ratio.
"""

from __future__ import annotations

import copy
import json
import random
import statistics
import time
from collections.abc import Callable

from greenlet import getcurrent, greenlet

from tests.support.chromium import ROOT_OF_VIEWER, VIEWER, browser, look, open_page, server, settle

CAPTION = "a round purple monster with two yellow eyes, red horns and a toothy mouth on a blue background"
RUNS, HOVERS = 15, 300
PIXEL = {"kind": "pixel", "point": [0.55, 0.33]}
BOX = {"kind": "box", "from": [0.4, 0.55], "to": [0.62, 0.72]}
REGION = {"kind": "region", "grid": [8, 8], "mask": "_wAAAAAAAAA"}  # the uppermost eighth


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def in_turns(runs: list[Callable[[], object]]) -> list[float]:
    """Seconds of each of some runs that go on together, one step of each after the other, in any order.

    A run says that its step is over by `getcurrent().parent.switch()`.
    """
    spent, started = [0.0] * len(runs), [greenlet(run) for run in runs]
    while not all(one.dead for one in started):
        for index in random.sample(range(len(runs)), len(runs)):
            if not started[index].dead:
                spent[index] += seconds(started[index].switch)
    return spent


def sharing(pipeline):
    """A pipeline with the weights of another one, but a network that can be watched for itself."""
    weights = {id(tensor): tensor for tensor in [*pipeline.unet.parameters(), *pipeline.unet.buffers()]}
    parts = {"unet": copy.deepcopy(pipeline.unet, weights), "scheduler": copy.deepcopy(pipeline.scheduler)}
    other = type(pipeline)(**pipeline.components | parts)
    other.set_progress_bar_config(disable=True)
    return other


def costs(pipeline) -> dict[str, list[float]]:
    """What recording costs, as ratios: of runs that take turns step by step, and of whole runs, one after the other.

    Whole runs of a second and a half differ by a tenth here, whichever they are. Steps in turns do not; but they share
    their memory, so that what recording did to the allocator would slow all of them. "nothing" is what the first way
    says of two plain runs.
    """
    import torch

    from viz import record

    def draw(one, step_is_over: Callable[[], object]) -> None:
        one(CAPTION, seed=8, num_inference_steps=25, callback_on_step_end=lambda *_: step_is_over())

    def recorded(one, step_is_over: Callable[[], object]) -> None:
        with record(one.unet):
            draw(one, step_is_over)

    ways, pipelines = [recorded, draw, draw], [sharing(pipeline) for _ in range(3)]
    runs = [
        lambda way=way, one=one: way(one, getcurrent().parent.switch) for way, one in zip(ways, pipelines, strict=True)
    ]
    with torch.no_grad():  # greenlets share what a thread is set to, so none of them may change it
        in_turns(runs)  # the first of each pays for warming up
        spent = [in_turns(runs) for _ in range(RUNS)]
    pairs = [[seconds(lambda way=way: way(pipeline, lambda: None)) for way in (recorded, draw)] for _ in range(RUNS)]
    return {
        "in turns": [2 * with_it / (first + second) for with_it, first, second in spent],
        "nothing": [first / second for _, first, second in spent],
        "whole runs": [with_it / without for with_it, without in pairs],
    }


def quartiles(ratios: list[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def recording() -> dict[str, float]:
    """What recording costs, on the bundled model: 25 steps, guided, every layer and step."""
    from models import load
    from viz.recipe import Recipe
    from viz.recording.run import perform

    pipeline, recipe = load("critters"), Recipe(CAPTION, seed=8)
    ratios = costs(pipeline)
    print("a recorded run over a plain one:", {way: quartiles(found) for way, found in ratios.items()})
    pictures = [seconds(lambda: perform(recipe, pipeline)) for _ in range(3)]
    trace = perform(recipe, pipeline)
    places = [(random.uniform(0, 64), random.uniform(0, 64)) for _ in range(20)]
    atlases = [seconds(lambda place=place: trace.atlas(place)) for place in places]
    return {
        "recorded_over_plain": round(statistics.median(ratios["in turns"]), 3),
        "recorded_over_plain_whole_runs": round(statistics.median(ratios["whole runs"]), 3),
        "kept_bytes": trace.kept_bytes,
        "map_bytes": trace.map_bytes,
        "atlas_ms": round(1000 * statistics.median(atlases), 1),
        "picture_seconds": round(statistics.median(pictures), 2),
        "verified_to": max(trace.verify().values()),
    }


def hovering(page, pins: int = 0, **changes) -> dict[str, float]:
    """Milliseconds of repainting picture and atlas for real moves of a real mouse, with the mean of all heads.

    Args:
        pins: how many there are meanwhile. changes: of the view; what is hovered with them is computed beforehand.
    """
    marked = [PIXEL, BOX, REGION, PIXEL | {"point": [0.7, 0.6]}][:pins]
    plain = {"pins": marked, "active": -1, "head": -1, "mode": "row", "special": False}
    page.evaluate(f"(view) => {VIEWER}.view(view)", plain | changes)
    settle(page)
    generator = random.Random(0)
    for _ in range(30):
        look(page, generator.random(), generator.random())
    page.evaluate(f"{VIEWER}.frames.length = 0")
    for _ in range(HOVERS):
        look(page, generator.random(), generator.random())
    frames = sorted(page.evaluate(f"{VIEWER}.frames"))
    steps = page.evaluate(f"{VIEWER}.trace.steps.length")
    return {"steps": steps, "median": frames[len(frames) // 2], "p95": frames[int(0.95 * len(frames))]}


def remembering(page, hovers: int = 10_000) -> dict[str, float]:
    """What hovering leaves behind in the tab: megabytes of JavaScript's heap, after collecting, before and after."""
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
    page.evaluate(hover, 500)  # everything that is made once is made
    before = heap()
    for _ in range(10):
        page.evaluate(hover, hovers // 10)
    return {"before": round(before, 1), "after": round(heap(), 1)}


def page_figures() -> dict[str, float]:
    """Starting, opening and hovering, in a real Chromium; hovering on a freshly drawn trace of all 25 steps."""
    with server() as (url, served), browser() as chromium:
        time.sleep(8)  # a warm page: the model is loaded by now
        openings = []
        for _ in range(3):
            began = time.perf_counter()
            page = open_page(chromium, url)
            page.wait_for_function(f"{VIEWER}.frames.length > 0")
            openings.append(time.perf_counter() - began)
            if len(openings) < 3:
                page.close()
        gallery = hovering(page)
        page.locator("#generate").click()
        page.wait_for_function(f"{VIEWER}.trace.steps.length === 25", timeout=120_000)
        whole, pinned = hovering(page), hovering(page, pins=4)
        shown = page.locator(f"{ROOT_OF_VIEWER} .pg-tick").count()
        others = {"special": {"special": True}, "column": {"mode": "column"}}
        ways = {name: hovering(page, pins=4, **changes)["p95"] for name, changes in others.items()}
        hovering(page)
        heap = remembering(page)
    print(f"hover on a gallery trace: {gallery}; on 25 steps: {whole}, of which {shown} are on screen")
    print(f"with four pins: {pinned}, p95 of other ways to ask: {ways}; heap over 10,000 hovers, in MB: {heap}")
    return {
        "served_seconds": round(served, 2),
        "first_map_seconds": round(statistics.median(openings), 2),
        "hover_p95_ms": round(whole["p95"], 1),
        "hover_median_ms": round(whole["median"], 1),
        "hover_gallery_p95_ms": round(gallery["p95"], 1),
        "hover_four_pins_p95_ms": round(pinned["p95"], 1),
        **{f"hover_four_pins_{name}_p95_ms": round(p95, 1) for name, p95 in ways.items()},
        "heap_growth_mb": round(heap["after"] - heap["before"], 2),
    }


if __name__ == "__main__":
    figures = page_figures()
    print(figures)
    figures = recording() | figures
    print(json.dumps(figures))
