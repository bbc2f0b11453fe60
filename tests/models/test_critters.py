import random
import time

import numpy as np
import pytest

from models.attributes import ATTRIBUTES, COLORS, Attributes, caption, change, sample_attributes
from models.critters import draw_critter

MONSTER = Attributes(
    shape="round",
    body_color="green",
    eye_count="two",
    eye_color="yellow",
    crown="horns",
    crown_color="red",
    mouth="toothy",
    background_color="blue",
)
CYCLOPS = change(MONSTER, eye_count="one", eye_color="orange", body_color="orange", crown="none", mouth="open")
EVERYTHING = tuple(ATTRIBUTES)


def mean_color(critter, part: str) -> np.ndarray:
    return np.asarray(critter.image, float)[critter.masks[part]].mean(axis=0)


@pytest.mark.parametrize("seed", range(40))
def test_masks_tile_the_picture(seed):
    critter = draw_critter(seed)
    covered = np.sum([mask.astype(int) for mask in critter.masks.values()], axis=0)
    assert covered.shape == (64, 64) and (covered == 1).all()
    assert all(mask.any() for mask in critter.masks.values())


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, {"left eye", "right eye", "left horn", "right horn"}),
        ({"eye_count": "one", "crown": "none"}, {"eye"}),
        ({"eye_count": "three", "crown": "ears"}, {"left eye", "middle eye", "right eye", "left ear", "right ear"}),
        ({"crown": "antennas"}, {"left eye", "right eye", "left antenna", "right antenna"}),
    ],
)
def test_masks_name_every_part(changes, parts):
    assert set(draw_critter(3, change(MONSTER, **changes)).masks) == parts | {"background", "body", "mouth"}


@pytest.mark.parametrize("seed", range(20))
def test_masks_lie_where_the_picture_has_their_colour(seed):
    critter = draw_critter(seed)
    for part, color in (("background", "background_color"), ("body", "body_color")):
        middle = np.median(np.asarray(critter.image)[critter.masks[part]], axis=0)
        assert np.abs(middle - COLORS[getattr(critter.attributes, color)]).max() <= 9


def test_masks_left_eye_is_left_of_right_eye():
    masks = draw_critter(5, MONSTER).masks
    assert np.argwhere(masks["left eye"])[:, 1].max() < np.argwhere(masks["right eye"])[:, 1].min()


def test_draw_critter_depends_on_its_seed_alone():
    random.seed(1)
    first = draw_critter(7)
    random.seed(2)
    second = draw_critter(7)
    assert first.image.tobytes() == second.image.tobytes() and first.attributes == second.attributes
    assert (first.parts == second.parts).all() and first.part_names == second.part_names
    assert draw_critter(8).image.tobytes() != first.image.tobytes()


@pytest.mark.parametrize("crown", ["horns", "ears", "antennas"])
@pytest.mark.parametrize("eyes", ["two", "three"])
def test_draw_critter_gives_twin_parts_one_colour(eyes, crown):
    for seed in range(10):
        critter = draw_critter(seed, change(sample_attributes(random.Random(seed)), eye_count=eyes, crown=crown))
        part = crown.removesuffix("s")
        assert np.abs(mean_color(critter, "left eye") - mean_color(critter, "right eye")).max() < 15
        assert np.abs(mean_color(critter, f"left {part}") - mean_color(critter, f"right {part}")).max() < 15


def test_draw_critter_can_mismatch_eyes():
    odd = draw_critter(7, MONSTER, eye_colors={"left eye": "red"})
    even = draw_critter(7, MONSTER)
    assert np.abs(mean_color(odd, "left eye") - mean_color(odd, "right eye")).max() > 60
    assert (mean_color(odd, "right eye") == mean_color(even, "right eye")).all()
    assert (odd.parts == even.parts).all()


def test_draw_critter_makes_500_pictures_a_second_on_one_core():
    draw_critter(0)
    began = time.process_time()
    for seed in range(200):
        draw_critter(seed)
    assert 200 / (time.process_time() - began) >= 500


def test_sample_attributes_contrasts_every_part_with_its_background():
    for seed in range(500):
        attributes = sample_attributes(random.Random(seed))
        assert attributes.body_color not in (attributes.background_color, attributes.eye_color)
        assert attributes.crown_color != attributes.background_color


@pytest.mark.parametrize(
    ("attributes", "said", "sentence"),
    [
        (
            MONSTER,
            EVERYTHING,
            "a round green monster with two yellow eyes, red horns and a toothy mouth on a blue background",
        ),
        (
            CYCLOPS,
            EVERYTHING,
            "a round orange monster with one orange eye, a bare head and an open mouth on a blue background",
        ),
        (MONSTER, [], "a monster"),
        (CYCLOPS, ["body_color"], "an orange monster"),
        (CYCLOPS, ["eye_color"], "a monster with an orange eye"),
        (CYCLOPS, ["eye_count"], "a monster with one eye"),
        (MONSTER, ["eye_count"], "a monster with two eyes"),
        (MONSTER, ["eye_color"], "a monster with yellow eyes"),
        (CYCLOPS, ["crown", "crown_color"], "a monster with a bare head"),
        (MONSTER, ["crown"], "a monster with horns"),
        (MONSTER, ["crown_color"], "a monster"),
        (MONSTER, ["eye_color", "mouth"], "a monster with yellow eyes and a toothy mouth"),
        (change(MONSTER, background_color="orange"), ["background_color"], "a monster on an orange background"),
        (MONSTER, ["shape", "mouth", "background_color"], "a round monster with a toothy mouth on a blue background"),
    ],
)
def test_caption_mentions_the_requested_attributes(attributes, said, sentence):
    assert caption(attributes, said) == sentence
    assert draw_critter(1, attributes).caption(said) == sentence


def test_change_refuses_unknown_names_and_values():
    with pytest.raises(ValueError, match="no attribute 'colour'; there are shape, body_color"):
        change(MONSTER, colour="red")
    with pytest.raises(ValueError, match="crown cannot be 'hat'; it can be horns, ears, antennas, none"):
        change(MONSTER, crown="hat")
