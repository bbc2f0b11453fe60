"""Recipes: refusals with their sentences, and the trace that following one leaves."""

import pytest

from viz.recipe import Recipe, RecipeError, check_words, spread
from viz.recording.run import perform

BAD = [
    (dict(caption=""), "the caption is empty"),
    (dict(caption=" \n"), "the caption is empty"),
    (dict(caption=None), "the caption is empty"),
    (dict(caption="a" * 10_000), "10,000 characters; the limit is 300"),
    (dict(seed=-1), "seed must be a whole number from 0 to 4,294,967,295; got -1"),
    (dict(seed=1e99), r"got 1e\+99"),
    (dict(seed=10**400), "got a far larger one"),
    (dict(seed=None), "got nothing"),
    (dict(seed=1.5), "got 1.5"),
    (dict(seed=float("nan")), "got nan"),
    (dict(seed="7"), "whole number"),
    (dict(seed=True), "whole number"),
    (dict(steps=0), "from 1 to 100; got 0"),
    (dict(steps=5000), "from 1 to 100; got 5000"),
    (dict(guidance=-1), "from 0 to 20; got -1"),
    (dict(guidance=float("inf")), "got inf"),
    (dict(guidance=None), "got nothing"),
    (dict(model="../etc/passwd"), "The model must be critters; got ../etc"),
    (dict(model=1), "The model must be critters; got 1"),
    (dict(revision=3), "The revision must be text of at most 40 characters; got 3"),
    (dict(versions={"torch": ["x"]}), "A version must be text"),
    (dict(versions={str(i): "x" for i in range(9)}), "at most 8 fields"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_recipe_refuses(values, message):
    with pytest.raises(RecipeError, match=message):
        Recipe(**{"caption": "a red monster", **values})


def test_recipe_takes_whole_numbers_sent_as_floats():
    assert Recipe("a red monster", seed=7.0, steps=25.0) == Recipe("a red monster", seed=7, steps=25)


def test_check_words_warns_or_refuses(tiny_pipeline):
    assert check_words(Recipe("a red monster"), tiny_pipeline) == []
    (warning,) = check_words(Recipe("a yelow monster"), tiny_pipeline)
    assert "'yelow'" in warning and "'yellow'" in warning
    for caption in ("<script>", "${x}", "xyzzy", "42"):
        with pytest.raises(RecipeError, match="knows none of these words"):
            check_words(Recipe(caption), tiny_pipeline)
    with pytest.raises(RecipeError, match="30 words; the model reads at most 24"):
        check_words(Recipe("red " * 30), tiny_pipeline)


def test_perform_records_evenly_spread_steps(tiny_pipeline):
    seen = []
    trace = perform(
        Recipe("a red monster", seed=2, steps=5),
        tiny_pipeline,
        on_step=lambda step, preview: seen.append((step, preview is not None)),
        record_steps=3,
    )
    assert seen == [(0, True), (1, False), (2, True), (3, False), (4, True)]
    assert trace.steps == [0, 2, 4] == list(trace.previews)
    assert trace.picture.shape == (64, 64, 3)
    assert trace.recipe["caption"] == "a red monster" and trace.recipe["sampler"] == "DDIMScheduler"
    assert set(trace.recipe["versions"]) == {"torch", "diffusers"}


def test_spread_keeps_the_first_and_the_last():
    assert spread(25, 10) == [0, 3, 5, 8, 11, 13, 16, 19, 21, 24]
    assert spread(3, 10) == [0, 1, 2]
    assert spread(1, 10) == [0]


@pytest.mark.parametrize("more", [{"photo": "0123"}, {"negative": "no horns"}])
def test_recipe_from_json_refuses_more_than_words(more):
    """A link to such a trace would draw another picture."""
    values = {"caption": "a red monster", "seed": 3} | more
    with pytest.raises(RecipeError, match="cannot be drawn again from words alone"):
        Recipe.from_json(values)
    assert Recipe.from_json(values | dict.fromkeys(more, "")) == Recipe("a red monster", 3)
