"""Notes about words say what the evaluation measured, of the words that have a part, and of these weights only."""

import pytest

from models import notes
from models.critters import draw_critter
from models.notes import percent, role_of, word_notes
from models.training.word_parts import ROLES, parts_of

CAPTION = "a Round purple monster with two yellow eyes, green horns and a smiling mouth on a yellow background"
WORDS = CAPTION.replace(",", "").split()


@pytest.fixture
def figures(monkeypatch) -> dict:
    def role(rate: float) -> dict:
        return {"pictures": 500, "best": {"layer": "up", "head": 2, "rate": rate, "elsewhere": 0.0251}}

    found = {
        "revision": "abc",
        "words": {
            "roles": {name: role(0.5 + 0.01 * index) for index, name in enumerate(ROLES)},
            "nouns": {"eyes": {"role": "eyes", "rate": 0.999, "pictures": 392}},
        },
    }
    monkeypatch.setattr(notes, "_figures", lambda: found)
    return found


def test_roles_of_words_are_those_of_the_evaluation():
    """For captions that mention everything, roles found from the words alone are those of the drawing."""
    for seed in range(100):
        critter = draw_critter(seed)
        words = critter.caption().replace(",", "").split()
        places = dict(zip(ROLES, parts_of([critter], [words]).places[0].tolist(), strict=True))
        found = {role_of(words, index): index for index in range(len(words))}
        found.pop(None)
        assert found == {role: place for role, place in places.items() if place >= 0}


@pytest.mark.parametrize(
    ("text", "index", "role"),
    [
        ("a red and blue monster", 1, None),  # whose colour is not said
        ("red", 0, None),
        ("two smiling eyes", 1, None),  # no eyes smile
        ("yellow", 0, None),
        ("three two eyes", 0, "eye_count"),
        ("red one green eye", 0, "eye_color"),
    ],
)
def test_adjectives_belong_to_the_noun_that_they_stand_before(text, index, role):
    assert role_of(text.split(), index) == role


def test_notes_have_the_measured_figures(figures):
    found = word_notes(WORDS, "abc", label=str.upper)
    assert set(found) == set(WORDS) - {"a", "with", "and", "on"}
    assert found["eyes"] == (
        "The maximum of its map lies on the eyes in 99.9 % of 392 drawn pictures, each with four amounts of noise "
        "(UP, head 2). Where the eyes of another picture would be, it lies in 2.5 %."
    )
    assert "lies on the monster in 55 % of 500" in found["Round"]
    assert "on the horns in" in found["horns"] and "on the horns, ears or antennas in" in found["green"]
    both = found["yellow"].split(" The maximum")
    assert len(both) == 2 and "on the eyes" in both[0] and "on the background" in both[1]


@pytest.mark.parametrize("change", [{"revision": "other"}, {"words": None}])
def test_no_notes_without_figures_of_these_weights(figures, change):
    figures |= change
    if figures["words"] is None:
        del figures["words"]
    assert word_notes(WORDS, "abc") == {}


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (1.0, "100 %"),
        (0.999, "99.9 %"),
        (0.9995, "99.95 %"),
        (0.9998, "99.98 %"),
        (0.9, "90 %"),
        (0.0251, "2.5 %"),
        (0.0, "0 %"),
        (0.776, "78 %"),
    ],
)
def test_percent_never_rounds_to_certainty(rate, text):
    assert percent(rate) == text
