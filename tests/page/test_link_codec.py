"""Links hold every recipe and view; a link with a mistake in it is refused and never read as another."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.support.documents import FULL, forged
from tests.support.strategies import RECIPES, views
from viz.page.links import LinkError, decode, encode
from viz.recipe import Recipe
from viz.view import View

RECIPE = Recipe("a red monster", 7, 30, 3.5, revision="abc", versions={"torch": "2.13.0"})
LINK = encode(RECIPE, FULL)
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
CHARACTERS = st.sampled_from(DIGITS) | st.characters()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mistakes(draw: st.DrawFn) -> str:
    """The link with one to three places changed: characters replaced, removed, added, doubled or moved."""
    text = LINK
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)))
        part = draw(st.sampled_from(["", text[start:end] * 2, text[start:end][::-1]]) | st.text(CHARACTERS, max_size=8))
        text = text[:start] + part + text[end:]
    return text


@given(RECIPES, views())
def test_decode_restores_every_recipe_and_view(recipe, view):
    decoded_recipe, decoded_view = decode(encode(recipe, view))
    assert (decoded_recipe, decoded_view) == (recipe, view)
    assert decoded_recipe.versions == recipe.versions


@given(mistakes())
def test_decode_refuses_every_mistake(text):
    try:
        decoded = decode(text)
    except LinkError:
        assert text != LINK
    else:
        assert text == LINK
        assert decoded == (RECIPE, FULL)


@given(st.text() | st.text(DIGITS))
def test_decode_refuses_other_texts(text):
    try:
        decode(text)
    except LinkError as error:
        assert str(error)
    else:
        raise AssertionError(f"{text!r} was read as a link")


@given(st.binary() | JSON.map(lambda document: json.dumps(document).encode()))
def test_decode_refuses_forged_contents(raw):
    """With a length and a checksum that are right."""
    try:
        decode(forged(raw))
    except LinkError as error:
        assert str(error)
    else:
        raise AssertionError(f"{raw!r} was read as a recipe and a view")


@given(st.sampled_from(["recipe", "view"]), st.sampled_from([*RECIPE.to_json(), *FULL.to_json(), "other"]), JSON)
def test_decode_checks_every_field(part, field, value):
    """A field that holds anything at all is refused, or accepted and written back the same."""
    document = {"recipe": RECIPE.to_json(), "view": FULL.to_json()}
    document[part][field] = value
    try:
        recipe, view = decode(forged(json.dumps(document).encode()))
    except LinkError as error:
        assert str(error)
    else:
        assert Recipe.from_json(recipe.to_json()) == recipe
        assert View.from_json(json.loads(json.dumps(view.to_json()))) == view
        assert decode(encode(recipe, view)) == (recipe, view)
