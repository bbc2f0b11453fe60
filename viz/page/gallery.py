"""The gallery: traces that come with the project. `python -m viz.page.gallery` records them again.

`assets/gallery/index.json` lists them in display order, each with an interesting view to open it with, so that the
page can show one without reading any trace.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from models.assets import ASSETS
from viz.recipe import Recipe, spread
from viz.trace_header import read_description

GALLERY = ASSETS / "gallery"
LESSON = GALLERY / "lesson.safetensors"  # the tab "How it works" opens with it: the first exhibit's view


@dataclass(frozen=True)
class Exhibit:
    """One recorded trace: the name its files share, its caption, and the view it opens with."""

    name: str
    caption: str
    seed: int
    point: tuple[float, float]
    layer: str
    step: int
    head: int
    revision: str  # of the weights that recorded it
    kept: int = 4  # steps of 25; one takes 1 MB in fp16, and a repository keeps every version of a file

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.caption, seed=self.seed, revision=self.revision)

    @property
    def trace(self) -> Path:
        return GALLERY / f"{self.name}.safetensors"

    @property
    def steps(self) -> list[int]:
        """The steps recorded in its trace."""
        return [step for step, _ in read_description(self.trace)["timesteps"]]

    @property
    def picture(self) -> Path:
        return GALLERY / f"{self.name}.png"


def exhibits() -> list[Exhibit]:
    """The entries of `assets/gallery/index.json`; the page opens with the first."""
    entries = json.loads((GALLERY / "index.json").read_text())
    return [Exhibit(**{**entry, "point": tuple(entry["point"])}) for entry in entries]


def pin_revision(recipe: Recipe) -> Recipe:
    """If the gallery shows this recipe and it names no weights we have, use the gallery's weights."""
    if recipe.revision == recipe.weights:
        return recipe
    revisions = {replace(exhibit.recipe, revision=recipe.revision): exhibit.revision for exhibit in exhibits()}
    return replace(recipe, revision=revisions[recipe]) if recipe in revisions else recipe


def record_all() -> None:
    """Follow every exhibit's recipe and write its trace and its picture."""
    import torch
    from PIL import Image

    from models import load
    from viz.lesson.file import write_lesson
    from viz.lesson.watch import replay
    from viz.recording.run import perform

    for exhibit in exhibits():
        trace = perform(exhibit.recipe, load("critters", revision=exhibit.recipe.weights))
        steps = spread(len(trace.steps), exhibit.kept)
        trace.select(steps=steps, dtype=torch.float16).save(exhibit.trace)
        assert trace.picture is not None
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
