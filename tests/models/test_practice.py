from dataclasses import replace

import pytest
import torch

from models.attributes import COLORS
from models.critters import draw_critter
from models.training import practice as practising
from models.training.batches import to_pixels
from models.training.irises import EYES, iris_classes
from models.training.judge import JUDGE, Judge
from models.training.practice import (
    FROZEN,
    SHADE,
    Goals,
    PracticeConfig,
    correction,
    find_goals,
    load_in_single_precision,
    mean_colors,
    practice,
    practice_caption,
    practise,
    record_trajectories,
)

SEED = next(seed for seed in range(100) if draw_critter(seed).attributes.eye_count == "two")
TINY = PracticeConfig(pictures=2, steps=2, batch=2, sampled=2, warmup=1)


class Known:
    """Irises of pictures that are all drawn of one critter."""

    def __init__(self, seed: int) -> None:
        self.masks = torch.stack([iris_classes(draw_critter(seed)) == 1 + index for index in range(len(EYES))])

    def find(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.masks[None].expand(len(pixels), -1, -1, -1)


def color(name: str) -> torch.Tensor:
    return torch.tensor(COLORS[name]) / 127.5 - 1


def mismatched(left: str, right: str) -> torch.Tensor:
    """(1, 3, 64, 64)"""
    return to_pixels([draw_critter(SEED, eye_colors={"left eye": left, "right eye": right}).image])


def test_practice_caption_never_mentions_eyes_and_varies():
    captions = [practice_caption(seed) for seed in range(60)]
    assert len(set(captions)) > 50 and not any("eye" in text for text in captions)
    whole = {draw_critter(seed).caption(practising.NO_EYES) for seed in range(60)}
    assert 25 < sum(text in whole for text in captions) < 50


@torch.no_grad()
def test_record_trajectories_keeps_inputs_and_answers(shared_pipeline):
    trajectories = record_trajectories(shared_pipeline, range(3), steps=4, guidance=2.0, batch=2)
    assert not shared_pipeline.unet._forward_hooks
    with torch.autocast("cpu", torch.bfloat16):
        first = shared_pipeline(trajectories.captions[:2], seed=0, num_inference_steps=4, guidance_scale=2.0).images
    assert trajectories.pixels[:2].equal(to_pixels(first)) and len(trajectories.pixels) == 3
    scheduler = shared_pipeline.scheduler
    scheduler.set_timesteps(4)
    for step, timestep in enumerate(trajectories.timesteps):
        without, with_caption = trajectories.velocities[:, step].float().unbind(1)
        after = scheduler.step(without + 2 * (with_caption - without), timestep, trajectories.samples[:, step].float())
        expected = trajectories.samples[:, step + 1].float() if step < 3 else trajectories.pixels
        torch.testing.assert_close(after.prev_sample.clamp(-4, 4), expected.clamp(-4, 4), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("timestep", [960, 700, 500, 200])
@pytest.mark.parametrize("clear", [True, False])
def test_correction_makes_irises_alike_and_clear_and_changes_nothing_else(timestep, clear):
    picture, irises = mismatched("red", "blue"), Known(SEED).masks[None].float()
    expected_goals = Goals(irises, color("yellow")[None], torch.tensor([clear]))
    right = picture + correction(picture, torch.tensor([timestep]), expected_goals)
    outside = irises.sum(1, keepdim=True).expand_as(right) == 0
    assert right[outside].equal(picture[outside])
    (before, common), (after, now) = mean_colors(picture, irises), mean_colors(right, irises)
    assert (after[0, 0] - after[0, 1]).norm() == pytest.approx(
        0 if timestep >= 380 else (before[0, 0] - before[0, 1]).norm().item(), abs=1e-4
    )
    way, gone = (color("yellow") - common).norm().item(), (now - common).norm().item()
    part = {960: 0, 700: 0.4, 500: 1, 200: 1}[timestep] * clear
    assert gone == pytest.approx(part * (way - SHADE), abs=1e-4)
    assert after[0, 2:].equal(torch.zeros(2, 3))  # it has no third eye


def test_find_goals_takes_the_nearest_clear_colour_unless_it_is_the_bodys(shared_pipeline):
    body = draw_critter(SEED).attributes.body_color
    eyes = next(name for name in COLORS if name != body)
    pictures = torch.cat([mismatched(eyes, eyes), mismatched(body, body)])
    trajectories = replace(record_trajectories(shared_pipeline, range(2), steps=1, guidance=1.5), pixels=pictures)
    goals = find_goals(trajectories, Known(SEED), Judge.from_pretrained(JUDGE))
    torch.testing.assert_close(goals.colors, torch.stack([color(eyes), color(body)]))
    assert goals.clear.tolist() == [True, False] and goals.irises.dtype == torch.float32


@pytest.mark.training
def test_practise_trains_the_network_and_leaves_frozen_parts(tiny_pipeline):
    before = {name: weight.clone() for name, weight in tiny_pipeline.unet.named_parameters()}
    trajectories = record_trajectories(tiny_pipeline, range(2), steps=3, guidance=1.5)
    expected_goals = Goals(
        Known(SEED).masks[None].float().repeat(2, 1, 1, 1), color("white").repeat(2, 1), torch.ones(2) > 0
    )

    @torch.no_grad()
    def away() -> float:
        """How far the irises it expects at the last timestep are from white."""
        last = trajectories.timesteps[-1]
        answer = tiny_pipeline.unet(trajectories.samples[:, -1].float(), last, words).sample
        alpha = tiny_pipeline.scheduler.alphas_cumprod[last]
        expected = alpha.sqrt() * trajectories.samples[:, -1] - (1 - alpha).sqrt() * answer
        return (mean_colors(expected, expected_goals.irises)[1] - expected_goals.colors).norm().item()

    with torch.no_grad():
        words = tiny_pipeline.encode_captions(trajectories.captions)
    begun = away()
    practise(tiny_pipeline, trajectories, expected_goals, replace(TINY, steps=60, batch=4, learning_rate=2e-3))
    assert away() < 0.9 * begun
    for name, weight in tiny_pipeline.unet.named_parameters():
        assert weight.equal(before[name]) == name.startswith(FROZEN), name
        assert not weight.requires_grad


@pytest.mark.training
def test_practice_skips_finished_rounds_after_a_kill(tiny_pipeline, tmp_path, monkeypatch):
    tiny_pipeline.save_pretrained(tmp_path / "start")
    config = replace(TINY, out=str(tmp_path / "out"), start_from=str(tmp_path / "start"))
    monkeypatch.setattr(practising, "train_irises", lambda seed: Known(SEED))
    done, do = [], practise

    def killed(pipeline, trajectories, *rest):
        done.append(trajectories.captions)
        if len(done) == 2:
            raise KeyboardInterrupt
        do(pipeline, trajectories, *rest)

    monkeypatch.setattr(practising, "practise", killed)
    with pytest.raises(KeyboardInterrupt):
        practice(config)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["round_1"]
    last = practice(config)
    assert last == tmp_path / "out" / "round_2" and len(done) == 3
    assert done[0] != done[1] == done[2]  # new pictures in each round
    weights = [
        load_in_single_precision(folder).unet.conv_in.weight
        for folder in (tmp_path / "start", tmp_path / "out" / "round_1", last)
    ]
    assert not weights[0].equal(weights[1]) and not weights[1].equal(weights[2])
    assert practice(config) == last and len(done) == 3
