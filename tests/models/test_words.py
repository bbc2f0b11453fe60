import random

import pytest
import torch

from models.attributes import ATTRIBUTES, caption, sample_attributes
from models.words import VOCABULARY, CaptionEncoder


@pytest.fixture(scope="module")
def encoder() -> CaptionEncoder:
    torch.manual_seed(0)
    return CaptionEncoder().eval()


def test_vocabulary_is_exactly_the_captions_words(encoder):
    rng, used = random.Random(0), {""}
    for _ in range(1000):
        text = caption(sample_attributes(rng), [name for name in ATTRIBUTES if rng.random() < 0.7])
        reading = encoder.read(text)
        assert not reading.unknown and " ".join(reading.words) == text.replace(",", "")
        used.update(reading.words)
    assert used == set(VOCABULARY)  # and it has no word that captions never use


def test_read_names_unknown_words_with_similar_ones(encoder):
    reading = encoder.read("A grean MONSTER with 7 eyez, eyez!")
    assert reading.words == ("a", "monster", "with")
    assert list(reading.unknown) == ["grean", "7", "eyez"]
    assert "green" in reading.unknown["grean"] and reading.unknown["7"] == [] and "eyes" in reading.unknown["eyez"]
    first, second, _ = reading.warnings()
    assert first.startswith("The model does not know the word 'grean', so it was ignored; close ones are 'green'")
    assert second == "The model does not know the word '7', so it was ignored."


def test_read_keeps_words_with_other_letters_whole(encoder):
    assert list(encoder.read("a grünes monster").unknown) == ["grünes"]


def test_ids_ignore_unknown_words(encoder):
    assert torch.equal(encoder.ids(["a zorpy red monster"]), encoder.ids(["a red monster"]))


def test_read_refuses_too_many_words(encoder):
    assert len(encoder.read("red " * 24).words) == 24
    with pytest.raises(ValueError, match="has 25 words; the model reads at most 24"):
        encoder.read("red " * 25)


def test_ids_are_padded_indices(encoder):
    ids = encoder.ids(["", "a red monster"])
    assert ids.shape == (2, 24) and ids.dtype == torch.int64
    assert not ids[0].any()
    assert [VOCABULARY[index] for index in ids[1, :4]] == ["a", "red", "monster", ""]


def test_encoder_mixes_two_neighbours_on_either_side_and_no_more(encoder):
    ids = encoder.ids(["a round green monster with two yellow eyes and a toothy mouth"])
    other = ids.clone()
    other[0, 6] = VOCABULARY.index("purple")
    with torch.no_grad():
        moved = (encoder(ids) != encoder(other)).any(dim=-1)[0]
    assert moved.nonzero().flatten().tolist() == [4, 5, 6, 7, 8]
