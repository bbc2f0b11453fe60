"""Evaluate the bundled model: `python -m models.training.evaluate` prints its card's figures, as JSON on the last line.

All critters are held out: neither model nor judge was trained on seeds from `models.training.config.HELD_OUT` on.
The figures name the `revision` of the weights that they were measured on, and answer five questions.

- *Can the judge be trusted?* `judge_accuracy`: on drawn critters, half of whose pairs of eyes do not match.
- *Does the model draw what the caption says?* `attribute_accuracy`: for captions that mention everything, how often the
  judge sees each attribute as the caption has it, and the mean. `eye_color` is right only when both eyes are;
  `crown_color` counts only where the caption's critter has a crown.
- *Does it agree with itself?* `eyes_agree_unasked`: for captions that do not mention eyes, the fraction of pictures
  with two eyes (as the judge sees it) whose eyes have the same colour. `eyes_agree_asked`: the same for captions that
  mention everything.
- *Where does it look for that?* `twin_over_uniform`, `twin_control`: see `models.training.twins`.
- *Does a word's map land on the part that the word names?* `words`: see `models.training.word_measure`.
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
from models.critters import Critter, draw_critter
from models.opening.revision import BUNDLED, revision_of
from models.pipeline import CritterPipeline
from models.training.config import HELD_OUT
from models.training.judge import JUDGE, QUESTIONS, Judge, Verdict, judge_accuracy
from models.training.twins import twin_measure, two_eyed_critters
from models.training.word_measure import word_measure
from models.training.word_table import overlap_table, pointing_table

# Each question has its own held-out critters, from these seeds on.
MENTIONED, UNMENTIONED, JUDGED, CHOOSING, REPORTING, WORDS_CHOOSING, WORDS_REPORTING = (
    HELD_OUT + million * 1_000_000 for million in (1, 2, 3, 4, 5, 6, 8)
)
EVALUATION = JUDGE.parent / "evaluation.json"  # the figures of the bundled model's card
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
    """The figures, as a dictionary that JSON can hold.

    Args:
        count: how many captions that mention everything, and as many again that do not mention eyes; and on how many
            drawn critters words are measured.
        batch: how many pictures are drawn at a time.
        steps, guidance: of the DDIM sampler.
        judged: on how many drawn critters the judge is tested.
        twins: on how many two-eyed critters the head is chosen, and on how many it is measured.
    """
    began = time.perf_counter()
    words = words_figures(pipeline, count, batch=batch)  # before sampling, which lays the weights out otherwise
    result: dict = {"judge_accuracy": rounded(judge_accuracy(judge, judged, JUDGED))}
    result |= twin_measure(pipeline, two_eyed_critters(twins[0], CHOOSING), two_eyed_critters(twins[1], REPORTING))

    critters = [draw_critter(MENTIONED + index) for index in range(count)]
    captions = {
        "mention everything": [critter.caption() for critter in critters],
        "do not mention eyes": [draw_critter(UNMENTIONED + index).caption(NO_EYES) for index in range(count)],
    }
    mentioned, unmentioned = (
        judge.read(sample(pipeline, texts, batch=batch, steps=steps, guidance=guidance, label=f"captions that {label}"))
        for label, texts in captions.items()
    )
    by_name = fraction_right(mentioned, critters)
    agree_asked, pairs_asked = eyes_agree(mentioned)
    agree_unasked, pairs_unasked = eyes_agree(unmentioned)
    counts = {"captions": count, "two_eyed_asked": pairs_asked, "two_eyed_unasked": pairs_unasked}
    return result | {
        "attribute_accuracy": round(sum(by_name.values()) / len(by_name), 4),
        "attribute_accuracy_by_name": rounded(by_name),
        "eyes_agree_unasked": agree_unasked,
        "eyes_agree_asked": agree_asked,
        "counts": counts | {"judged": judged, "twins_choosing": twins[0], "twins_reporting": twins[1]},
        "steps": steps,
        "guidance": guidance,
        "words": words,
        "seconds": round(time.perf_counter() - began, 1),
    }


def words_figures(pipeline: CritterPipeline, count: int = 500, *, batch: int = 25) -> dict:
    """The figures about words, measured on `count` critters, with heads chosen on a fifth as many others.

    Of both at least ten, so that some have a crown.
    """
    few, many = (
        [draw_critter(first + index) for index in range(max(10, number))]
        for first, number in ((WORDS_CHOOSING, count // 5), (WORDS_REPORTING, count))
    )
    return word_measure(pipeline, few, many, batch=batch)


def sample(
    pipeline: CritterPipeline, captions: Sequence[str], *, batch: int, steps: int, guidance: float, label: str = ""
) -> list[Image.Image]:
    """One picture per caption, with the caption's index as its seed, computed in bf16."""
    pipeline.unet.to(memory_format=torch.channels_last)
    images = []
    with torch.autocast(pipeline.device.type, torch.bfloat16), tqdm(total=len(captions), desc=label) as bar:
        for start in range(0, len(captions), batch):
            texts = captions[start : start + batch]
            images += pipeline(texts, seed=start, num_inference_steps=steps, guidance_scale=guidance).images
            bar.update(len(texts))
    return images


