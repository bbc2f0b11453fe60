"""Training networks of the papers' blocks: the bundled model's Trainer, with other networks in it."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models import load
from models.classic import AttentionClassifier, ClassicUNet
from models.opening.papers import FOLDERS
from models.opening.papers import KINDS as NAMED
from models.pipeline import CritterPipeline
from models.training import train_classic
from models.training import trainer as trainer_module
from models.training.config import HELD_OUT
from models.training.train import export, train
from models.training.train_classic import (
    KINDS,
    ClassicConfig,
    classifier_accuracy,
    labelled_pictures,
    learned_gammas,
    trainer_of,
)
from models.training.trainer import sample_sheet


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    small = {"channels": (8, 8, 8, 16), "groups": 4, "heads": 2, "time_channels": 16}
    monkeypatch.setattr(train_classic, "ClassicUNet", lambda **options: ClassicUNet(**small | options))
    monkeypatch.setattr(
        train_classic, "AttentionClassifier", lambda: AttentionClassifier(patch=8, channels=18, depth=2)
    )
    monkeypatch.setattr(trainer_module, "sample_sheet", lambda pipeline: sample_sheet(pipeline, rows=1, columns=1))
    monkeypatch.setattr(
        train_classic, "classifier_accuracy", lambda classifier, count: classifier_accuracy(classifier, 4)
    )


def tiny(out, kind: str, **options) -> ClassicConfig:
    return ClassicConfig(out=str(out), kind=kind, **{"steps": 2, "batch": 2, "checkpoint_every": 1} | options)


@pytest.mark.training
@pytest.mark.parametrize("kind", KINDS)
def test_load_opens_a_trained_network_by_name(kind, tmp_path, monkeypatch):
    config = tiny(tmp_path / "run", kind)
    checkpoint = load_file(train(config, trainer_of(kind)))
    export(config, tmp_path / "exported", trainer_of(kind))
    monkeypatch.setitem(FOLDERS, f"critters-{kind}", tmp_path / "exported")
    opened = load(f"critters-{kind}")
    if kind == "classifier":
        network, prefix = opened, "classifier"
        answers = opened(labelled_pictures(HELD_OUT, 3)[0])
        assert {name: tuple(logits.shape) for name, logits in answers.items()} == {"eye_count": (3, 3), "crown": (3, 4)}
    else:
        network, prefix = opened.unet, "unet"
        assert type(opened) is CritterPipeline and (opened.encoder is not None) == (kind == "cross")
        first, again, other = (opened("a monster", seed=s, num_inference_steps=2).images[0] for s in (1, 1, 2))
        assert first.size == (64, 64) and first.tobytes() == again.tobytes() != other.tobytes()
    assert not network.training
    for name, weight in network.named_parameters():
        assert torch.equal(weight, checkpoint[f"average/{prefix}.{name}"].half().float()), name
    assert not list(tmp_path.glob("exported/**/*.bin"))


@pytest.mark.training
@pytest.mark.parametrize("kind", ["cross", "classifier"])
def test_train_resumed_after_a_kill_ends_with_the_same_weights(kind, tmp_path, monkeypatch):
    train(tiny(tmp_path / "whole", kind, steps=3), trainer_of(kind))
    with monkeypatch.context() as patch:
        saved = trainer_of(kind).save

        def save_and_die(self, path):
            saved(self, path)
            if self.step == 2:
                raise KeyboardInterrupt

        patch.setattr(trainer_of(kind), "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(tmp_path / "killed", kind, steps=3), trainer_of(kind))
    train(tiny(tmp_path / "killed", kind, steps=3), trainer_of(kind))
    whole, killed = (load_file(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "killed"))
    assert set(whole) == set(killed)
    assert [name for name in whole if not torch.equal(whole[name], killed[name])] == []


@pytest.mark.training
def test_train_refuses_a_checkpoint_of_another_kind(tmp_path):
    train(tiny(tmp_path, "ddpm"), trainer_of("ddpm"))
    with pytest.raises(ValueError, match=r"was trained with kind ddpm \(now multihead\)"):
        train(tiny(tmp_path, "multihead"), trainer_of("multihead"))


@pytest.mark.training
@pytest.mark.parametrize("kind", ["sagan", "multihead", "classifier"])
def test_trainer_starts_from_saved_weights(kind, tmp_path):
    config = tiny(tmp_path / "run", kind)
    train(config, trainer_of(kind))
    trainer = trainer_of(kind)(config)
    trainer.resume(tmp_path / "run" / "checkpoint.safetensors")
    trainer.result().save_pretrained(tmp_path / "before")
    later = trainer_of(kind)(tiny(tmp_path / "later", kind, start_from=str(tmp_path / "before"), seed=5))
    assert [name for name in trainer.average if not torch.equal(later.average[name], trainer.average[name])] == []
    later.train_step()


@pytest.mark.training
def test_trainer_trains_every_weight():
    for kind in KINDS:
        trainer = trainer_of(kind)(tiny("", kind, learning_rate=0.1, warmup=1, batch=4))
        before = {name: parameter.detach().clone() for name, parameter in trainer.parameters.items()}
        for _ in range(3):  # projections that start at zero stop the gradient of what is before them at first
            trainer.train_step()
        still = [name for name, parameter in trainer.parameters.items() if torch.equal(parameter, before[name])]
        assert still == [], kind


@pytest.mark.training
def test_report_writes_the_learned_gammas(tmp_path):
    train(tiny(tmp_path, "sagan", learning_rate=0.1, samples_every=2), trainer_of("sagan"))
    gammas = json.loads((tmp_path / "gammas_000002.json").read_text())
    assert list(gammas) == [f"{place}.attention" for place in ("down.1", "down.2", "middle", "up.1", "up.2")]
    checkpoint = load_file(tmp_path / "checkpoint.safetensors")
    for name, gamma in gammas.items():
        assert gamma == round(checkpoint[f"average/unet.{name}.gamma"].item(), 4) != 0
    assert learned_gammas(ClassicUNet()) == {}
    assert list(tmp_path.glob("samples_000002.png"))


@pytest.mark.training
def test_report_writes_the_classifiers_accuracy(tmp_path):
    train(tiny(tmp_path, "classifier", samples_every=2), trainer_of("classifier"))
    right = json.loads((tmp_path / "accuracy_000002.json").read_text())
    assert set(right) == {"eye_count", "crown"} and all(0 <= value <= 1 for value in right.values())


def test_classifier_accuracy_counts_right_answers():
    _, truths = labelled_pictures(HELD_OUT, 10)

    class Oracle(AttentionClassifier):
        """Right about every eye count, and always of the opinion that there are horns."""

        def forward(self, pixels):
            crowns = torch.zeros(10, 4)
            crowns[:, 0] = 1
            return {"eye_count": torch.eye(3)[truths["eye_count"]], "crown": crowns}

    assert classifier_accuracy(Oracle(), 10) == {
        "eye_count": 1,
        "crown": pytest.approx((truths["crown"] == 0).float().mean().item(), abs=1e-4),
    }


def test_networks_are_small_and_have_their_blocks_at_the_right_levels(monkeypatch):
    monkeypatch.undo()
    for kind in KINDS:
        networks = trainer_of(kind)(ClassicConfig(kind=kind)).networks
        halves = 2 * sum(parameter.numel() for parameter in networks.parameters())
        assert 0.5 * 2**20 < halves < 4 * 2**20, (kind, halves)
        if kind == "classifier":
            continue
        places = [name for name, module in networks["unet"].named_modules() if name.endswith((".attention", ".cross"))]
        levels = {int(n) for name in places for n in re.findall(r"\d", name)}
        assert levels == {"ddpm": {2}, "sagan": {1, 2}}.get(kind, {2, 3})
        assert any(name.endswith("cross") for name in places) == (kind == "cross")
        assert {"middle.attention"} < set(places)


def test_papers_name_every_kind():
    assert set(NAMED) == set(KINDS)


def test_load_says_how_to_train_a_missing_network(monkeypatch, tmp_path):
    monkeypatch.setitem(FOLDERS, "critters-sagan", tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"'critters-sagan' has not been trained .*train_classic --kind sagan"):
        load("critters-sagan")


def test_config_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match=r"expected a kind among ddpm, .* got 'gan'"):
        ClassicConfig(kind="gan")


def test_pipeline_without_encoder_only_counts_captions(tmp_path):
    pipeline = trainer_of("ddpm")(tiny(tmp_path, "ddpm")).result()
    images = pipeline(["no such words", "b"], seed=3, num_inference_steps=2, guidance_scale=5).images
    alone = pipeline(seed=4, num_inference_steps=2).images[0]
    assert len(images) == 2
    assert np.abs(np.asarray(images[1]).astype(int) - np.asarray(alone).astype(int)).max() <= 1
