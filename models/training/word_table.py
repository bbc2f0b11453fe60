"""The figures about words as Markdown tables: printed by the evaluation, and part of the model's card."""

from __future__ import annotations

from collections.abc import Iterable

NAMES = {
    "eyes": "*eyes*, *eye*",
    "crown": "*horns*, *ears*, *antennas*",
    "mouth": "*mouth*",
    "monster": "*monster*",
    "background": "*background*",
    "eye_color": "colour of the eyes",
    "crown_color": "colour of the crown",
    "body_color": "colour of the body",
    "background_color": "colour of the background",
    "shape": "shape",
    "eye_count": "number of eyes",
    "mouth_kind": "kind of mouth",
}


def pointing_table(words: dict) -> str:
    """How often maps have their maximum in the part of their word, a row for each role.

    Args:
        words: as `word_measure` returns it.
    """
    headings = ["chance", "elsewhere", "untrained", "words shuffled", "captions shuffled"]
    headings += [f"mean of {words['heads']}", f"best {words['quarter']}", "best head", "95 %"]
    rows = []
    for role, name in NAMES.items():
        figures = words["roles"][role]
        best = figures["best"]
        rates = [figures["chance"], best["elsewhere"], *(figures[each]["rate"] for each in CONTROLS)]
        rates += [figures["mean"]["rate"], figures["best_quarter"]["rate"], best["rate"]]
        rows.append([name, *map(tenths, rates), " to ".join(map(tenths, best["interval"]))])
    return _table(["% of maxima in the part", *headings], rows)


CONTROLS = ("untrained", "shuffled_words", "shuffled_captions")


def overlap_table(words: dict) -> str:
    """Intersection over union, a row for each noun."""
    headings = ["everything", "untrained", f"mean of {words['heads']}", f"best {words['quarter']}", "best head", "95 %"]
    rows = []
    for noun, figures in words["overlap"].items():
        each = [figures[name]["iou"] for name in ("untrained", "mean", "best_quarter", "best")]
        interval = " to ".join(f"{bound:.3f}" for bound in figures["best"]["interval"])
        rows.append([NAMES[noun], *(f"{value:.3f}" for value in (figures["chance"], *each)), interval])
    return _table(["intersection over union", *headings], rows)


def tenths(rate: float) -> str:
    """A rate in per cent with one decimal, or two where it would otherwise be rounded to 100 or to 0."""
    text = f"{rate * 100:.1f}"
    return f"{rate * 100:.2f}" if text in ("100.0", "0.0") and rate not in (0, 1) else text


def _table(headings: list[str], rows: Iterable[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
