"""Let the bundled model practise on its own pictures: `python -m models.training.practice`.

Where a caption leaves the colour of the eyes open, the network starts with something between all colours and should
end with one. In training it always does, because the evidence in the noisy picture grows clearer at every timestep.
While it samples, nothing favours one colour, and many eyes end in between: in two shades that are neither blue nor
purple. So it is trained on its own samples. Its own answers are the targets, except for the irises: both should have
the same colour, and from some timestep on the clear colour nearest to the one that they ended with. The rest of each
answer keeps everything else as the network draws it.

Like DAgger (Ross et al. 2011, arXiv 1011.0686), it collects the right answers on the path that the learner itself
takes, and then again on its new path.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from tqdm import tqdm

from models.attributes import COLORS
from models.critters import draw_critter
from models.pipeline import CritterPipeline, to_picture
from models.training.batches import to_pixels
from models.training.config import add_options
from models.training.evaluate import NO_EYES
from models.training.irises import Irises, train_irises
from models.training.judge import JUDGE, Judge
from models.training.train import save_model
from models.training.trainer import warmup_cosine

# The parts that are not trained, half of the weights: on the 8x8 grid two eyes cannot be told apart.
FROZEN = ("mid_block", "down_blocks.3", "up_blocks.0", "time_embedding")
FIRST = 700_000_000  # the first seed: neither the training nor the evaluation uses these
# Timesteps, of 1000. Below `CLEAR[0]` irises are led part of the way to a clear colour, below `CLEAR[1]` all of it; at
# `ALIKE` and above, two irises are made alike.
CLEAR, ALIKE = (800, 550), 380
SHADE = 0.1  # how far, in [-1, 1], an iris may be from the clear colour: critters are drawn in shades of it


@dataclass
class PracticeConfig:
    out: str = "runs/practice"
    start_from: str = "assets/critters"  # a pipeline's folder
    rounds: int = 2
    pictures: int = 500  # drawn anew in each round
    steps: int = 700  # in each round
    batch: int = 16
    learning_rate: float = 4e-4
    warmup: int = 30
    ema: float = 0.99
    clip: float = 1.0
    eyes: float = 10.0  # how much more the irises and 2 pixels around them count
    sampled: int = 25  # DDIM steps
    guidance: float = 1.5
    seed: int = 0


@dataclass(frozen=True)
class Trajectories:
    """The inputs and outputs of the U-Net while N pictures were drawn in T steps."""

    captions: list[str]
    timesteps: torch.Tensor  # (T,)
    samples: torch.Tensor  # (N, T, 3, h, w), half precision: the U-Net's inputs
    velocities: torch.Tensor  # (N, T, 2, 3, h, w), half precision: its answers, without the caption and with it
    pixels: torch.Tensor  # (N, 3, h, w) in [-1, 1]: the pictures


@dataclass(frozen=True)
class Goals:
    """The irises in N pictures, and the colours that they should have."""

    irises: torch.Tensor  # (N, 4, h, w) of 0 and 1: see `models.training.irises`
    colors: torch.Tensor  # (N, 3) in [-1, 1]: the clear colour nearest to theirs
    clear: torch.Tensor  # (N,) bool: whether to lead them to that colour; False where it is the body's

    def __getitem__(self, which: torch.Tensor) -> Goals:
        return Goals(self.irises[which], self.colors[which], self.clear[which])


def practice_caption(seed: int) -> str:
    """A caption that does not mention eyes; six in ten mention everything else."""
    rng = random.Random(f"practice {seed}")
    names = NO_EYES if rng.random() < 0.6 else [name for name in NO_EYES if rng.random() < 0.5]
    return draw_critter(seed).caption(names) if names else ""


def record_trajectories(
    pipeline: CritterPipeline, seeds: range, *, steps: int, guidance: float, batch: int = 25
) -> Trajectories:
    """Draw one picture per seed, with guidance and in bf16, and keep every input and answer of the U-Net."""
    inputs: list[list[torch.Tensor]] = []  # by batch and step: (B, 3, h, w)
    answers: list[list[torch.Tensor]] = []  # by batch and step: (B, 2, 3, h, w)
    images = []
    captions = [practice_caption(seed) for seed in seeds]

    def keep(_: torch.nn.Module, args: tuple, output: Any) -> None:
        inputs[-1].append(args[0].chunk(2)[1].half())
        answers[-1].append(torch.stack(output.sample.float().chunk(2), dim=1).half())

    hook = pipeline.unet.register_forward_hook(keep)
    try:
        for start in tqdm(range(0, len(seeds), batch), desc="pictures", unit="batch"):
            inputs.append([])
            answers.append([])
            few = slice(start, start + batch)
            with torch.autocast("cpu", torch.bfloat16):
                images += pipeline(
                    captions[few], seed=seeds[few], num_inference_steps=steps, guidance_scale=guidance
                ).images
    finally:
        hook.remove()
    samples, velocities = (
        torch.cat([torch.stack(steps_of_batch, dim=1) for steps_of_batch in batches]) for batches in (inputs, answers)
    )
    return Trajectories(captions, pipeline.scheduler.timesteps.clone(), samples, velocities, to_pixels(images))


def find_goals(trajectories: Trajectories, finder: Irises, judge: Judge) -> Goals:
    """The irises at the end of the trajectories, and the colours that they should have."""
    masks = finder.find(trajectories.pixels).float()
    palette = torch.tensor(list(COLORS.values())).float() / 127.5 - 1
    nearest = torch.cdist(mean_colors(trajectories.pixels, masks)[1], palette).argmin(1)
    verdicts = judge.read([to_picture(picture) for picture in trajectories.pixels])
    bodies = torch.tensor([list(COLORS).index(verdict.body_color) for verdict in verdicts])
    return Goals(masks, palette[nearest], nearest != bodies)


def mean_colors(pixels: torch.Tensor, irises: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The colours (B, 4, 3) of each iris in pictures (B, 3, h, w), 0 for missing ones, and their means (B, 3)."""
    area = irises.sum((2, 3))
    colors = torch.einsum("bchw,behw->bec", pixels, irises) / area.clamp(min=1)[..., None]
    return colors, colors.sum(1) / (area > 0).sum(1).clamp(min=1)[:, None]


