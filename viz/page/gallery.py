"""The gallery: recorded traces that come with the project, and recording them (`python -m viz.page.gallery`).

`assets/gallery/index.json` lists them in the order shown, each with a view that has something to say, so that the page
can open on one without reading any trace.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from models.assets import ASSETS
from viz.recipe import Recipe, spread
from viz.trace_header import read_description

GALLERY = ASSETS / "gallery"
LESSON = GALLERY / "lesson.safetensors"  # what the tab "How it works" opens on: the first exhibit's view


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
    revision: str  # of the weights it was recorded with
    kept: int = 4  # steps, of 25: in fp16 one is 1 MB, and a repository keeps all it ever held

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.caption, seed=self.seed, revision=self.revision)

    @property
    def trace(self) -> Path:
        return GALLERY / f"{self.name}.safetensors"

    @property
    def steps(self) -> list[int]:
        """The steps that its trace holds."""
        return [step for step, _ in read_description(self.trace)["timesteps"]]

    @property
    def picture(self) -> Path:
        return GALLERY / f"{self.name}.png"


def exhibits() -> list[Exhibit]:
    """What `assets/gallery/index.json` lists; the first is the one the page opens on."""
    listed = json.loads((GALLERY / "index.json").read_text())
    return [Exhibit(**{**entry, "point": tuple(entry["point"])}) for entry in listed]


def as_shown(recipe: Recipe) -> Recipe:
    """A recipe that the gallery shows and that names no weights that are here: with those that it is shown with."""
    if recipe.revision == recipe.weights:
        return recipe
    named = {replace(exhibit.recipe, revision=recipe.revision): exhibit.revision for exhibit in exhibits()}
    return replace(recipe, revision=named[recipe]) if recipe in named else recipe


def record_all() -> None:
    """Follow every exhibit's recipe again and write its trace and its picture."""
    import torch
    from PIL import Image

    from models import load
    from viz.lesson.file import write_lesson
    from viz.lesson.watch import replay
    from viz.recording.run import perform

    for exhibit in exhibits():
        trace = perform(exhibit.recipe, load("critters", revision=exhibit.recipe.weights))
        layers = [layer.name for layer in trace if layer.kind == "self"]
        steps = spread(len(trace.steps), exhibit.kept)
        trace.select(layers=layers, steps=steps, dtype=torch.float16).save(exhibit.trace)
        Image.fromarray(trace.picture).resize((192, 192), Image.Resampling.NEAREST).save(exhibit.picture, optimize=True)
        print(f"{exhibit.trace.name}: {exhibit.trace.stat().st_size / 1e6:.1f} MB, {asdict(exhibit)}")
    first = exhibits()[0]
    pipeline = load("critters", revision=first.recipe.weights)
    calls, picture = replay(pipeline, first.recipe)
    write_lesson(
        pipeline.unet, calls[first.step], first.layer, LESSON, picture=picture, caption=first.caption, step=first.step
    )


if __name__ == "__main__":
    record_all()
