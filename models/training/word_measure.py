"""Does a word's map land on the part that the word names? The figures about words in the bundled model's card.

Heads are chosen on some critters and measured on others, so that choosing the best of forty does not flatter it. Every
rate stands beside what it must be compared with:

- `chance`: the share of the picture that the part takes.
- `elsewhere`: the same maps on the next critter's part: how far it gets one to know where such parts usually are.
- `untrained`: the best head, chosen in the same way, of a network and an encoder with random weights.
- `shuffled_words`: the words of every caption in a random order, so that they stand beside other words.
- `shuffled_captions`: every picture with the caption of the next one; a word is compared with the part that the word in
  its place should name.

Intervals are of 95 %: Wilson's for rates, with the number of pictures as the number of trials (`pointing.rate`); for
means, 1.96 standard errors over pictures to either side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from models.critters import Critter
from models.notes import PHRASES
from models.pipeline import CritterPipeline
from models.training.pointing import NEAR, Measured, Subject, rate, share, shares_of_regions
from models.training.twins import TIMESTEPS
from models.training.word_maps import THRESHOLDS, Groups, Head
from models.training.word_parts import NOUNS, ROLES

ALL, QUARTER = "mean", "best_quarter"  # groups of heads whose mean is a map


def word_measure(
    pipeline: CritterPipeline, choosing: Sequence[Critter], reporting: Sequence[Critter], *, batch: int = 25
) -> dict:
    """The figures, as a dictionary that JSON can hold.

    Args:
        choosing: the critters on which heads and thresholds are chosen.
        reporting: those on which they are measured.
    """
    few, many = Subject.of(pipeline, choosing), Subject.of(pipeline, reporting)
    first = Measured.of(pipeline, few, batch=batch, label="words: choosing heads")
    groups = head_groups(first)
    chosen = Measured.of(pipeline, few, groups, batch=batch, label="words: choosing thresholds")
    found = Measured.of(pipeline, many, groups, batch=batch, label="words")
    blank = untrained(pipeline)
    blank_chosen = Measured.of(blank, few, batch=batch, label="words, untrained: choosing")
    blank_found = Measured.of(blank, many, batch=batch, label="words, untrained")
    shuffled = {
        "shuffled_words": Measured.of(pipeline, many.with_shuffled_words(), batch=batch, label="shuffled words"),
        "shuffled_captions": Measured.of(pipeline, many.with_next_captions(), batch=batch, label="shuffled captions"),
    }
    roles = {role: pointing(role, chosen, found) for role in ROLES}
    for role, figures in roles.items():
        figures["untrained"] = best(role, blank_chosen, blank_found)
        head = chosen.best_heads(role)[0]
        figures |= {name: share(each.hits(role)[..., each.map_of(head)]) for name, each in shuffled.items()}
    overlaps = {noun: overlap(noun, chosen, found) for noun in NOUNS}
    for noun, figures in overlaps.items():
        figures["untrained"] = overlap(noun, blank_chosen, blank_found)["best"]
    return {
        "choosing": len(choosing),
        "pictures": len(reporting),
        "timesteps": list(TIMESTEPS),
        "heads": len(found.landings.heads),
        "quarter": len(groups[QUARTER][ROLES[0]]),
        "roles": roles,
        "overlap": overlaps,
        "nouns": by_noun(chosen, found),
        "values": by_value(chosen, found),
    }


def untrained(pipeline: CritterPipeline) -> CritterPipeline:
    """A pipeline of the same shape whose network and encoder have random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet, encoder = (type(part).from_config(part.config).eval() for part in (pipeline.unet, pipeline.encoder))
    return CritterPipeline(unet, encoder, pipeline.scheduler)