def mark(verdict: Verdict, expected: Attributes) -> dict[str, bool]:
    """{attribute: whether the judge sees it as expected}; without "crown_color" where no crown is expected."""
    marks = {name: getattr(verdict, name) == getattr(expected, name) for name in ATTRIBUTES if name in QUESTIONS}
    marks["eye_color"] = verdict.left_eye_color == verdict.right_eye_color == expected.eye_color
    if expected.crown == "none":
        del marks["crown_color"]
    return marks


def fraction_right(verdicts: Sequence[Verdict], critters: Sequence[Critter]) -> dict[str, float]:
    """{attribute: fraction of the verdicts that agree with the critter's attributes}."""
    marks = [mark(verdict, critter.attributes) for verdict, critter in zip(verdicts, critters, strict=True)]
    columns = {name: [row[name] for row in marks if name in row] for name in ATTRIBUTES}
    return {name: sum(column) / len(column) for name, column in columns.items() if column}


def eyes_agree(verdicts: Sequence[Verdict]) -> tuple[float | None, int]:
    """Of the pictures with two eyes: the fraction whose eyes have the same colour, if any, and their number."""
    pairs = [verdict.eyes_agree for verdict in verdicts if verdict.eye_count == "two"]
    return (round(sum(pairs) / len(pairs), 4) if pairs else None), len(pairs)


def rounded(fractions: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in fractions.items()}


def others(file: Path | None, revision: str) -> dict:
    """The figures in a file, if they are of this revision of the weights; none otherwise."""
    figures = json.loads(file.read_text()) if file is not None and file.is_file() else {}
    return figures if figures.get("revision") == revision else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="critters", help="critters, or the folder of a pipeline")
    parser.add_argument("--count", type=int, default=500, help="captions of each kind")
    parser.add_argument("--batch", type=int, default=25)
    parser.add_argument("--out", type=Path, help="the file to write; by default evaluation.json for the bundled model")
    parser.add_argument(
        "--only-words", action="store_true", help="measure words only; the file keeps its other figures"
    )
    arguments = parser.parse_args()
    out = arguments.out
    if out is None and arguments.model == "critters" and arguments.count == parser.get_default("count"):
        out = EVALUATION
    pipeline = load(arguments.model)
    if not isinstance(pipeline, CritterPipeline):
        parser.error(f"expected a model that draws critters, got a {type(pipeline).__name__} in {arguments.model}")
    folder = BUNDLED.get(arguments.model, Path(arguments.model))
    result: dict = {"revision": revision_of(folder)}
    if arguments.only_words:
        result |= others(out, result["revision"]) | {
            "words": words_figures(pipeline, arguments.count, batch=arguments.batch)
        }
    else:
        judge = Judge.from_pretrained(JUDGE)
        result |= evaluate(pipeline, judge, count=arguments.count, batch=arguments.batch)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n")
    print(pointing_table(result["words"]), overlap_table(result["words"]), json.dumps(result), sep="\n\n")


if __name__ == "__main__":
    main()
