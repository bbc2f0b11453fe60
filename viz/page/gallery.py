"""The gallery: recipes with a poster each, and a view worth opening. `python -m viz.page.gallery` records it again.

`assets/gallery/index.json` lists the exhibits in display order. The first comes with a trace of some of its steps, with
which the page opens. All are followed whole by `viz.page.ahead`, or when they are chosen, and kept by `viz.page.store`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from PIL import Image

from models.assets import ASSETS
from viz.recipe import Recipe, spread
from viz.trace_header import prefix_bytes, read_description
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


# What the page begins with where every exhibit is damaged: a run that has no files.
UNSHOWN = Exhibit(
    "", "a round purple monster", 2, (0.5, 0.5), "up_blocks.2.attentions.1.transformer_blocks.0.attn1", 16, -1, ""
)


@lru_cache(maxsize=1)
def exhibits() -> list[Exhibit]:
    """The entries of `assets/gallery/index.json`, without those whose files are damaged; the page opens with the first.

    They are read once, so that an index into them always means the same one.
    """
    try:
        entries = json.loads((GALLERY / "index.json").read_text())
        whole = [exhibit for exhibit in map(_read_entry, entries) if exhibit is not None]
    except (OSError, ValueError, TypeError) as error:
        logging.warning(
            "The gallery is left out, because its index cannot be read (%s). Install PixelGaze again.", error
        )
        return []
    return whole


def _read_entry(entry: dict) -> Exhibit | None:
    """An exhibit, if its files are whole; else None, after a warning that says what is wrong."""
    try:
        exhibit = Exhibit(**{**entry, "point": tuple(entry["point"])})
        with Image.open(exhibit.picture) as picture:
            picture.verify()
        if exhibit.trace is not None:
            prefix_bytes(exhibit.trace, exhibit.layer, exhibit.step)
    except (OSError, ValueError, TypeError, KeyError, SyntaxError) as error:  # SyntaxError: a PNG that ends too early
        name = entry.get("name") if isinstance(entry, dict) else entry
        logging.warning("The exhibit %s is left out, because it is damaged (%s). Install PixelGaze again.", name, error)
        return None
    return exhibit


def first_exhibit() -> Exhibit:
    """The first exhibit whose files are whole; `UNSHOWN` if there is none."""
    return next(iter(exhibits()), UNSHOWN)


def opening_exhibit() -> Exhibit | None:
    """The exhibit that the page opens with: the first, if its recording is whole."""
    return None if first_exhibit().trace is None else first_exhibit()


def first_trace() -> Path:
    """The trace that the page opens with; FileNotFoundError if it is damaged."""
    first = opening_exhibit()
    if first is None or first.trace is None:
        raise FileNotFoundError("The recording that the page opens with is damaged. Install PixelGaze again.")
    return first.trace


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
    from models import load
    from viz.export import for_browser
    from viz.lesson.file import write_lesson
    from viz.lesson.watch import replay
    from viz.recording.run import perform

    entries = json.loads((GALLERY / "index.json").read_text())  # also those whose files are damaged
    gallery = [Exhibit(**{**entry, "point": tuple(entry["point"])}) for entry in entries]
    for exhibit in gallery:
        trace = perform(exhibit.recipe, load("critters", revision=exhibit.recipe.weights))
        assert trace.picture is not None
        Image.fromarray(trace.picture).resize((192, 192), Image.Resampling.NEAREST).save(exhibit.picture, optimize=True)
        if exhibit.trace is not None:
            kept = for_browser(trace.select(steps=steps_to_keep(exhibit)))
            kept.save(exhibit.trace, compact=True, first=(exhibit.layer, exhibit.step))
            print(f"{exhibit.trace.name}: {exhibit.trace.stat().st_size / 1e6:.1f} MB")
    first = gallery[0]
    pipeline = load("critters", revision=first.recipe.weights)
    calls, picture = replay(pipeline, first.recipe)
    write_lesson(
        pipeline.unet, calls[first.step], first.layer, LESSON, picture=picture, caption=first.caption, step=first.step
    )


if __name__ == "__main__":
    record_all()
