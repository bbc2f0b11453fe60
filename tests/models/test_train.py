import json
import random
from functools import partial

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import max_pool2d

from models import load
from models.attributes import ATTRIBUTES
from models.critters import draw_critter
from models.training import train as train_module
from models.training import trainer as trainer_module
from models.training.batches import draw_timesteps, pixel_weights, sample_mentioned, training_batch
from models.training.config import HELD_OUT, TrainConfig
from models.training.train import export, train
from models.training.trainer import Trainer, new_unet, sample_sheet


@pytest.fixture
def tiny_training(monkeypatch, tiny_unet):
    """Training with a small U-Net that starts the same every time, and sheets of two pictures."""
    monkeypatch.setattr(trainer_module, "new_unet", lambda: type(tiny_unet).from_config(tiny_unet.config))
    monkeypatch.setattr(trainer_module, "sample_sheet", partial(sample_sheet, rows=1, columns=2))


def tiny(out, **options) -> TrainConfig:
    return TrainConfig(out=str(out), steps=4, batch=2, warmup=2, checkpoint_every=2, **options)


@pytest.mark.training
def test_train_resumed_after_a_kill_ends_with_the_same_weights(tiny_training, tmp_path, monkeypatch):
    train(tiny(tmp_path / "whole"))

    step = Trainer.train_step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", _killed_in_step(3, step))
        with pytest.raises(KeyboardInterrupt):
            train(tiny(tmp_path / "killed"))
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", lambda self: (steps.append(self.step), step(self))[1])
        train(tiny(tmp_path / "killed"))
    assert steps == [2, 3]  # it went on from the checkpoint, and did not start again
    assert logged(tmp_path / "killed") == [1, 2, 3, 4]

    whole, killed = (load_file(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "killed"))
    assert set(whole) == set(killed) and {name.split("/")[0] for name in whole} == {"average", "network", "optimizer"}
    assert [name for name in whole if not torch.equal(whole[name], killed[name])] == []


@pytest.mark.training
def test_train_refuses_a_checkpoint_of_other_settings(tiny_training, tmp_path):
    train(tiny(tmp_path))
    with pytest.raises(ValueError, match=r"was trained with seed 0 \(now 1\); use the same settings or another --out"):
        train(tiny(tmp_path, seed=1))


def _killed_in_step(number: int, step):
    def train_step(self: Trainer) -> float:
        if self.step == number:
            raise KeyboardInterrupt
        return step(self)

    return train_step


def logged(folder) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "losses.jsonl").read_text().splitlines()]


@pytest.mark.training
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_train_runs_on_a_gpu(tiny_training, tmp_path):
    tensors = load_file(train(tiny(tmp_path, device="cuda")))
    assert all(tensor.isfinite().all() for tensor in tensors.values()) and logged(tmp_path) == [1, 2, 3, 4]


@pytest.mark.training
def test_train_writes_sample_sheets_and_a_log(tiny_training, tmp_path):
    train(tiny(tmp_path, samples_every=2))
    sheets = sorted(tmp_path.glob("samples_*.png"))
    assert [sheet.name for sheet in sheets] == ["samples_000002.png", "samples_000004.png"]
    with Image.open(sheets[0]) as sheet:
        assert sheet.size == (2 * 2 * 64, 2 * 64) and sheet.getextrema() != ((0, 0),) * 3
    assert logged(tmp_path) == [1, 2, 3, 4]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.training
def test_export_writes_the_averaged_weights(tiny_training, tmp_path):
    checkpoint = load_file(train(tiny(tmp_path)))
    export(tiny(tmp_path), tmp_path / "exported")
    unet = load(tmp_path / "exported").unet
    for name, weight in unet.named_parameters():
        assert torch.equal(weight, checkpoint[f"average/unet.{name}"].half().float()), name
    assert not torch.equal(weight, checkpoint[f"network/unet.{name}"].half().float())
    assert not list(tmp_path.glob("exported/**/*.bin"))


@pytest.mark.training
def test_export_keeps_earlier_weights_only_of_the_bundled_model(tiny_training, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "BUNDLED", {"critters": tmp_path / "bundled"})
    for folder in ("bundled", "other"):
        for seed in (0, 1):
            train(config := tiny(tmp_path / f"{folder}{seed}", seed=seed))
            export(config, tmp_path / folder)
    kept = [path.relative_to(tmp_path) for path in tmp_path.glob("*/earlier/*")]
    assert len(kept) == 1 and kept[0].parts[0] == "bundled" and len(kept[0].name.split(".")[0]) == 12


def test_training_batch_follows_from_the_steps_number():
    config = TrainConfig(batch=3)
    batch, again, other = (training_batch(step, config) for step in (5, 5, 6))
    pixels, weights = batch.pixels, batch.weights
    assert pixels.shape == (3, 3, 64, 64) and len(batch.captions) == 3
    assert -1 <= pixels.min() < -0.5 and 0.5 < pixels.max() <= 1
    assert torch.equal(pixels, again.pixels) and not torch.equal(pixels, other.pixels)
    assert torch.equal(batch.shown, again.shown) and batch.captions == again.captions
    assert config.steps * config.batch < HELD_OUT
    assert weights.shape == (3, 1, 64, 64) and weights.mean(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1, 1])


