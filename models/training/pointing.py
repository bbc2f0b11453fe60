"""Critters as subjects of a measurement of words, and how often the maximum of a word's map lies in the word's part.

That is the pointing game (Zhang et al. 2018, arXiv 1608.00507) without its tolerance.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.critters import SIZE, Critter
from models.pipeline import CritterPipeline
from models.training.batches import to_pixels
from models.training.twins import TIMESTEPS
from models.training.word_maps import Groups, Head, Landings, landings
from models.training.word_parts import NONE, REGIONS, ROLES, Parts, parts_of

NEAR = 2  # pixels: one cell of the finest grid with attention


@dataclass(frozen=True)
class Subject:
    """P critters as the network is shown them.

    Attributes:
        pixels: (P, 3, 64, 64) in [-1, 1].
        ids: (P, length), the captions as word indices.
        places: (P, R), where the word of each role stands in them; -1 where there is none.
        parts: what the words' maps are compared with.
    """

    pixels: torch.Tensor
    ids: torch.Tensor
    places: np.ndarray
    parts: Parts

    @classmethod
    def of(cls, pipeline: CritterPipeline, critters: Sequence[Critter]) -> Subject:
        """The critters with captions that mention everything."""
        captions = [critter.caption() for critter in critters]
        parts = parts_of(critters, [pipeline.encoder.read(text).words for text in captions])
        pixels = to_pixels([critter.image for critter in critters])
        return cls(pixels, pipeline.encoder.ids(captions), parts.places, parts)

    def with_shuffled_words(self, seed: int = 0) -> Subject:
        """The words of each caption in a random order."""
        rng = random.Random(seed)
        ids, places = self.ids.clone(), self.places.copy()
        for index, words in enumerate(self.parts.words):
            order = rng.sample(range(len(words)), len(words))  # the new word i is the old word order[i]
            ids[index, : len(words)] = self.ids[index, order]
            old = self.places[index]
            places[index] = np.where(old == NONE, NONE, np.argsort(order)[old])
        return replace(self, ids=ids, places=places)

    def with_next_captions(self) -> Subject:
        """Every critter with the caption of the next one; the last with that of the first."""
        return replace(self, ids=self.ids.roll(-1, 0), places=np.roll(self.places, -1, 0))


@dataclass(frozen=True)
class Measured:
    """Where the words' maps land on some critters. L maps of a word: one of each head, then one of each group."""

    subject: Subject
    landings: Landings

    @classmethod
    def of(
        cls,
        pipeline: CritterPipeline,
        subject: Subject,
        groups: Groups | None = None,
        *,
        batch: int = 25,
        label: str = "",
    ) -> Measured:
        found = landings(
            pipeline, subject.pixels, subject.ids, subject.places, subject.parts.masks, groups, batch=batch, label=label
        )
        return cls(subject, found)

    def counts(self, role: str) -> np.ndarray:
        """(P,) bool: the critters whose caption has a word in this role, and that have its part."""
        index = ROLES.index(role)
        return (self.subject.places[:, index] != NONE) & (self.subject.parts.places[:, index] != NONE)

    def hits(self, role: str, *, within: int = 0) -> np.ndarray:
        """(P', T, L) bool, of the critters that count: whether a map's maximum lies in the word's part.

        Args:
            within: or at most so many pixels away from it.
        """
        return _at(grown(self.subject.parts.masks(role), within), self._peaks(role))[self.counts(role)]

    def hits_elsewhere(self, role: str) -> np.ndarray:
        """(P', T, L) bool: whether the maximum lies where the *next* critter has this part."""
        counts = self.counts(role) & np.roll(self.counts(role), -1)
        return _at(np.roll(self.subject.parts.masks(role), -1, 0), self._peaks(role))[counts]

    def regions(self, role: str) -> np.ndarray:
        """(P', T, L): the index of the region, of `REGIONS`, in which the maximum lies."""
        return _at(self.subject.parts.regions, self._peaks(role))[self.counts(role)]

    def chance(self, role: str, *, within: int = 0) -> float:
        """How often a random pixel would lie in the part: the mean share of the picture that it takes."""
        return float(grown(self.subject.parts.masks(role), within)[self.counts(role)].mean())

    def written(self, role: str) -> np.ndarray:
        """(P',) the words in this role, as the critters' own captions write them."""
        index, counts, parts = ROLES.index(role), self.counts(role), self.subject.parts
        return np.array([parts.words[i][parts.places[i, index]] for i in np.flatnonzero(counts)])

    def _peaks(self, role: str) -> np.ndarray:
        return self.landings.peaks[..., ROLES.index(role)]

    def best_heads(self, role: str, number: int = 1) -> list[Head]:
        """The heads that point at the word's part most often, all timesteps together; the best first."""
        rates = self.hits(role)[..., : len(self.landings.heads)].mean((0, 1))
        return [self.landings.heads[index] for index in np.argsort(-rates, kind="stable")[:number]]

    def best_head_at(self, role: str, timestep: int) -> Head:
        """The head that points best at one of `TIMESTEPS`."""
        rates = self.hits(role)[:, TIMESTEPS.index(timestep), : len(self.landings.heads)].mean(0)
        return self.landings.heads[int(rates.argmax())]

    def map_of(self, what: Head | str) -> int:
        """The place of a head's map, or of a group's, among the L maps."""
        if isinstance(what, str):
            return len(self.landings.heads) + self.landings.groups.index(what)
        return self.landings.heads.index(what)


def _at(pictures: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """The values of pictures (P, 64, 64) at pixels (P, T, L)."""
    return pictures.reshape(len(pictures), -1)[np.arange(len(pictures))[:, None, None], peaks]


def grown(masks: np.ndarray, by: int) -> np.ndarray:
    """Masks (P, 64, 64) and all pixels whose centres are at most `by` pixels away from one of theirs."""
    if by == 0:
        return masks
    padded = np.pad(masks, ((0, 0), (by, by), (by, by)))
    result = np.zeros_like(masks)
    for dy in range(-by, by + 1):
        for dx in range(-by, by + 1):
            if math.hypot(dy, dx) <= by:
                result |= padded[:, by + dy : by + dy + SIZE, by + dx : by + dx + SIZE]
    return result


def wilson(share: float, number: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a rate seen in `number` independent trials (Wilson 1927)."""
    centre = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z * math.sqrt(share * (1 - share) / number + (z / (2 * number)) ** 2) / (1 + z * z / number)
    return max(0.0, centre - half), min(1.0, centre + half)


def share(hits: np.ndarray) -> dict:
    """The share of hits (P,) or (P, T), and its interval.

    The interval takes the number of pictures as the number of trials: the timesteps of one picture are not independent,
    so they count as one.

    Raises:
        ValueError: if there is no picture.
    """
    if len(hits) == 0:
        raise ValueError("expected at least one picture that has the part, got none; take more critters")
    value = float(hits.mean())
    return {"rate": round(value, 4), "interval": [round(bound, 4) for bound in wilson(value, len(hits))]}


def rate(hits: np.ndarray) -> dict:
    """The share of hits (P, T), its interval, and the share at each of `TIMESTEPS`."""
    by_timestep = {str(t): round(float(each), 4) for t, each in zip(TIMESTEPS, hits.mean(0), strict=True)}
    return share(hits) | {"by_timestep": by_timestep}


def shares_of_regions(regions: np.ndarray) -> dict[str, float]:
    """{region: share of the numbers in `regions`}."""
    return {name: round(float((regions == index).mean()), 4) for index, name in enumerate(REGIONS)}
