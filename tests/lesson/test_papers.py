"""The papers' networks, shown one picture, and the findings about them."""

import json
from itertools import chain

import numpy as np
import pytest
import torch
from safetensors import safe_open

from models.classic import AttentionClassifier, ClassicUNet
from models.critters import draw_critter
from models.opening.revision import revision_of
from models.pipeline import CritterPipeline, x0_estimate
from models.training.batches import to_pixels
from models.training.config import HELD_OUT
from models.training.train_classic import classifier_accuracy, learned_gammas
from models.training.trainer import new_scheduler
from models.words import CaptionEncoder
from viz.lesson import papers
from viz.lesson.file import write_lesson
from viz.page.gallery import exhibits

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


def test_available_networks_are_those_with_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(papers, "FOLDER", tmp_path)
    assert papers.available_networks() == {}
    (tmp_path / "sagan").mkdir()
    assert list(papers.available_networks()) == ["critters-sagan"]


@pytest.mark.parametrize("kind", [*KINDS, "classifier"])
def test_call_of_shows_every_network_the_same_picture(kind):
    model, exhibit = model_of(kind), exhibits()[0]
    picture = np.asarray(draw_critter(0).image)
    call = papers.call_of(model, picture, 359, exhibit.caption)
    assert torch.equal(call.sample, papers.call_of(model, picture, 359, exhibit.caption).sample)
    clean = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    if kind == "classifier":
        assert torch.equal(call.sample, clean)
    else:
        least = papers.call_of(model, picture, 0, exhibit.caption).sample
        assert (least - clean).abs().mean() < 0.05 < 0.2 < (call.sample - clean).abs().mean()
        assert len(call.args) == (3 if kind == "cross" else 2)
    with torch.no_grad():
        papers.network_of(model)(*call.args)


@pytest.mark.parametrize("kind", [*KINDS, "classifier"])
def test_write_lesson_takes_every_network(kind, tmp_path):
    model, exhibit = model_of(kind), exhibits()[0]
    layers = papers.layers_of(model)
    if kind == "classifier":
        assert layers == ["layers.0.attention", "layers.1.attention"]
    else:
        kinds = ("attention", "cross") if kind == "cross" else ("attention",)
        assert layers == [f"{place}.{name}" for place in ("down.2", "middle", "up.2") for name in kinds]
    self_layers = [name for name in layers if not name.endswith("cross")]
    call = papers.call_of(model, np.asarray(draw_critter(0).image), 359, exhibit.caption)
    about = {"picture": np.asarray(draw_critter(0).image), "caption": exhibit.caption, "step": 16}
    about["words"] = papers.words_of(model, exhibit.caption)
    path = write_lesson(papers.network_of(model), call, layers[-1], tmp_path / "lesson.safetensors", **about)
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["lesson"])
        moments = [file.get_tensor(f"around/{index}") for index in range(len(self_layers))]
        assert any(name == "position/u" for name in file.keys()) == (kind == "classifier")  # noqa: SIM118
    assert [layer["name"] for layer in metadata["around"]] == self_layers
    for layer, where in zip(metadata["around"], moments, strict=True):
        assert where.shape == (layer["heads"], layer["grid"][0] * layer["grid"][1], 5)
    assert metadata["layer"]["kind"] == ("cross" if kind == "cross" else "self")
    assert metadata.get("words", [])[:6] == (
        ["a", "round", "purple", "monster", "with", "two"] if kind == "cross" else []
    )
    assert metadata["residual"] and (metadata["gamma"] is not None) == (kind == "sagan")
    if kind == "classifier":
        assert metadata["gaps"]["attention"] > 1e-3 and metadata["timestep"] is None  # it has position terms
    else:
        assert metadata["gaps"]["attention"] < 1e-5 < metadata["gaps"]["convolution"] and metadata["timestep"] == 359


FINDINGS = json.loads((papers.FOLDER / "findings.json").read_text())


def test_available_networks_are_all_five():
    assert set(papers.available_networks()) == set(FINDINGS) == {f"critters-{kind}" for kind in papers.PAPERS}


@pytest.mark.parametrize("name", FINDINGS)
def test_findings_were_measured_on_these_weights(name):
    """If not, `python -m viz.lesson.papers` measures them again."""
    assert FINDINGS[name]["revision"] == revision_of(papers.folder_of(name))


def test_measure_names_the_weights_it_measured():
    findings = papers.measure("critters-ddpm", count=1)
    expected = FINDINGS["critters-ddpm"]
    assert findings["revision"] == expected["revision"] and findings.keys() == expected.keys()
    assert findings["how_far"].keys() == expected["how_far"].keys()


@pytest.mark.parametrize("kind", papers.PAPERS)
def test_weights_are_small_safetensors(kind):
    files = [path for path in (papers.FOLDER / kind).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert sum(path.stat().st_size for path in files) <= 4 * 2**20


@pytest.mark.parametrize("kind", papers.PAPERS)
def test_trained_network_knows_its_task(kind):
    """Denoisers come far closer to a held-out critter than the noisy picture is."""
    model, critter = papers.load_model(f"critters-{kind}"), draw_critter(HELD_OUT + 77)
    if kind == "classifier":
        right = classifier_accuracy(model, 60)
        assert all(right[name] > share - 0.1 for name, share in FINDINGS["critters-classifier"]["right"].items())
        return
    call = papers.call_of(model, np.asarray(critter.image), 500, critter.caption())
    with torch.no_grad():
        estimate = x0_estimate(model.scheduler, call.sample, 500, model.unet(*call.args).sample)
    clean = to_pixels([critter.image])
    noisy = call.sample / model.scheduler.alphas_cumprod[500].sqrt()
    assert (estimate - clean).square().mean() < 0.05 * (noisy - clean).square().mean()


def test_sagan_network_has_learned_to_look():
    """Its γ started at 0, where its attention does nothing."""
    gammas = learned_gammas(papers.load_model("critters-sagan").unet)
    assert {name: pytest.approx(value, abs=1e-3) for name, value in gammas.items()} == FINDINGS["critters-sagan"][
        "gamma"
    ]
    assert max(map(abs, gammas.values())) > 0.05


def test_card_states_the_findings():
    card = (papers.FOLDER / "README.md").read_text()
    for value in FINDINGS["critters-sagan"]["gamma"].values():
        assert f"{value:.2f}".replace("-", "−") in card
    for value in FINDINGS["critters-classifier"]["right"].values():
        assert f"{value:.1%}".replace("%", " %") in card
    layers = FINDINGS["critters-classifier"]["how_far"].values()
    for heads in [*layers, *([*chain(*findings["how_far"].values())] for findings in FINDINGS.values())]:
        assert f"{min(heads):.2f} to {max(heads):.2f}" in card
