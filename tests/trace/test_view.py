"""Views: round trips through JSON, and refusals with their sentences."""

import base64
import json

import pytest

from tests.support.documents import FULL, PINS
from viz.view import Box, Pixel, Region, View, ViewError, WordQuery


def changed(**values) -> dict:
    return {**FULL.to_json(), **values}


def test_view_survives_json():
    for view in (FULL, View((0, 1), "a", 0), View((0, 0.5), "a", 3, pins=(), active=-1)):
        assert View.from_json(json.loads(json.dumps(view.to_json()))) == view


def test_view_to_json_is_what_the_viewer_writes():
    values = FULL.to_json()
    assert values["pins"] == [
        {"kind": "pixel", "point": [0.25, 0.5]},
        {"kind": "box", "from": [0.1, 0.2], "to": [0.5, 0.9]},
        {"kind": "region", "grid": [3, 5], "mask": "gAI"},
        {"kind": "word", "text": "“red”", "nth": 1, "encoder": 2},
    ]
    assert values["mode"] == "column" and values["active"] == 1 and values["log"] is False
    assert View((0.5, 0.5), "a", 1).to_json() == {"point": (0.5, 0.5), "layer": "a", "step": 1, "head": -1}


def test_view_query_is_the_active_pin_or_the_pixel_under_the_cursor():
    assert FULL.query == PINS[1]
    assert View((0.5, 0.5), "a", 1).query == Pixel((0.5, 0.5)) == View((0.5, 0.5), "a", 1, pins=PINS, active=-1).query


def test_word_query_writes_only_what_is_not_usual():
    assert WordQuery("eyes").to_json() == {"kind": "word", "text": "eyes"}
    full = {"kind": "word", "text": "padding", "nth": 1, "of": "padding", "encoder": 2}
    assert WordQuery("padding", 1, "padding", 2).to_json() == full
    view = View.from_json(
        word(text="eyes") | {"reading": "used", "branch": "difference", "winner": True, "bars": "grid"}
    )
    assert view.query == WordQuery("eyes", 0, "word", 0)
    assert (view.reading, view.branch, view.winner, view.bars) == ("used", "difference", True, "grid")


def test_query_from_json_turns_a_box_drawn_backwards():
    box = {"kind": "box", "from": [0.9, 0.1], "to": [0.2, 0.6]}
    assert View.from_json(changed(pins=[box], active=0)).query == Box((0.2, 0.1), (0.9, 0.6))


def region(**values) -> dict:
    return changed(pins=[{"kind": "region", "grid": [3, 5], "mask": "gAI", **values}], active=0)


def word(**values) -> dict:
    return changed(pins=[{"kind": "word", **values}], active=0)


BAD: list[tuple[object, str]] = [
    (None, "The view must be an object; got nothing"),
    ([], "must be an object"),
    ({}, "The view lacks layer, point, step"),
    (changed(scale="own"), "The view has an unknown field: scale"),
    (changed(point=[0.5]), "point must be a row and a column from 0 to 1"),
    (changed(point=[0.5, 1.5]), "from 0 to 1"),
    (changed(point=[0.5, float("nan")]), "from 0 to 1"),
    (changed(point=[0.5, True]), "from 0 to 1"),
    (changed(point="ab"), "from 0 to 1; got ab"),
    (changed(layer=3), "layer must be a name"),
    (changed(layer=""), "layer must be a name"),
    (changed(layer="a" * 10_000), "at most 300 characters"),
    (changed(step=-1), "step must be a whole number from 0"),
    (changed(step=1.0), "whole number"),
    (changed(step=True), "whole number"),
    (changed(step=10**400), "got a far larger one"),
    (changed(head=-2), "head must be a whole number from -1"),
    (changed(active=4), "active pin must be a whole number from -1 to 3"),
    (changed(mode="diagonal"), "“mode” must be row or column; got diagonal"),
    (changed(mode=["row"]), "“mode” must be row or column"),
    (changed(range=None), "“range” must be common or own; got nothing"),
    (changed(base="<img onerror>"), "“base” must be picture or preview"),
    (changed(log=1), "“log” must be True or False; got 1"),
    (changed(smooth="yes"), "“smooth” must be"),
    (changed(opacity=1.1), "opacity must be a number from 0 to 1; got 1.1"),
    (changed(opacity=float("nan")), "opacity must be a number"),
    (changed(opacity=True), "opacity must be a number"),
    (changed(opacity=None), "opacity must be a number from 0 to 1; got nothing"),
    (changed(pins={}), "a list of at most 4"),
    (changed(pins=[PINS[0].to_json()] * 5), "a list of at most 4"),
    (changed(pins=[{"kind": "line"}]), "a pixel, a box, a region or a word; got line"),
    (changed(pins=["pixel"]), "a pixel, a box, a region or a word; got nothing"),
    (changed(pins=[{"kind": "pixel"}]), "A pinned pixel lacks point"),
    (changed(pins=[{"kind": "pixel", "point": [0, 0], "x": 1}]), "A pinned pixel has an unknown field: x"),
    (changed(pins=[{"kind": "box", "from": [0, 0]}]), "A pinned box lacks to"),
    (changed(pins=[{"kind": "box", "from": [0, 0], "to": [0, 1]}]), "a height and a width"),
    (word(), "A pinned word lacks text"),
    (word(text=""), "A pinned word must have a text"),
    (word(text=3), "A pinned word must be text of at most 100 characters; got 3"),
    (word(text="x" * 101), "at most 100 characters"),
    (word(text="red", nth=-1), "The number of a pinned word must be a whole number from 0"),
    (word(text="red", of="verb"), "The kind of a pinned word must be word or start or end"),
    (word(text="red", encoder=33), "The encoder of a pinned word must be a whole number from 0 to 32"),
    (word(text="red", token=3), "A pinned word has an unknown field: token"),
    (changed(reading="aloud"), "“reading” must be spent or used or looks; got aloud"),
    (changed(branch=""), "branch must be a name of at most 100 characters"),
    (changed(branch=3), "branch must be a name of at most 100 characters; got 3"),
    (changed(branch="x" * 101), "branch must be a name"),
    (changed(winner="red"), "“winner” must be True or False"),
    (changed(bars="all"), "“bars” must be layer or grid; got all"),
    (region(grid=[3]), "a height and a width"),
    (region(grid=[0, 5]), "from 1 to 256; got 0"),
    (region(grid=[1000, 1000]), "from 1 to 256; got 1000"),
    (region(mask="gA"), "a mask of 3 characters"),
    (region(mask="g+I"), "must be base64url"),
    (region(mask="AAA"), "at least one cell"),
    (region(mask="gAM"), "none outside its grid"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_view_from_json_refuses(values, message):
    with pytest.raises(ViewError, match=message.replace("(", r"\(")) as refused:
        View.from_json(values)
    assert len(str(refused.value)) < 200


def test_view_from_json_accepts_the_largest_mask():
    mask = base64.urlsafe_b64encode(b"\xff" * 8192).decode().rstrip("=")
    assert View.from_json(region(grid=[256, 256], mask=mask)).query == Region((256, 256), b"\xff" * 8192)
