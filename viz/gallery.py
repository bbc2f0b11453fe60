"""The gallery: recorded traces that come with the project, and recording them (`python -m viz.gallery`).

`assets/gallery/index.json` lists them in the order shown, each with a view that has something to say, so that the page
can open on one without reading any trace.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

GALLERY = Path(__file__).parent.parent / "assets" / "gallery"
LESSON = GALLERY / "lesson.safetensors"  # what the tab "How it works" opens on: the first exhibit's view
GALLERY_STEPS = 10  # of 25; fp16, self-attention only: 9 MB a trace


@dataclass(frozen=True)
class Exhibit:
    """One recorded trace: its files' common name, its caption, and the view it opens with."""

    name: str
    caption: str
    seed: int
    point: tuple[float, float]
    layer: str
    step: int
    head: int

    @property
    def trace(self) -> Path:
        return GALLERY / f"{self.name}.safetensors"

    @property
    def picture(self) -> Path:
        return GALLERY / f"{self.name}.png"


def exhibits() -> list[Exhibit]:
    """What `assets/gallery/index.json` lists; the first is the one the page opens on."""
    listed = json.loads((GALLERY / "index.json").read_text())
    return [Exhibit(**{**entry, "point": tuple(entry["point"])}) for entry in listed]


def record_all() -> None:
    """Follow every exhibit's recipe again and write its trace and its picture."""
    import torch
    from PIL import Image

    from models import load
    from viz.recipe import Recipe, spread
    from viz.runs import perform
    from viz.watched import replay

    pipeline = load("critters")
    for exhibit in exhibits():
        trace = perform(Recipe(exhibit.caption, seed=exhibit.seed), pipeline)
        layers = [layer.name for layer in trace if layer.kind == "self"]
        steps = spread(len(trace.steps), GALLERY_STEPS)
        trace.select(layers=layers, steps=steps, dtype=torch.float16).save(exhibit.trace)
        Image.fromarray(trace.picture).resize((192, 192), Image.Resampling.NEAREST).save(exhibit.picture, optimize=True)
        print(f"{exhibit.trace.name}: {exhibit.trace.stat().st_size / 1e6:.1f} MB, {asdict(exhibit)}")
    first = exhibits()[0]
    calls = replay(pipeline, Recipe(first.caption, seed=first.seed))
    write_lesson(first, pipeline, calls, first.layer, first.step, LESSON)


def write_lesson(exhibit: Exhibit, pipeline, calls: list, layer: str, step: int, path: Path) -> Path:
    """Watch a layer in an exhibit's run and write its lesson; `calls` are the run's, from `viz.watched.replay`."""
    import numpy as np
    from PIL import Image

    from viz.lessonfile import write
    from viz.watched import watch_call

    seen = watch_call(pipeline.unet, calls[step], layer)
    size = calls[step].sample.shape[-2:]
    with Image.open(exhibit.picture) as picture:
        array = np.asarray(picture.convert("RGB").resize(tuple(reversed(size)), Image.Resampling.NEAREST))
    about = {"caption": exhibit.caption, "step": step, "timestep": seen.timestep}
    return write(seen, pipeline.unet, path, picture=array, about=about)


if __name__ == "__main__":
    record_all()
