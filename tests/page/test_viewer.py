"""What the page sends to the viewer."""

import json

import torch

from viz import Trace
from viz.page.viewer import DIVERGING, SCRIPTS, View, colormap, early, in_hex, pack, shown
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.web import WEB


def test_the_colour_map_rises_in_lightness():
    """The map must still be one in grey: relative luminance (WCAG 2) never falls."""
    colors = torch.tensor(colormap("Inferno"), dtype=torch.float64) / 255
    linear = torch.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    luminance = linear @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
    assert colors.shape == (256, 3) and luminance[0] < 0.01 and luminance[-1] > 0.8
    assert (luminance.diff() > -1e-3).all()


def test_the_colours_of_differences_have_their_lightest_in_the_middle():
    colors = torch.tensor(colormap(DIVERGING), dtype=torch.float64) @ torch.tensor([0.2126, 0.7152, 0.0722]).double()
    assert 110 <= colors.argmax() <= 145
    assert (colors[:110].diff() > -1).all() and (colors[145:].diff() < 1).all()
    assert (colors[:110] - colors.flip(0)[:110]).abs().max() < 60  # as strong below zero as above


def test_colours_are_sent_as_a_text():
    assert in_hex([[0, 16, 255], [1, 2, 3]]) == "0010ff010203"


def test_no_path_ends_the_script_that_asks_early():
    assert early("/a/</script>b").count("</script>") == 1


def test_every_script_is_served():
    shared = [path for room in ("core", "viewer", "export") for path in (WEB / room).glob("*.js")]
    assert sorted(SCRIPTS) == sorted(shared)


def test_the_value_is_small_and_holds_a_file_not_its_bytes(shared_pipeline):
    trace = perform(Recipe("a red monster", steps=2), shared_pipeline)
    path = pack(trace)
    value = shown(path, View((0.2, 0.3), "a", 1, 2))
    assert len(json.dumps(value)) < 1000 and value["trace"]["path"] == str(path)
    assert value["view"] == {"point": (0.2, 0.3), "layer": "a", "step": 1, "head": 2}
    assert shown(path)["view"] == {}
    packed = Trace.load(path)
    assert {layer.kind for layer in packed} == {"self"}
    assert {q.dtype for q in packed.queries.values()} == {torch.float16}
    assert packed.recipe == trace.recipe and packed.proved.items() <= trace.proved.items()
    path.unlink()
