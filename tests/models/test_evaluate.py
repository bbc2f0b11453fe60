import json
from dataclasses import replace

import pytest

from models.attributes import change
from models.critters import draw_critter
from models.opening.revision import revision_of
from models.training import evaluate as evaluation
from models.training.config import HELD_OUT
from models.training.evaluate import eyes_agree, fraction_right, mark
from models.training.judge import JUDGE, Judge, truth
from models.training.word_parts import ROLES

EVALUATION = JUDGE.parent / "evaluation.json"
CRITTER = draw_critter(
    0, change(draw_critter(0).attributes, eye_count="two", eye_color="red", crown="horns", crown_color="green")
)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.from_pretrained(JUDGE)


def test_fraction_right_is_one_for_perfect_pictures():
    critters = [draw_critter(seed) for seed in range(50)]
    assert set(fraction_right([truth(critter.attributes) for critter in critters], critters).values()) == {1.0}


@pytest.mark.parametrize(
    ("wrong", "attribute"),
    [
        ({"shape": "none of these"}, "shape"),
        ({"left_eye_color": "blue"}, "eye_color"),
        ({"right_eye_color": "blue"}, "eye_color"),
        ({"left_eye_color": "blue", "right_eye_color": "blue"}, "eye_color"),
        ({"crown_color": "blue"}, "crown_color"),
    ],
)
def test_mark_counts_one_wrong_answer_as_one_wrong_attribute(wrong, attribute):
    marks = mark(replace(truth(CRITTER.attributes), **wrong), CRITTER.attributes)
    assert len(marks) == 8 and [name for name, mark in marks.items() if not mark] == [attribute]


def test_fraction_right_counts_crown_colour_only_where_a_crown_is_expected():
    bare = change(CRITTER.attributes, crown="none")
    assert "crown_color" not in mark(truth(bare), bare)
    # One critter of two has a crown; its colour is wrong, so none of the crowns that count is mark.
    verdicts = [truth(bare), replace(truth(CRITTER.attributes), crown_color="blue")]
    fractions = fraction_right(verdicts, [draw_critter(1, bare), CRITTER])
    assert fractions["crown_color"] == 0 and fractions["crown"] == 1


def test_eyes_agree_counts_only_pairs():
    same = truth(CRITTER.attributes)
    odd = replace(same, left_eye_color="blue")
    assert eyes_agree([same, same, odd, replace(odd, eye_count="one"), replace(odd, eye_count="three")]) == (0.6667, 3)
    assert eyes_agree([replace(same, eye_count="one")]) == (None, 0)


def test_no_eyes_captions_mention_everything_else():
    sentences = [draw_critter(seed).caption(evaluation.NO_EYES) for seed in range(100)]
    assert all("eye" not in sentence and "mouth" in sentence and "background" in sentence for sentence in sentences)


def test_sample_does_not_depend_on_batch_size(tiny_pipeline):
    captions = ["a red monster", "a blue monster", "a green monster"]
    options = {"steps": 2, "guidance": 2.5}
    one, three = (evaluation.sample(tiny_pipeline, captions, batch=batch, **options) for batch in (1, 3))
    for first, second in zip(one, three, strict=True):
        pixels = zip(first.tobytes(), second.tobytes(), strict=True)
        assert sum(abs(a - b) for a, b in pixels) / (64 * 64 * 3) < 1


@pytest.mark.slow
def test_main_writes_the_figures_it_prints(tiny_pipeline, judge, tmp_path, monkeypatch, capsys):
    tiny_pipeline.save_pretrained(tmp_path / "model", safe_serialization=True)
    small = {"steps": 2, "judged": 100, "twins": (2, 3)}
    monkeypatch.setattr(evaluation.evaluate, "__kwdefaults__", evaluation.evaluate.__kwdefaults__ | small)
    out = tmp_path / "new" / "evaluation.json"
    arguments = ["evaluate", "--model", str(tmp_path / "model"), "--count", "5", "--batch", "2", "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    evaluation.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result == json.loads(out.read_text())
    assert result["revision"] == revision_of(tmp_path / "model")
    monkeypatch.setattr("sys.argv", arguments[:-2])
    before = EVALUATION.read_bytes()
    evaluation.main()
    assert EVALUATION.read_bytes() == before, "evaluating another model replaced the card's figures"
    figures = {"judge_accuracy", "attribute_accuracy", "eyes_agree_unasked", "twin_over_uniform", "twin_control"}
    assert figures <= set(result)
    assert min(result["judge_accuracy"].values()) > 0.9
    assert result["attribute_accuracy"] < 0.6  # the network is not trained
    assert result["counts"]["captions"] == 5 and result["counts"]["twins_reporting"] == 3
    assert result["words"]["pictures"] == 10 and set(result["words"]["roles"]) == set(ROLES)


@pytest.mark.parametrize("other", [False, True])
def test_only_words_keeps_the_other_figures_of_these_weights(tiny_pipeline, tmp_path, monkeypatch, other):
    tiny_pipeline.save_pretrained(tmp_path / "model", safe_serialization=True)
    revision = "another" if other else revision_of(tmp_path / "model")
    out = tmp_path / "evaluation.json"
    out.write_text(json.dumps({"revision": revision, "steps": 25, "words": {"of": "yesterday"}}))
    measured = json.loads(EVALUATION.read_text())["words"]
    monkeypatch.setattr(evaluation, "words_figures", lambda _pipeline, count, batch: measured | {"pictures": count})
    arguments = ["--model", str(tmp_path / "model"), "--only-words", "--count", "7", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["evaluate", *arguments])
    evaluation.main()
    kept = {} if other else {"steps": 25}
    expected = {"revision": revision_of(tmp_path / "model"), "words": measured | {"pictures": 7}}
    assert json.loads(out.read_text()) == expected | kept


def test_words_are_measured_on_critters_of_their_own(tiny_pipeline, monkeypatch):
    seen = []
    monkeypatch.setattr(evaluation, "draw_critter", lambda seed: seed)
    monkeypatch.setattr(evaluation, "word_measure", lambda _pipeline, *sets, batch: seen.extend(sets) or {})
    evaluation.words_figures(tiny_pipeline, 500)
    assert [len(seeds) for seeds in seen] == [100, 500]
    assert min(map(min, seen)) >= HELD_OUT and not set(seen[0]) & set(seen[1])
    evaluation.words_figures(tiny_pipeline, 5)
    assert [len(seeds) for seeds in seen[2:]] == [10, 10]
