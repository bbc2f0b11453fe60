import random

import pytest
import torch

from models.attributes import change, sample_attributes
from models.critters import draw_critter
from models.training.batches import to_pixels
from models.training.config import HELD_OUT
from models.training.judge import (
    JUDGE,
    QUESTIONS,
    Judge,
    answer_indices,
    degrade,
    judge_accuracy,
    judge_example,
    train_judge,
    truth,
)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.from_pretrained(JUDGE)


@pytest.fixture(scope="module")
def pair():
    """The attributes of a critter with two yellow eyes."""
    return change(sample_attributes(random.Random(1)), eye_count="two", eye_color="yellow", body_color="green")


def test_judge_is_right_about_held_out_critters(judge):
    right = judge_accuracy(judge, 200, HELD_OUT + 500_000)
    assert set(right) == {*QUESTIONS, "eyes_agree"}
    assert min(right.values()) >= 0.97, right


def test_read_notices_mismatched_eyes(judge, pair):
    seeds = range(HELD_OUT + 600_000, HELD_OUT + 600_050)
    pairs = [("yellow", "red"), ("red", "yellow"), ("yellow", "yellow")]
    for left, right in pairs:
        eyes = {"left eye": left, "right eye": right}
        verdicts = judge.read([draw_critter(seed, pair, eyes).image for seed in seeds])
        seen = [(verdict.left_eye_color, verdict.right_eye_color) for verdict in verdicts]
        assert seen.count((left, right)) >= 48
        assert sum(verdict.eyes_agree == (left == right) for verdict in verdicts) >= 48


def test_read_gives_a_single_eye_as_both(judge, pair):
    (verdict,) = judge.read([draw_critter(HELD_OUT, change(pair, eye_count="one")).image])
    assert (verdict.eye_count, verdict.left_eye_color, verdict.right_eye_color) == ("one", "yellow", "yellow")


def test_read_does_not_depend_on_the_batch(judge):
    images = [draw_critter(HELD_OUT + index).image for index in range(5)]
    whole = judge.read(images)
    judge.train()  # batch norm would mix the pictures of a batch, if it were left on
    assert judge.read(images, batch=1) == judge.read(images, batch=2) == whole and judge.read([]) == []


def test_judge_weights_are_small_safetensors():
    (weights,) = (path for path in JUDGE.iterdir() if path.name != "config.json")
    assert weights.suffix == ".safetensors" and weights.stat().st_size < 2_000_000


def test_judge_example_mismatches_half_of_the_pairs():
    examples = [judge_example(seed) for seed in range(600)]
    pairs = [true for _, true in examples if true.eye_count != "one"]
    assert sum(true.eyes_agree for true in pairs) / len(pairs) == pytest.approx(0.5, abs=0.08)
    assert all(true.eyes_agree for _, true in examples if true.eye_count == "one")
    same_as_body = [true.left_eye_color == true.right_eye_color == true.body_color for _, true in examples]
    assert sum(same_as_body) / len(examples) == pytest.approx(0.09, abs=0.04)


def test_read_sees_agreement_of_eyes_in_the_bodys_colour(judge, pair):
    seeds = range(HELD_OUT + 700_000, HELD_OUT + 700_050)
    verdicts = judge.read(
        [draw_critter(seed, change(pair, eye_color="green", body_color="green")).image for seed in seeds]
    )
    assert [(v.left_eye_color, v.right_eye_color) for v in verdicts].count(("green", "green")) >= 48


def test_judge_example_tells_what_was_drawn():
    for seed in range(20):
        critter, true = judge_example(seed)
        assert true.shape == critter.attributes.shape and true.mouth == critter.attributes.mouth
        eyes = {"left eye": true.left_eye_color, "right eye": true.right_eye_color}
        if true.eye_count == "two":
            assert critter.image.tobytes() == draw_critter(seed, eye_colors=eyes).image.tobytes()


def test_answer_indices_ignore_the_colour_of_a_missing_crown(pair):
    bare, horned = (truth(change(pair, crown=crown, crown_color="red")) for crown in ("none", "horns"))
    assert answer_indices([bare, horned])["crown_color"].tolist() == [-100, QUESTIONS["crown_color"].index("red")]


def test_degrade_is_light_and_different_for_every_picture():
    pixels = to_pixels([draw_critter(3).image] * 8)
    changed = degrade(pixels, torch.Generator().manual_seed(0))
    assert changed.shape == pixels.shape and changed.abs().max() <= 1
    assert 0.005 < (changed - pixels).abs().mean() < 0.1
    assert (changed[0] != changed[1]).any()


@pytest.mark.training
def test_train_judge_is_deterministic():
    first, same, other = (train_judge(steps=2, batch=4, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
