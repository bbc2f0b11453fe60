"""Rates, intervals, and choosing heads on one set to measure them on another."""

import json
import math

import numpy as np
import pytest
import torch

from models.critters import draw_critter
from models.training import word_measure as module
from models.training.pointing import Measured, Subject, grown, rate, share, shares_of_regions, wilson
from models.training.word_maps import THRESHOLDS, Landings
from models.training.word_measure import ALL, QUARTER, untrained, word_measure
from models.training.word_parts import NOUNS, REGIONS, ROLES


@pytest.fixture(scope="module")
def subject(shared_pipeline) -> Subject:
    return Subject.of(shared_pipeline, [draw_critter(seed) for seed in range(8)])


@pytest.mark.parametrize(
    ("share_seen", "number", "expected"),
    [  # from Wilson's quadratic (p - p̂)² = z² p (1 - p) / n, solved by numpy
        (0.9, 500, None),
        (1.0, 500, None),
        (0.0, 7, None),
        (0.5, 10, (0.2366, 0.7634)),  # as published tables have it
    ],
)
def test_wilson_solves_its_equation(share_seen, number, expected):
    z = 1.96
    roots = np.roots([1 + z * z / number, -(2 * share_seen + z * z / number), share_seen**2])
    assert wilson(share_seen, number) == pytest.approx(tuple(sorted(roots.real)), abs=1e-9)
    if expected:
        assert wilson(share_seen, number) == pytest.approx(expected, abs=1e-4)


def test_rates_count_pictures_not_timesteps():
    hits = np.array([[True, True, True, False], [True, False, False, False]])
    figures = rate(hits)
    assert figures["rate"] == 0.5
    assert figures["interval"] == pytest.approx(wilson(0.5, 2), abs=1e-4)
    assert figures["by_timestep"] == {"50": 1.0, "250": 0.5, "500": 0.5, "750": 0.0}
    with pytest.raises(ValueError, match="at least one picture"):
        share(hits[:0])


@pytest.mark.parametrize("by", [0, 1, 2, 3])
def test_grown_adds_what_is_near(by):
    rng = np.random.default_rng(by)
    mask = rng.random((64, 64)) > 0.998
    mask[0, 0] = mask[63, 5] = True
    places = np.argwhere(mask)
    expected = [[min(math.hypot(*(place - (y, x))) for place in places) <= by for x in range(64)] for y in range(64)]
    assert (grown(mask[None], by)[0] == np.array(expected)).all()


def peaks_in(masks: np.ndarray) -> np.ndarray:
    """(P,) the first pixel of each mask, or 0."""
    return masks.reshape(len(masks), -1).argmax(1)


def measured(subject: Subject, right: dict[str, list[int]]) -> Measured:
    """Four heads and two groups; `right` has, for each role, the maps whose maximum lies in the part."""
    heads = tuple(("a", i) for i in range(2)) + tuple(("b", i) for i in range(2))
    peaks = np.zeros((len(subject.places), 4, 6, len(ROLES)), np.int16)
    overlaps = np.zeros((*peaks.shape[:3], len(NOUNS), len(THRESHOLDS)), np.float16)
    for index, role in enumerate(ROLES):
        inside = peaks_in(subject.parts.masks(role))
        outside = peaks_in(~subject.parts.masks(role))
        for each in range(6):
            peaks[:, :, each, index] = (inside if each in right.get(role, []) else outside)[:, None]
    return Measured(subject, Landings(heads, (ALL, QUARTER), peaks, overlaps))


def test_the_best_head_is_chosen_on_one_set_and_measured_on_another(subject):
    chosen, found = measured(subject, {"eyes": [2]}), measured(subject, {"eyes": [0, 4]})
    figures = module.pointing("eyes", chosen, found)
    assert (figures["best"]["layer"], figures["best"]["head"], figures["best"]["rate"]) == ("b", 0, 0.0)
    assert figures["by_head"] == {"a": [1.0, 0.0], "b": [0.0, 0.0]}
    assert figures["mean"]["rate"] == 1.0 and figures["best_quarter"]["rate"] == 0.0
    assert figures["pictures"] == 8 and figures["chance"] == pytest.approx(subject.parts.masks("eyes").mean(), abs=1e-4)
    assert {each["head"] for each in figures["best_at"].values()} == {0}
    assert sum(figures["best"]["lands_on"].values()) == pytest.approx(1, abs=1e-3)
    assert module.pointing("eyes", found, found)["best"]["lands_on"]["eyes"] == 1.0


def test_near_counts_a_maximum_two_pixels_off(subject):
    found = measured(subject, {"mouth": []})
    mask = subject.parts.masks("mouth")
    top = np.argwhere(mask.any(2))  # (picture, row) of every row with a mouth
    first = np.array([top[top[:, 0] == picture, 1].min() for picture in range(8)])
    column = np.array([np.flatnonzero(mask[picture, row])[0] for picture, row in enumerate(first)])
    for above, near in ((2, 1.0), (3, 0.0)):
        found.landings.peaks[..., ROLES.index("mouth")] = ((first - above) * 64 + column)[:, None, None]
        figures = module.pointing("mouth", found, found)["best"]
        assert (figures["rate"], figures["near"]["rate"]) == (0.0, near)


