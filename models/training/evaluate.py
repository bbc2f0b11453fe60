"""Evaluate the bundled model: `python -m models.training.evaluate` prints its card's figures, as JSON on the last line.

All critters are held out: neither model nor judge was trained on seeds from `models.training.train.HELD_OUT` on.
Four questions are asked.

- *Can the judge be trusted?* `judge_accuracy`: on drawn critters, half of whose pairs of eyes do not match.
- *Does the model draw what the caption says?* `attribute_accuracy`: captions that say everything; each attribute as
  the judge sees it, and their mean. `eye_color` is right only when both eyes are; `crown_color` is counted only
  where the caption's critter has a crown.
- *Does it agree with itself?* `eyes_agree_unasked`: captions that do not mention eyes; of the pictures in which the
  judge sees two, the fraction whose left and right eye have one colour. `eyes_agree_asked`: the same where the captions
  say everything.
- *Where does it look for that?* `twin_over_uniform`, `twin_control`: see `models.training.twins`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from models import load
from models.attributes import ATTRIBUTES, Attributes
from models.critters import Critter, draw
from models.pipeline import CritterPipeline
from models.training.judge import JUDGE, QUESTIONS, Judge, Verdict, accuracy
from models.training.train import HELD_OUT
from models.training.twins import twin_measure, two_eyed

# Each question has held-out critters of its own.
SAID, UNASKED, JUDGED, CHOOSING, REPORTING = (HELD_OUT + million * 1_000_000 for million in (1, 2, 3, 4, 5))
NO_EYES = tuple(name for name in ATTRIBUTES if name not in ("eye_count", "eye_color"))


def evaluate(
    pipeline: CritterPipeline,
    judge: Judge,
    *,
    count: int = 500,
    batch: int = 25,
    steps: int = 25,
    guidance: float = 1.5,
    judged: int = 10_000,
    twins: tuple[int, int] = (20, 40),
) -> dict:
    """The evaluation as a dictionary that JSON can hold.

    Args:
        count: captions that say everything, and as many again that do not mention eyes.
        batch: pictures drawn at a time.
        steps, guidance: of the DDIM sampler.
        judged: drawn critters on which the judge is tried.
        twins: two-eyed critters on which the head is chosen, and on which it is reported.
    """
    began = time.perf_counter()
    result = {"judge_accuracy": rounded(accuracy(judge, judged, JUDGED))}
    result |= twin_measure(pipeline, two_eyed(twins[0], CHOOSING), two_eyed(twins[1], REPORTING))

    critters = [draw(SAID + index) for index in range(count)]
    captions = {
        "say everything": [critter.caption() for critter in critters],
        "leave the eyes open": [draw(UNASKED + index).caption(NO_EYES) for index in range(count)],
    }
    said, unasked = (
        judge.read(sample(pipeline, texts, batch=batch, steps=steps, guidance=guidance, label=f"captions that {label}"))
        for label, texts in captions.items()
    )
    by_name = fraction_right(said, critters)
    agree_asked, pairs_asked = eyes_agree(said)
    agree_unasked, pairs_unasked = eyes_agree(unasked)
    counts = {"captions": count, "two_eyed_asked": pairs_asked, "two_eyed_unasked": pairs_unasked}
    return result | {
        "attribute_accuracy": round(sum(by_name.values()) / len(by_name), 4),
        "attribute_accuracy_by_name": rounded(by_name),
        "eyes_agree_unasked": agree_unasked,
        "eyes_agree_asked": agree_asked,
        "counts": counts | {"judged": judged, "twins_choosing": twins[0], "twins_reporting": twins[1]},
        "steps": steps,
        "guidance": guidance,
        "seconds": round(time.perf_counter() - began, 1),
    }


def sample(
    pipeline: CritterPipeline, captions: Sequence[str], *, batch: int, steps: int, guidance: float, label: str = ""
) -> list[Image.Image]:
    """One picture a caption, with the caption's place as its seed, computed in bf16."""
    pipeline.unet.to(memory_format=torch.channels_last)
    images = []
    with torch.autocast(pipeline.device.type, torch.bfloat16), tqdm(total=len(captions), desc=label) as bar:
        for start in range(0, len(captions), batch):
            texts = captions[start : start + batch]
            images += pipeline(texts, seed=start, num_inference_steps=steps, guidance_scale=guidance).images
            bar.update(len(texts))
    return images


def right(verdict: Verdict, wanted: Attributes) -> dict[str, bool]:
    """Whether the judge sees each attribute as it was wanted; no "crown_color" where no crown was."""
    marks = {name: getattr(verdict, name) == getattr(wanted, name) for name in ATTRIBUTES if name in QUESTIONS}
    marks["eye_color"] = verdict.left_eye_color == verdict.right_eye_color == wanted.eye_color
    if wanted.crown == "none":
        del marks["crown_color"]
    return marks


def fraction_right(verdicts: Sequence[Verdict], critters: Sequence[Critter]) -> dict[str, float]:
    """{attribute: fraction of the verdicts that are as the critter's caption said}."""
    marks = [right(verdict, critter.attributes) for verdict, critter in zip(verdicts, critters, strict=True)]
    columns = {name: [row[name] for row in marks if name in row] for name in ATTRIBUTES}
    return {name: sum(column) / len(column) for name, column in columns.items() if column}


def eyes_agree(verdicts: Sequence[Verdict]) -> tuple[float | None, int]:
    """Of the pictures with two eyes: the fraction whose eyes have one colour (None without any), and their number."""
    pairs = [verdict.eyes_agree for verdict in verdicts if verdict.eye_count == "two"]
    return (round(sum(pairs) / len(pairs), 4) if pairs else None), len(pairs)


def rounded(fractions: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in fractions.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="critters", help="what models.load opens: critters, or a folder")
    parser.add_argument("--count", type=int, default=500, help="captions of each kind")
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--out", type=Path, help="a file to keep the figures in; the card's for the bundled model")
    arguments = parser.parse_args()
    out = arguments.out
    if out is None and arguments.model == "critters" and arguments.count == parser.get_default("count"):
        out = JUDGE.parent / "evaluation.json"
    pipeline = load(arguments.model)
    if not isinstance(pipeline, CritterPipeline):
        parser.error(f"expected a model that draws critters, got a {type(pipeline).__name__} in {arguments.model}")
    result = evaluate(pipeline, Judge.from_pretrained(JUDGE), count=arguments.count, batch=arguments.batch)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
