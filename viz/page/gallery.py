"""The gallery: recipes with a poster each, and a view worth opening. `python -m viz.page.gallery` records it again.

`assets/gallery/index.json` lists the exhibits in display order. The first comes with a trace of some of its steps, with
which the page opens. All are followed whole by `viz.page.ahead`, or when they are chosen, and kept by `viz.page.store`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from models.assets import ASSETS
from viz.recipe import Recipe, spread
from viz.trace_header import read_description
from viz.view import View

GALLERY = ASSETS / "gallery"
LESSON = GALLERY / "lesson.safetensors"  # the tab "How it works" opens with it: the first exhibit's view


@dataclass(frozen=True)
class Exhibit:
    """A run worth looking at: the name its files share, its caption, and the view it opens with."""

    name: str
    caption: str
    seed: int
    point: tuple[float, float]
    layer: str
    step: int
    head: int
    revision: str  # of the weights that it is followed with
    kept: int = 0  # how many of its steps are in its file; 0 if it has none

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.caption, seed=self.seed, revision=self.revision)

    @property
    def view(self) -> View:
        return View(self.point, self.layer, self.step, self.head)

    @property
    def picture(self) -> Path:
        return GALLERY / f"{self.name}.png"

    @property
    def trace(self) -> Path | None:
        """The file that comes with the project: of some steps, and of the first exhibit only."""
        return GALLERY / f"{self.name}.safetensors" if self.kept else None

    @property
    def steps(self) -> list[int]:
        """The steps in its file, or of the whole run."""
        if self.trace is None:
            return list(range(self.recipe.steps))
        return [step for step, _ in read_description(self.trace)["timesteps"]]


def exhibits() -> list[Exhibit]:
    """The entries of `assets/gallery/index.json`; the page opens with the first."""
    entries = json.loads((GALLERY / "index.json").read_text())
    return [Exhibit(**{**entry, "point": tuple(entry["point"])}) for entry in entries]


def first_trace() -> Path:
    """The trace that the page opens with."""
    path = exhibits()[0].trace
    assert path is not None
    return path


def pin_revision(recipe: Recipe) -> Recipe:
    """If the gallery shows this recipe and it names no weights we have, use the gallery's weights."""
    if recipe.revision == recipe.weights:
        return recipe
    revisions = {replace(exhibit.recipe, revision=recipe.revision): exhibit.revision for exhibit in exhibits()}
    return replace(recipe, revision=revisions[recipe]) if recipe in revisions else recipe


def steps_to_keep(exhibit: Exhibit) -> list[int]:
    """The steps for its file, evenly spread from the first to the last; that of its view replaces the nearest."""
    steps = spread(exhibit.recipe.steps, exhibit.kept)
    nearest = min(steps, key=lambda step: abs(step - exhibit.step))
    return [exhibit.step if step == nearest else step for step in steps]


def record_all() -> None:
    """Follow every exhibit's recipe and write its picture, and the first one's trace and lesson."""
    from PIL import Image

    from models import load
    from viz.export import for_browser
    from viz.lesson.file import write_lesson
    from viz.lesson.watch import replay
    from viz.recording.run import perform

    for exhibit in exhibits():
        trace = perform(exhibit.recipe, load("critters", revision=exhibit.recipe.weights))
        assert trace.picture is not None
        Image.fromarray(trace.picture).resize((192, 192), Image.Resampling.NEAREST).save(exhibit.picture, optimize=True)
        if exhibit.trace is not None:
            kept = for_browser(trace.select(steps=steps_to_keep(exhibit)))
            kept.save(exhibit.trace, compact=True, first=(exhibit.layer, exhibit.step))
            print(f"{exhibit.trace.name}: {exhibit.trace.stat().st_size / 1e6:.1f} MB")
    first = exhibits()[0]
    pipeline = load("critters", revision=first.recipe.weights)
    calls, picture = replay(pipeline, first.recipe)
    write_lesson(
        pipeline.unet, calls[first.step], first.layer, LESSON, picture=picture, caption=first.caption, step=first.step
    )


if __name__ == "__main__":
    record_all()
