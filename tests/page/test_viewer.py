"""What the page sends to the viewer."""

import json

import torch

from viz import Trace
from viz.page.viewer import pack, viewer_value
from viz.recipe import Recipe
from viz.recording.run import perform
from viz.view import View


def test_viewer_value_is_small_and_names_a_file(shared_pipeline):
    trace = perform(Recipe("a red monster", steps=2), shared_pipeline)
    path = pack(trace)
    value = viewer_value(path, View((0.2, 0.3), "a", 1, 2))
    assert len(json.dumps(value)) < 1000 and value["trace"]["path"] == str(path)
    assert value["view"] == {"point": (0.2, 0.3), "layer": "a", "step": 1, "head": 2}
    assert viewer_value(path)["view"] == {}
    packed = Trace.load(path)
    assert {layer.kind for layer in packed} == {"self", "cross"}
    dtypes = {(packed.layers[key[1]].kind, q.dtype) for key, q in packed.queries.items()}
    assert dtypes == {("self", torch.float16), ("cross", torch.float32)}  # unpacked from ten bits
    assert packed.recipe == trace.recipe and packed.proved.items() <= trace.proved.items()
    path.unlink()