def correction(expected: torch.Tensor, timesteps: torch.Tensor, goals: Goals) -> torch.Tensor:
    """What to add to expected clean pictures (B, 3, h, w) at timesteps (B,) to make their irises right."""
    colors, common = mean_colors(expected, goals.irises)
    alike = (common[:, None] - colors) * (timesteps >= ALIKE)[:, None, None]
    to_goal = goals.colors - common
    to_goal = to_goal * (1 - SHADE / to_goal.norm(dim=1, keepdim=True).clamp(min=SHADE))
    part = goals.clear * ((CLEAR[0] - timesteps) / (CLEAR[0] - CLEAR[1])).clamp(0, 1)
    return torch.einsum("bec,behw->bchw", alike + (part[:, None] * to_goal)[:, None], goals.irises)


def practise(pipeline: CritterPipeline, trajectories: Trajectories, goals: Goals, config: PracticeConfig) -> None:
    """Train the pipeline's U-Net, in place, on the corrected answers; it ends with its averaged weights."""
    unet = pipeline.unet.float().train().requires_grad_(False).to(memory_format=torch.channels_last)
    trained = [weight.requires_grad_(True) for name, weight in unet.named_parameters() if not name.startswith(FROZEN)]
    average = [weight.detach().clone() for weight in trained]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=0.01)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        halves = pipeline.encode_captions(trajectories.captions, guided=True).chunk(2)
    words = torch.stack(halves, dim=1)  # (N, 2, L, C)
    eye_counts = (goals.irises.sum((2, 3)) > 0).sum(1)
    several = 1 + 2 * (eye_counts > 1).float()  # these pictures have more to teach,
    undecided = 1 + 2 * (trajectories.timesteps >= ALIKE).float()  # and so have these timesteps
    weights = 1 + config.eyes * F.max_pool2d(goals.irises.amax(1, keepdim=True), 5, 1, padding=2)
    weights = weights / weights.mean((1, 2, 3), keepdim=True)  # (N, 1, h, w)
    bar = tqdm(range(config.steps), desc="practice", unit="step", smoothing=0.02)
    for step in bar:
        which = torch.multinomial(several, config.batch, replacement=True, generator=generator)
        when = torch.multinomial(undecided, config.batch, replacement=True, generator=generator)
        half = (torch.rand(config.batch, generator=generator) < 2 / 3).long()
        noisy, velocity = trajectories.samples[which, when].float(), trajectories.velocities[which, when, half].float()
        timesteps = trajectories.timesteps[when]
        alphas = pipeline.scheduler.alphas_cumprod[timesteps][:, None, None, None]
        expected = alphas.sqrt() * noisy - (1 - alphas).sqrt() * velocity
        target = velocity - correction(expected, timesteps, goals[which]) / (1 - alphas).sqrt()
        with torch.autocast("cpu", torch.bfloat16):
            noisy = noisy.contiguous(memory_format=torch.channels_last)
            answer = unet(noisy, timesteps, words[which, half]).sample.float()
        loss = ((answer - target).square() * weights[which]).mean()
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmup_cosine(step, config.steps, config.warmup)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, config.clip)
        optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, [weight.detach() for weight in trained], 1 - decay)
        bar.set_postfix(loss=f"{loss.item():.4f}")
    with torch.no_grad():
        for weight, mean in zip(trained, average, strict=True):
            weight.copy_(mean)
    unet.eval().requires_grad_(False)


def load_in_single_precision(folder: Path) -> CritterPipeline:
    """The pipeline of a folder, without progress bars."""
    pipeline = CritterPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def practice(config: PracticeConfig) -> Path:
    """Run all rounds, each from the result of the one before, skipping finished ones; returns the last one's folder."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    folders = [out / f"round_{number}" for number in range(1, config.rounds + 1)]
    finder, judge = None, Judge.from_pretrained(JUDGE)
    for number, folder in enumerate(folders):
        if folder.exists():
            continue
        finder = finder or train_irises(seed=config.seed)
        pipeline = load_in_single_precision(folders[number - 1] if number else Path(config.start_from))
        first = FIRST + (config.seed * config.rounds + number) * config.pictures
        seeds = range(first, first + config.pictures)
        trajectories = record_trajectories(pipeline, seeds, steps=config.sampled, guidance=config.guidance)
        practise(pipeline, trajectories, find_goals(trajectories, finder, judge), config)
        partial = folder.with_suffix(".partial")
        pipeline.save_pretrained(partial, safe_serialization=True)
        partial.rename(folder)
    return folders[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--export", type=Path, metavar="FOLDER", help="write the resulting model there, in half precision"
    )
    add_options(parser, PracticeConfig)
    arguments = vars(parser.parse_args())
    folder = arguments.pop("export")
    last = practice(PracticeConfig(**arguments))
    if folder:
        save_model(load_in_single_precision(last), folder)


if __name__ == "__main__":
    main()
