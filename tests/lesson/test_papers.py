"""The papers' networks, shown the pictures of the gallery."""

import json
from itertools import chain

import numpy as np
import pytest
import torch
from safetensors import safe_open

from models.classic import AttentionClassifier, ClassicUNet
from models.critters import draw
from models.pipeline import CritterPipeline, x0_estimate
from models.training.train import HELD_OUT, new_scheduler, to_pixels
from models.training.train_classic import accuracy, learned_gammas
from models.words import CaptionEncoder
from viz.lesson import papers as classics
from viz.page.gallery import exhibits, write_lesson

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
        kinds = ("attention", "cross") if kind == "cross" else ("attention",)
        assert layers == [f"{place}.{name}" for place in ("down.2", "middle", "up.2") for name in kinds]
    of_pixels = [name for name in layers if not name.endswith("cross")]
    call = classics.call_of(model, np.asarray(draw(0).image), 359, exhibit.caption)
    about = {"picture": np.asarray(draw(0).image), "caption": exhibit.caption, "step": 16}
    about["words"] = classics.words_of(model, exhibit.caption)
    path = write_lesson(classics.network_of(model), call, layers[-1], tmp_path / "lesson.safetensors", **about)
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["lesson"])
        places = [file.get_tensor(f"around/{index}") for index in range(len(of_pixels))]
        assert any(name == "position/u" for name in file.keys()) == (kind == "classifier")  # noqa: SIM118
    assert [layer["name"] for layer in said["around"]] == of_pixels
    for layer, where in zip(said["around"], places, strict=True):
        assert where.shape == (layer["heads"], layer["grid"][0] * layer["grid"][1], 5)
    assert said["layer"]["kind"] == ("cross" if kind == "cross" else "self")
    assert said.get("words", [])[:6] == (["a", "round", "purple", "monster", "with", "two"] if kind == "cross" else [])
    assert said["residual"] and (said["gamma"] is not None) == (kind == "sagan")
    if kind == "classifier":
        assert said["gaps"]["attention"] > 1e-3 and said["timestep"] is None  # it has position terms
    else:
        assert said["gaps"]["attention"] < 1e-5 < said["gaps"]["convolution"] and said["timestep"] == 359


TRAINED = json.loads((classics.FOLDER / "findings.json").read_text())


def test_all_five_come_with_the_project():
    assert set(classics.trained()) == set(TRAINED) == {f"critters-{kind}" for kind in classics.PAPERS}


@pytest.mark.parametrize("kind", classics.PAPERS)
def test_the_weights_are_small_safetensors(kind):
    files = [path for path in (classics.FOLDER / kind).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert sum(path.stat().st_size for path in files) <= 4 * 2**20


@pytest.mark.parametrize("kind", classics.PAPERS)
def test_the_trained_network_knows_its_task(kind):
    """Denoisers find a held-out critter behind the noise far better than the noisy picture itself shows it."""
    model, critter = classics.opened(f"critters-{kind}"), draw(HELD_OUT + 77)
    if kind == "classifier":
        right = accuracy(model, 200)
        assert all(right[name] > said - 0.1 for name, said in TRAINED["critters-classifier"]["right"].items())
        return
    call = classics.call_of(model, np.asarray(critter.image), 500, critter.caption())
    with torch.no_grad():
        found = x0_estimate(model.scheduler, call.sample, 500, model.unet(*call.args).sample)
    clean = to_pixels([critter.image])
    noisy = call.sample / model.scheduler.alphas_cumprod[500].sqrt()
    assert (found - clean).square().mean() < 0.05 * (noisy - clean).square().mean()


def test_the_sagan_network_has_learnt_to_look():
    """Its γ began at 0, where its attention does nothing."""
    gammas = learned_gammas(classics.opened("critters-sagan").unet)
    assert {name: pytest.approx(value, abs=1e-3) for name, value in gammas.items()} == TRAINED["critters-sagan"][
        "gamma"
    ]
    assert max(map(abs, gammas.values())) > 0.05


def test_the_card_says_what_was_found():
    card = (classics.FOLDER / "README.md").read_text()
    for value in TRAINED["critters-sagan"]["gamma"].values():
        assert f"{value:.2f}".replace("-", "−") in card
    for value in TRAINED["critters-classifier"]["right"].values():
        assert f"{value:.1%}".replace("%", " %") in card
    layers = TRAINED["critters-classifier"]["how_far"].values()
    for heads in [*layers, *([*chain(*found["how_far"].values())] for found in TRAINED.values())]:
        assert f"{min(heads):.2f} to {max(heads):.2f}" in card
