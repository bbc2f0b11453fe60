"""A photo as the input, on every kind of model."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from models import load
from tests.support.pipelines import PIPELINES, conditional
from viz import Trace
from viz.recording.photo import add_noise, crop_to_size, look_at
from viz.recording.plan import OverBudget

PHOTO = Image.new("RGB", (60, 40), "white")
ImageDraw.Draw(PHOTO).rectangle((0, 0, 29, 19), fill=(255, 0, 0))  # a red quarter, top left


@pytest.mark.parametrize("name", PIPELINES)
def test_look_at_with_every_kind_of_model(tmp_path, name):
    pipeline = PIPELINES[name](tmp_path)
    seen = []
    trace = look_at(
        pipeline, PHOTO, prompt="a red monster", steps=3, size=(16, 24), on_step=lambda step, _: seen.append(step)
    )
    assert seen == trace.steps == [0, 1, 2] and trace.picture.shape == (16, 24, 3)
    times = list(trace.timesteps.values())
    assert times == sorted(times, reverse=True) and len(set(times)) == 3
    assert not trace.skipped and max(trace.verify().values()) < 1e-5
    again = Trace.load(trace.save(tmp_path / "t.safetensors"))
    assert again.recipe == trace.recipe and len(again.recipe["photo"]) == 64


def test_look_at_with_the_bundled_model():
    trace = look_at(load("critters"), PHOTO, prompt="a red monster", steps=2)
    (caption,) = trace.words.values()
    assert [word.text for word in caption.words] == ["a", "red", "monster", "padding"]
    assert trace.size == (64, 64) and trace.previews[1].shape == (64, 64, 3)
    # At the last timestep there is little noise: the network's own guess at the clean picture is the photo.
    assert np.abs(trace.previews[1].astype(float) - trace.picture).mean() < 25


def test_look_at_knows_the_words_of_the_prompt(tmp_path):
    trace = look_at(PIPELINES["Stable Diffusion"](tmp_path / "text"), PHOTO, prompt="a red monster", steps=1)
    (caption,) = trace.words.values()
    assert [word.text for word in caption.words] == ["a", "red", "monster", "start", "end", "padding"]
    assert look_at(PIPELINES["DDPM"](tmp_path / "none"), PHOTO, prompt="a red monster", steps=1).words == {}


def test_look_at_needs_the_autoencoder_of_a_latent_unet(tmp_path):
    conditional(3, out_channels=3).save_pretrained(tmp_path)
    assert look_at(load(tmp_path), PHOTO, steps=2).size == (8, 8)
    conditional(4).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="came without its autoencoder"):
        look_at(load(tmp_path), PHOTO, steps=2)


def test_add_noise_is_the_forward_process():
    pipeline = load("critters")
    clean, noise = torch.ones(1, 3, 64, 64), torch.full((1, 3, 64, 64), 2.0)
    for timestep in (0, 400, 999):
        expected = pipeline.scheduler.add_noise(clean, noise, torch.tensor([timestep]))
        assert torch.allclose(add_noise(pipeline, clean, noise, timestep), expected, atol=1e-6)


def test_look_at_refuses_a_photo_over_budget(tmp_path):
    with pytest.raises(OverBudget, match="; 1 kB are allowed"):
        look_at(PIPELINES["DDPM"](tmp_path), PHOTO, steps=3, budget=1000)


def test_crop_to_size_keeps_proportions():
    square = crop_to_size(PHOTO, (40, 40))
    assert square.size == (40, 40) and square.getpixel((5, 5)) == (255, 0, 0) and min(square.getpixel((30, 5))) == 255
