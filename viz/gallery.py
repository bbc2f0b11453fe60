"""The gallery: recorded traces that come with the project, and recording them (`python -m viz.gallery`).

`assets/gallery/index.json` lists them in the order shown, each with a view that has something to say, so that the page
can open on one without reading any trace.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from viz.header import described

GALLERY = Path(__file__).parent.parent / "assets" / "gallery"
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
    def steps(self) -> list[int]:
        """The steps that its trace holds."""
        return [step for step, _ in described(self.trace)["timesteps"]]

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

    pipeline = load("critters")
    for exhibit in exhibits():
        trace = perform(Recipe(exhibit.caption, seed=exhibit.seed), pipeline)
        layers = [layer.name for layer in trace if layer.kind == "self"]
        steps = spread(len(trace.steps), GALLERY_STEPS)
        trace.select(layers=layers, steps=steps, dtype=torch.float16).save(exhibit.trace)
        Image.fromarray(trace.picture).resize((192, 192), Image.Resampling.NEAREST).save(exhibit.picture, optimize=True)
        print(f"{exhibit.trace.name}: {exhibit.trace.stat().st_size / 1e6:.1f} MB, {asdict(exhibit)}")


if __name__ == "__main__":
    record_all()