def test_elsewhere_is_the_next_critters_part(subject):
    found = measured(subject, {})
    following = np.roll(subject.parts.masks("eyes"), -1, 0)
    found.landings.peaks[..., ROLES.index("eyes")] = peaks_in(following)[:, None, None]
    assert found.hits_elsewhere("eyes").all()
    crowns = found.counts("crown")
    assert len(found.hits_elsewhere("crown")) == (crowns & np.roll(crowns, -1)).sum()


def test_with_other_captions_only_critters_with_word_and_part_count(subject):
    other = subject.with_next_captions()
    found = Measured(other, measured(subject, {}).landings)
    has = subject.parts.places[:, ROLES.index("crown")] != -1
    assert (found.counts("crown") == (has & np.roll(has, -1))).all()


def test_overlap_takes_head_and_threshold_from_the_other_set(subject):
    chosen, found = measured(subject, {}), measured(subject, {})
    index = NOUNS.index("eyes")
    chosen.landings.overlaps[:, :, 3, index, 4] = 0.5  # head ("b", 1), threshold 0.25
    found.landings.overlaps[:, :, 3, index, 4] = 0.25
    found.landings.overlaps[:, :, 0, index, 9] = 1.0
    found.landings.overlaps[4:, :, 5, index, 0] = 0.5  # the second group, half of the pictures
    figures = module.overlap("eyes", chosen, found)
    best = figures["best"]
    assert (best["layer"], best["head"], best["iou"], best["threshold"]) == ("b", 1, 0.25, 0.25)
    assert best["interval"] == [0.25, 0.25]
    half = 1.96 * np.std([0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5], ddof=1) / math.sqrt(8)
    assert figures[QUARTER]["iou"] == 0.25 and figures[QUARTER]["interval"] == pytest.approx(
        [0.25 - half, 0.25 + half], abs=1e-4
    )


def test_by_noun_splits_a_role_by_how_it_is_written(subject):
    found = measured(subject, {"crown": [0], "eyes": [1]})
    texts = module.by_noun(found, found)
    counts = [critter.attributes.crown for critter in map(draw_critter, range(8))]
    for crown in ("horns", "ears", "antennas"):
        assert texts.get(crown, {"pictures": 0})["pictures"] == counts.count(crown)
    assert all(each["rate"] == 1.0 for text, each in texts.items() if each["role"] in ("crown", "eyes"))
    assert texts["mouth"]["rate"] == 0.0


def test_by_value_splits_a_noun_by_the_words_before_it(subject):
    found = measured(subject, {"mouth": [3]})
    attributes = [draw_critter(seed).attributes for seed in range(8)]
    inside = np.array([each.mouth == "smiling" for each in attributes])
    peaks = found.landings.peaks[..., ROLES.index("mouth")]
    peaks[~inside, :, 3] = peaks_in(~subject.parts.masks("mouth"))[~inside, None]
    values = module.by_value(found, found)
    assert {role for roles in values.values() for role in roles} == set(ROLES) - set(NOUNS)
    for kind, figures in values["mouth"]["mouth_kind"].items():
        assert figures["pictures"] == sum(each.mouth == kind for each in attributes)
        assert figures["rate"] == (1.0 if kind == "smiling" else 0.0)
    crowned = sum(each.crown != "none" for each in attributes)
    assert sum(each["pictures"] for each in values["crown"]["crown_color"].values()) == crowned


def test_regions_are_shares():
    regions = np.array([REGIONS.index("eyes")] * 3 + [REGIONS.index("body")])
    assert shares_of_regions(regions) == {"body": 0.25, "eyes": 0.75, "crown": 0.0, "mouth": 0.0, "background": 0.0}


@torch.no_grad()
def test_untrained_has_the_shape_but_not_the_weights(tiny_pipeline):
    for part in (tiny_pipeline.unet, tiny_pipeline.encoder):
        for parameter in part.parameters():
            parameter.fill_(7)  # as if that had been learned
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    blank = untrained(tiny_pipeline)
    assert (torch.rand(3) == expected).all(), "the caller's random numbers changed"
    for part in ("unet", "encoder"):
        ours, theirs = getattr(tiny_pipeline, part).state_dict(), getattr(blank, part).state_dict()
        assert {name: x.shape for name, x in ours.items()} == {name: x.shape for name, x in theirs.items()}
        assert not any((x == 7).any() for x in theirs.values())


def test_word_measure_of_an_untrained_network_finds_nothing(shared_pipeline):
    """Few critters: what is tested is that every figure is there, and that chance is what it looks like."""
    critters = [[draw_critter(first + index) for index in range(6)] for first in (0, 100)]
    result = word_measure(shared_pipeline, *critters, batch=6)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert set(result["roles"]) == set(ROLES) and set(result["overlap"]) == set(NOUNS)
    assert result["heads"] == 14 and result["quarter"] == 3
    eyes = result["roles"]["eyes"]
    assert {"best", "best_at", ALL, QUARTER, "by_head", "untrained", "shuffled_words", "shuffled_captions"} < set(eyes)
    assert eyes[ALL]["rate"] < 0.4 and 0.02 < eyes["chance"] < 0.08
    assert sum(each["pictures"] for each in result["nouns"].values() if each["role"] == "eyes") == 6
