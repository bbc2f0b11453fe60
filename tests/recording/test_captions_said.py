"""Captions that you say, that a pipeline says before it runs, and those of the bundled pipeline."""

import pytest
import torch

import viz
from models.words import CaptionEncoder
from tests.support.captioned import pixart, sd, sd3, sdxl, watched
from viz import record
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.words import Caption


@pytest.fixture
def drawer(tmp_path):
    return sd(tmp_path)


MINE = Caption.build("mine", [("", [str(i) for i in range(77)], [("mine", "word", range(77))])])


@pytest.mark.parametrize(
    ("words", "branches"),
    [
        (MINE, {"unconditional", "conditional"}),
        ({"conditional": MINE}, {"conditional"}),
        (lambda branch: MINE if branch == "unconditional" else None, {"unconditional"}),
    ],
)
def test_captions_said_by_you(drawer, words, branches):
    trace = watched(drawer, "a red fish", words=words)
    assert trace.words == dict.fromkeys(branches, MINE)


def test_record_refuses_what_is_no_caption(drawer):
    with pytest.raises(TypeError, match=r"viz\.words\.Caption"), record(drawer.unet, words="a red fish"):
        pass


def test_caption_of_a_pipeline_is_that_of_its_recording(tmp_path):
    for pipeline, options in (
        (sd(tmp_path), {}),
        (sdxl(tmp_path), {"prompt_2": "blue fish"}),
        (sd3(tmp_path), {"max_sequence_length": 20}),
        (pixart(), {"max_sequence_length": 16, "clean_caption": False}),
    ):
        binned = {"use_resolution_binning": False, "width": 16} if "PixArt" in type(pipeline).__name__ else {}
        trace = watched(pipeline, "a red fish", **options, **binned)
        assert viz.caption_of(pipeline, "a red fish", **options) == trace.words["conditional"]


class WithoutTokenizer:
    def __init__(self, text_encoder):
        self.text_encoder = text_encoder

    def encode_prompt(self, prompt):
        return self.text_encoder(torch.tensor([[3, 4, 5]]))[0], None


def test_caption_of_says_what_it_lacks(drawer):
    with pytest.raises(ValueError, match="encode_prompt"):
        viz.caption_of(object(), "a red fish")
    with pytest.raises(ValueError, match="no tokenizer"):
        viz.caption_of(WithoutTokenizer(drawer.text_encoder), "a red fish")


# -- the bundled pipeline ---------------------------------------------------------------------------------------------


def test_captions_of_the_bundled_pipeline(tiny_pipeline):
    with record(tiny_pipeline.unet, branch="both") as trace, pytest.warns(UserWarning, match="zyx"):
        tiny_pipeline("A green Monster with zyx eyes", num_inference_steps=2, guidance_scale=2.0)
    one, other = trace.words["conditional"], trace.words["unconditional"]
    known = [word for word in ("A", "green", "Monster", "with", "eyes")]
    assert one.text == "A green Monster with zyx eyes" and one.encodings[0].encoder == ""
    assert [(w.text, w.tokens) for w in one.words if w.kind == "word"] == [(w, (i,)) for i, w in enumerate(known)]
    assert one.find("padding").tokens == tuple(range(5, 24))
    assert one.encodings[0].tokens == (*(word.lower() for word in known), *[""] * 19)
    assert other.text == "" and [(word.kind, len(word.tokens)) for word in other.words] == [("padding", 24)]
    assert viz.caption_of(tiny_pipeline, "A green Monster with zyx eyes") == one


def test_spell_says_what_each_id_stands_for():
    encoder = CaptionEncoder(length=6)
    ids, tokens, entries = encoder.spell("Two RED, red eyes zyx")
    assert ids == encoder.ids(["two red red eyes"])[0].tolist()
    assert tokens == ["two", "red", "red", "eyes", "", ""]
    assert [entry[0] for entry in entries] == ["Two", "RED", "red", "eyes", "padding"]
    assert encoder.decode(ids) == "two red red eyes"
    assert encoder.spell("a a a a a a")[2][-1] == ("a", "word", (5,))  # none is padding


def test_perform_says_what_the_evaluation_found_about_words(shared_pipeline, monkeypatch):
    def found(words, revision, label):
        return {words[-1]: f"{revision}: {label('mid_block.attentions.0')}", words[0]: "long " * 1000} if words else {}

    monkeypatch.setattr("viz.recording.run.word_notes", found)
    recipe = Recipe("a red monster with two Eyes", steps=1)
    trace = perform(recipe, shared_pipeline, branch="both")
    assert trace.words["conditional"].notes["Eyes"] == f"{recipe.weights}: middle · attention 0"
    assert len(trace.words["conditional"].notes["a"]) == 1000  # as much as a file holds
    assert not trace.words["unconditional"].notes
