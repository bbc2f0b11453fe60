"""Links: encoding, decoding, and a sentence for everything that is not a complete link."""

import json
import random

import pytest

from models.opening.revision import revision, versions
from tests.support.documents import FULL, forged
from viz.page.links import MAX_LINK, LinkError, decode, describe_differences, encode
from viz.recipe import Recipe
from viz.view import Region, View

RECIPE = Recipe("a red monster “with” <img onerror=x> ${1+1}", 7, 30, 3.5, revision="abc", versions={"torch": "2.13.0"})
LINK = encode(RECIPE, FULL)


def document(**values) -> bytes:
    return json.dumps({"recipe": RECIPE.to_json(), "view": FULL.to_json(), **values}).encode()


def test_decode_restores_what_encode_wrote():
    recipe, view = decode(LINK)
    assert (recipe, view) == (RECIPE, FULL)
    assert (recipe.revision, recipe.versions) == ("abc", {"torch": "2.13.0"})
    assert len(LINK) < 600 and LINK.replace("-", "").replace("_", "").isalnum()
    assert decode(forged(document())) == (RECIPE, FULL)


def test_decode_refuses_link_cut_short_anywhere():
    for length in range(len(LINK)):
        with pytest.raises(LinkError, match="cut short"):
            decode(LINK[:length])


def test_decode_refuses_link_altered_anywhere():
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    generator = random.Random(0)
    for place in range(len(LINK)):
        other = generator.choice(digits.replace(LINK[place], ""))
        with pytest.raises(LinkError, match=r"damaged|cut short"):
            decode(LINK[:place] + other + LINK[place + 1 :])
    for extra in ("A", "AAAA", "=", " ", "%", "<img onerror=alert(1)>", "${1+1}", "${"):
        with pytest.raises(LinkError, match="damaged"):
            decode(LINK + extra)


FORGED = [
    (None, "damaged"),
    ("A" * 10_000_000, "it has 10,000,000 characters"),
    ("ü" * 10, "damaged"),
    (forged(document(), version=2), "says version 2"),
    (forged(b"\0garbage"), "not a recipe and a view"),
    (forged(b"[]"), "not a recipe and a view"),
    (forged(b"\xff\xfe"), "not a recipe and a view"),
    (forged(b"[" * 60_000), "not a recipe and a view"),
    (forged(b"{}"), "not a recipe and a view"),
    (forged(document(extra=1)), "not a recipe and a view"),
    (forged(document(recipe=None)), "does not say what to draw"),
    (forged(document(recipe={"caption": "a" * 10_000})), "10,000 characters; the limit is 300"),
    (forged(document(recipe={"caption": "a", "seed": -1})), "got -1"),
    (
        forged(document(recipe={"caption": "a", "model": "../../etc/passwd"})),
        "The model must be critters; got ../../etc",
    ),
    (forged(document(recipe={"caption": "a", "revision": 3})), "The revision"),
    (forged(document(recipe={"caption": "a", "versions": {"torch": ["x"]}})), "A version"),
    (forged(document(recipe={"caption": "a", "versions": {str(i): "x" for i in range(99)}})), "at most 8"),
    (forged(document(view={"point": [0, 0]})), "The view lacks layer, step"),
    (forged(document(view=FULL.to_json() | {"__proto__": 1})), "an unknown field: __proto__"),
]


@pytest.mark.parametrize(("text", "message"), FORGED)
def test_decode_says_in_one_sentence_what_is_wrong(text, message):
    with pytest.raises(LinkError, match=message) as raised:
        decode(text)
    assert len(str(raised.value)) < 300


def test_decode_stops_decompressing_a_bomb():
    bomb = forged(b"[" + b"1," * 4_000_000 + b"1]")
    assert len(bomb) < MAX_LINK
    with pytest.raises(LinkError, match="more than a recipe and a view"):
        decode(bomb)


def test_encode_refuses_regions_too_intricate_for_a_link():
    noise = random.Random(0)
    noisy = [Region((256, 256), noise.randbytes(8192)) for _ in range(4)]
    painted = [Region((256, 256), bytes(32 * 64) + (bytes(8) + b"\xff" * 16 + bytes(8)) * 128 + bytes(32 * 64))] * 4
    view = View((0, 0), "\N{EYE}" * 300, 0, pins=tuple(painted), active=0)
    assert decode(encode(Recipe("\N{EYE}" * 300), view))[1].pins == tuple(painted)
    assert len(encode(RECIPE, view)) < 1000
    with pytest.raises(LinkError, match="too intricate"):
        encode(RECIPE, View((0, 0), "a", 0, pins=tuple(noisy), active=0))


def test_describe_differences_names_weights_and_libraries():
    here = Recipe("a monster", revision=revision(), versions=versions())
    assert describe_differences(here, revision(), versions()) is None
    unversioned = Recipe("a monster")  # recordings once named neither weights nor libraries
    assert describe_differences(unversioned, revision(), versions()) is None
    sentence = describe_differences(RECIPE, "def", {"torch": "2.14.0", "diffusers": "1"})
    assert "the weights abc (here def), torch 2.13.0 (here 2.14.0)," in sentence and "diffusers" not in sentence
    assert len(revision()) == 12 and set(revision()) <= set("0123456789abcdef")