def head_groups(chosen: Measured) -> Groups:
    """All heads, and for each role the quarter of them that points best."""
    heads = list(chosen.landings.heads)
    number = max(1, len(heads) // 4)
    return {
        ALL: {role: heads for role in ROLES},
        QUARTER: {role: chosen.best_heads(role, number) for role in ROLES},
    }


def best(role: str, chosen: Measured, found: Measured) -> dict:
    """How often the head that points best on one set points at the part on the other."""
    layer, head = chosen.best_heads(role)[0]
    return {"layer": layer, "head": head} | rate(found.hits(role)[..., found.map_of((layer, head))])


def pointing(role: str, chosen: Measured, found: Measured) -> dict:
    """How often the maps of a role's words point at their part: the best head, the groups, and every head."""
    figures = best(role, chosen, found)
    index = found.map_of((figures["layer"], figures["head"]))
    hits = found.hits(role)
    figures["near"] = share(found.hits(role, within=NEAR)[..., index])
    figures["elsewhere"] = rate(found.hits_elsewhere(role)[..., index])["rate"]
    figures["lands_on"] = shares_of_regions(found.regions(role)[..., index])
    return {
        "pictures": len(hits),
        "chance": round(found.chance(role), 4),
        "chance_near": round(found.chance(role, within=NEAR), 4),
        "best": figures,
        "best_at": {str(timestep): best_at(role, timestep, chosen, found) for timestep in TIMESTEPS},
        **{group: rate(hits[..., found.map_of(group)]) for group in (ALL, QUARTER)},
        "by_head": by_head(found.landings.heads, hits.mean((0, 1))),
    }


def best_at(role: str, timestep: int, chosen: Measured, found: Measured) -> dict:
    """The same as `best` for the head that points best at one timestep, and at that timestep."""
    layer, head = chosen.best_head_at(role, timestep)
    hits = found.hits(role)[:, TIMESTEPS.index(timestep), found.map_of((layer, head))]
    return {"layer": layer, "head": head} | share(hits)


def by_head(heads: Sequence[Head], values: np.ndarray) -> dict[str, list[float]]:
    """{layer: the number of each head}."""
    result: dict[str, list[float]] = {}
    for (layer, _), value in zip(heads, values, strict=False):
        result.setdefault(layer, []).append(round(float(value), 4))
    return result


def overlap(noun: str, chosen: Measured, found: Measured) -> dict:
    """Intersection over union of a noun's part and the pixels where its map reaches a share of its maximum.

    The head, and for every map the share, are those that are best on the other set.
    """
    before, after = (
        each.landings.overlaps[each.counts(noun)][..., NOUNS.index(noun), :].astype(float) for each in (chosen, found)
    )  # (P', T, L, thresholds)
    means = before.mean((0, 1))  # (L, thresholds)
    number = len(found.landings.heads)
    layer, head = found.landings.heads[int(means[:number].max(-1).argmax())]

    def figures(index: int) -> dict:
        level = int(means[index].argmax())
        of_pictures = after[:, :, index, level].mean(1)
        mean, error = of_pictures.mean(), 1.96 * of_pictures.std(ddof=1) / np.sqrt(len(of_pictures))
        interval = [round(float(mean + sign * error), 4) for sign in (-1, 1)]
        return {"iou": round(float(mean), 4), "interval": interval, "threshold": round(float(THRESHOLDS[level]), 2)}

    chosen_levels = means[:number].argmax(-1)
    values = after[:, :, np.arange(number), chosen_levels].mean((0, 1))
    return {
        "chance": round(found.chance(noun), 4),  # all pixels
        "best": {"layer": layer, "head": head} | figures(found.map_of((layer, head))),
        **{group: figures(found.map_of(group)) for group in found.landings.groups},
        "by_head": by_head(found.landings.heads, values),
    }


def by_noun(chosen: Measured, found: Measured) -> dict[str, dict]:
    """{noun as captions write it ("eyes", "eye", "horns"): how often the best head of its role points at its part}."""
    return {
        text: {"role": noun} | figures for noun in NOUNS for text, figures in split(noun, noun, chosen, found).items()
    }


def by_value(chosen: Measured, found: Measured) -> dict[str, dict]:
    """{noun: {role of a word before it: {that word: how often the noun's best head points at the part}}}."""
    return {noun: {role: split(noun, role, chosen, found) for role in values} for noun, values in PHRASES.items()}


def split(noun: str, role: str, chosen: Measured, found: Measured) -> dict[str, dict]:
    """{word in `role`: how often, in captions that have it, the noun's best head points at the noun's part}."""
    layer, head = chosen.best_heads(noun)[0]
    hits, written = found.hits(noun)[..., found.map_of((layer, head))], found.written(role)
    return {
        text: {"pictures": int((written == text).sum())} | share(hits[written == text]) for text in sorted(set(written))
    }
