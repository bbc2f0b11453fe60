"""The papers' networks, shown the pictures of the gallery."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from models.classic import AttentionClassifier, ClassicUNet
from models.critters import draw
from models.pipeline import CritterPipeline
from models.train import new_scheduler
from models.words import CaptionEncoder
from viz import classics
from viz.gallery import exhibits, write_lesson

KINDS = {"sagan": {}, "ddpm": {}, "multihead": {}, "cross": {"attention": "multihead", "word_channels": 64}}


def model_of(kind: str):
    """A small one, with random weights everywhere: what starts at zero would leave nothing to see."""
    torch.manual_seed(0)
    if kind == "classifier":
        model = network = AttentionClassifier(patch=8, channels=18, depth=2)
    else:
        options = {"attention": kind} | KINDS[kind]
        network = ClassicUNet(channels=(8, 8, 16), groups=4, heads=2, attention_levels=(2,), **options)
        model = CritterPipeline(network, CaptionEncoder() if kind == "cross" else None, new_scheduler())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.2)
    network.eval()
    return model


def test_the_networks_that_are_there_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(classics, "FOLDER", tmp_path)
    assert classics.trained() == {}
    (tmp_path / "sagan").mkdir()
    assert list(classics.trained()) == ["critters-sagan"]


@pytest.mark.parametrize("kind", [*KINDS, "classifier"])
def test_every_network_is_shown_the_same_picture(kind):
    model, exhibit = model_of(kind), exhibits()[0]
    picture = np.asarray(draw(0).image)
    call = classics.call_of(model, picture, 359, exhibit.caption)
    assert torch.equal(call.sample, classics.call_of(model, picture, 359, exhibit.caption).sample)
    clean = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    if kind == "classifier":
        assert torch.equal(call.sample, clean)
    else:
        least = classics.call_of(model, picture, 0, exhibit.caption).sample
        assert (least - clean).abs().mean() < 0.05 < 0.2 < (call.sample - clean).abs().mean()
        assert len(call.args) == (3 if kind == "cross" else 2)
    with torch.no_grad():
        classics.network_of(model)(*call.args)


@pytest.mark.parametrize("kind", [*KINDS, "classifier"])
def test_each_has_a_lesson(kind, tmp_path):
    model, exhibit = model_of(kind), exhibits()[0]
    layers = classics.layers_of(model)
    if kind == "classifier":
        assert layers == ["layers.0.attention", "layers.1.attention"]
    else:
        assert layers == ["down.2.attention", "middle.attention", "up.2.attention"]
    call = classics.call_of(model, np.asarray(draw(0).image), 359, exhibit.caption)
    about = {"picture": np.asarray(draw(0).image), "caption": exhibit.caption, "step": 16}
    path = write_lesson(classics.network_of(model), call, layers[-1], tmp_path / "lesson.safetensors", **about)
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["lesson"])
        places = [file.get_tensor(f"around/{index}") for index in range(len(layers))]
        assert any(name == "position/u" for name in file.keys()) == (kind == "classifier")  # noqa: SIM118
    assert [layer["name"] for layer in said["around"]] == layers
    for layer, where in zip(said["around"], places, strict=True):
        assert where.shape == (layer["heads"], layer["grid"][0] * layer["grid"][1], 5)
    assert said["layer"]["kind"] == "self" and said["residual"] and (said["gamma"] is not None) == (kind == "sagan")
    if kind == "classifier":
        assert said["gaps"]["attention"] > 1e-3 and said["timestep"] is None  # it has position terms
    else:
        assert said["gaps"]["attention"] < 1e-5 < said["gaps"]["convolution"] and said["timestep"] == 359