def test_pixel_weights_are_higher_where_a_body_may_have_eyes():
    for seed in range(60):
        critter = draw_critter(seed)
        weights = pixel_weights(critter, 5.0)[0]
        outside = weights[torch.from_numpy(critter.masks["background"])].min()
        eyes = torch.from_numpy(np.any([mask for name, mask in critter.masks.items() if "eye" in name], axis=0))
        assert (weights[eyes] > 4.9 * outside).float().mean() > 0.97, seed
        assert (weights > outside).float().mean() < 0.4


def test_training_batch_shows_some_critters_with_a_wrong_eye():
    config = TrainConfig(batch=400, misled=1.0)
    batch = training_batch(0, config)
    for index in range(config.batch):
        critter = draw_critter(index)
        eyes = torch.from_numpy(np.any([mask for name, mask in critter.masks.items() if "eye" in name], axis=0))
        wrong = (batch.shown[index] != batch.pixels[index]).any(dim=0)
        assert wrong.any() == (critter.attributes.eye_count != "one"), index
        edges = max_pool2d(eyes[None].float(), 3, stride=1, padding=1)[0] > 0  # smooth, they reach one pixel further
        assert not (wrong & ~edges).any(), index
    assert torch.equal(training_batch(0, TrainConfig(misled=0.0)).shown, training_batch(0, TrainConfig()).pixels)


def test_loss_counts_a_wrong_eye_as_noise(tiny_training, tmp_path, monkeypatch):
    """What the network sees is the picture shown; what it is asked for is the true one, where there is a choice."""
    trainer, seen = Trainer(tiny(tmp_path, misled=1.0)), {}
    scheduler = trainer.scheduler
    batch = training_batch(0, trainer.config)
    for timestep, shown in ((700, batch.shown), (300, batch.pixels)):
        at = torch.full((len(batch.pixels),), timestep)
        monkeypatch.setattr("models.training.trainer.draw_timesteps", lambda *_, at=at: at)
        monkeypatch.setattr(
            scheduler, "get_velocity", lambda x, noise, t: seen.update(x=x, noise=noise) or torch.zeros_like(x)
        )
        trainer.loss(torch.Generator().manual_seed(0))
        noise = torch.randn(batch.pixels.shape, generator=torch.Generator().manual_seed(0))
        noisy = scheduler.add_noise(seen["x"], seen["noise"], at)
        assert torch.equal(seen["x"], batch.pixels)
        assert (noisy - scheduler.add_noise(shown, noise, at)).abs().max() < 1e-5
    assert (batch.shown != batch.pixels).any()


def test_draw_timesteps_favours_those_that_decide_colours():
    generator, config = torch.Generator().manual_seed(0), TrainConfig(batch=20_000)
    drawn = draw_timesteps(config, 1000, generator)
    inside = ((drawn >= 550) & (drawn < 950)).float().mean().item()
    assert inside == pytest.approx(config.deciding + (1 - config.deciding) * 0.4, abs=0.02)
    assert drawn.min() == 0 and drawn.max() == 999


def test_sample_mentioned_leaves_attributes_open():
    rng = random.Random(0)
    drawn = [tuple(sample_mentioned(rng)) for _ in range(4000)]
    assert drawn.count(()) / 4000 == pytest.approx(0.1, abs=0.02)
    assert drawn.count(tuple(ATTRIBUTES)) / 4000 == pytest.approx(0.21, abs=0.03)
    no_eyes = tuple(name for name in ATTRIBUTES if not name.startswith("eye"))
    assert drawn.count(no_eyes) / 4000 == pytest.approx(0.21, abs=0.02)


@pytest.mark.training
def test_trainer_starts_from_saved_weights(tiny_training, tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "before")
    trainer = Trainer(tiny(tmp_path / "out", start_from=str(tmp_path / "before"), seed=3))
    for name, weight in tiny_pipeline.unet.state_dict().items():
        assert torch.equal(trainer.average[f"unet.{name}"], weight), name
    trainer.train_step()
    assert trainer.step == 1


def test_new_unet_is_as_its_card_says():
    unet = new_unet()
    attentions = [module for module in unet.modules() if isinstance(module, Attention)]
    assert round(unet.num_parameters() / 1e6, 1) == 3.1
    assert {module.heads for module in attentions} == {4}
    grids = []
    for module in attentions:
        if not module.is_cross_attention:
            module.to_q.register_forward_hook(lambda _, inputs, output: grids.append(inputs[0].shape[1] ** 0.5))
    with torch.no_grad():
        unet(torch.zeros(1, 3, 64, 64), 0, torch.zeros(1, 24, 64))
    assert grids == [32, 16, 8, 8, 8, 8, 16, 16, 32, 32]
