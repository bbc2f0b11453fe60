"""Let the bundled model practise on pictures of its own: `python -m models.training.practice`.

Where a caption leaves the colour of eyes open, the network begins with something between all colours and should end in
one. In training it always does, as what is left of the truth grows clearer at every timestep. While it samples nothing
speaks for one colour more than for another, and many eyes ended in between: two shades of what is neither blue
nor purple. So it is taught on its own samples. For each the network's own answer is right, but for the irises: they
should be of one colour, and from some timestep on of the clear one nearest to where they ended. All the rest of
the answer holds what it draws in place.

Like DAgger (Ross et al. 2011, arXiv 1011.0686), it asks what would be right where the learner's own steps have led,
and then again where its new ones lead.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F
from tqdm import tqdm

from models.attributes import COLORS
from models.critters import draw
from models.pipeline import CritterPipeline, to_picture
from models.training.evaluate import NO_EYES
from models.training.irises import Irises, teach
from models.training.judge import JUDGE, Judge
from models.training.train import options, put, to_pixels, warm_then_falling

# What is not practised, half of the weights: on the 8x8 grid two eyes cannot be told apart.
KEPT = ("mid_block", "down_blocks.3", "up_blocks.0", "time_embedding")
FIRST = 700_000_000  # seed: neither the training nor the evaluation come here
# Timesteps, of 1000: below `CLEAR[0]` irises begin to be led to a clear colour, below `CLEAR[1]` wholly; below `ALIKE`
# two irises are not made alike any more.
CLEAR, ALIKE = (800, 550), 380
SHADE = 0.1  # how far, in [-1, 1], a colour may be from the clear one: critters are drawn in shades of it


@dataclass
class PracticeConfig:
    out: str = "runs/practice"
    start_from: str = "assets/critters"  # a pipeline's folder
    rounds: int = 2
    pictures: int = 500  # of its own, new ones in each round
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
class Courses:
    """How N pictures came about in T steps."""

    captions: list[str]
    timesteps: torch.Tensor  # (T,)
    samples: torch.Tensor  # (N, T, 3, h, w), half precision: what the U-Net was asked about
    velocities: torch.Tensor  # (N, T, 2, 3, h, w), half precision: its answers, without the caption and with it
    pixels: torch.Tensor  # (N, 3, h, w) in [-1, 1]: the pictures


@dataclass(frozen=True)
class Goals:
    """What is wanted of the irises in N pictures."""

    irises: torch.Tensor  # (N, 4, h, w) of 0 and 1: see `models.training.irises`
    colors: torch.Tensor  # (N, 3) in [-1, 1]: the clear colour nearest to theirs
    clear: torch.Tensor  # (N,) bool: whether to lead them there; not where it is the body's

    def __getitem__(self, which: torch.Tensor) -> Goals:
        return Goals(self.irises[which], self.colors[which], self.clear[which])


def caption(seed: int) -> str:
    """One that does not mention eyes; six in ten say everything else."""
    rng = random.Random(f"practice {seed}")
    names = NO_EYES if rng.random() < 0.6 else [name for name in NO_EYES if rng.random() < 0.5]
    return draw(seed).caption(names) if names else ""


def draw_courses(pipeline: CritterPipeline, seeds: range, *, steps: int, guidance: float, batch: int = 25) -> Courses:
    """Draw one picture a seed, with guidance and in bf16, and keep how."""
    samples, velocities, images = [], [], []
    captions = [caption(seed) for seed in seeds]

    def see(_: torch.nn.Module, args: tuple, output: object) -> None:
        samples[-1].append(args[0].chunk(2)[1].half())
        velocities[-1].append(torch.cat([half[:, None] for half in output.sample.float().chunk(2)], dim=1).half())

    watching = pipeline.unet.register_forward_hook(see)
    try:
        for start in tqdm(range(0, len(seeds), batch), desc="pictures", unit="batch"):
            samples.append([])
            velocities.append([])
            few = slice(start, start + batch)
            with torch.autocast("cpu", torch.bfloat16):
                images += pipeline(
                    captions[few], seed=seeds[few], num_inference_steps=steps, guidance_scale=guidance
                ).images
    finally:
        watching.remove()
    samples, velocities = (torch.cat([torch.stack(one, dim=1) for one in many]) for many in (samples, velocities))
    return Courses(captions, pipeline.scheduler.timesteps.clone(), samples, velocities, to_pixels(images))


def goals(courses: Courses, irises: Irises, judge: Judge) -> Goals:
    """What is wanted of the irises that the courses ended in."""
    masks = irises.find(courses.pixels).float()
    palette = torch.tensor(list(COLORS.values())).float() / 127.5 - 1
    nearest = torch.cdist(mean_colors(courses.pixels, masks)[1], palette).argmin(1)
    verdicts = judge.read([to_picture(picture) for picture in courses.pixels])
    bodies = torch.tensor([list(COLORS).index(verdict.body_color) for verdict in verdicts])
    return Goals(masks, palette[nearest], nearest != bodies)


def mean_colors(pixels: torch.Tensor, irises: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The colours (B, 4, 3) of each iris in pictures (B, 3, h, w), 0 where there is none, and their means (B, 3)."""
    area = irises.sum((2, 3))
    colors = torch.einsum("bchw,behw->bec", pixels, irises) / area.clamp(min=1)[..., None]
    return colors, colors.sum(1) / (area > 0).sum(1).clamp(min=1)[:, None]


def correction(expected: torch.Tensor, timesteps: torch.Tensor, goals: Goals) -> torch.Tensor:
    """What to add to expected clean pictures (B, 3, h, w) at timesteps (B,) so that their irises are right."""
    colors, common = mean_colors(expected, goals.irises)
    alike = (common[:, None] - colors) * (timesteps >= ALIKE)[:, None, None]
    way = goals.colors - common
    way = way * (1 - SHADE / way.norm(dim=1, keepdim=True).clamp(min=SHADE))
    led = goals.clear * ((CLEAR[0] - timesteps) / (CLEAR[0] - CLEAR[1])).clamp(0, 1)
    return torch.einsum("bec,behw->bchw", alike + (led[:, None] * way)[:, None], goals.irises)


def practise(pipeline: CritterPipeline, courses: Courses, goals: Goals, config: PracticeConfig) -> None:
    """Teach the pipeline's U-Net, in place, what it should have answered; it ends with its averaged weights."""
    unet = pipeline.unet.float().train().requires_grad_(False).to(memory_format=torch.channels_last)
    taught = [weight.requires_grad_(True) for name, weight in unet.named_parameters() if not name.startswith(KEPT)]
    average = [weight.detach().clone() for weight in taught]
    optimizer = torch.optim.AdamW(taught, lr=config.learning_rate, weight_decay=0.01)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        words = torch.stack(pipeline._words(courses.captions, guided=True).chunk(2), dim=1)  # (N, 2, L, C)
    several = 1 + 2 * ((goals.irises.sum((2, 3)) > 0).sum(1) > 1).float()  # these have more to learn,
    undecided = 1 + 2 * (courses.timesteps >= ALIKE).float()  # and there
    weights = 1 + config.eyes * F.max_pool2d(goals.irises.amax(1, keepdim=True), 5, 1, padding=2)
    weights = weights / weights.mean((1, 2, 3), keepdim=True)  # (N, 1, h, w)
    bar = tqdm(range(config.steps), desc="practice", unit="step", smoothing=0.02)
    for step in bar:
        which = torch.multinomial(several, config.batch, replacement=True, generator=generator)
        when = torch.multinomial(undecided, config.batch, replacement=True, generator=generator)
        half = (torch.rand(config.batch, generator=generator) < 2 / 3).long()
        noisy, velocity = courses.samples[which, when].float(), courses.velocities[which, when, half].float()
        timesteps = courses.timesteps[when]
        alphas = pipeline.scheduler.alphas_cumprod[timesteps][:, None, None, None]
        expected = alphas.sqrt() * noisy - (1 - alphas).sqrt() * velocity
        target = velocity - correction(expected, timesteps, goals[which]) / (1 - alphas).sqrt()
        with torch.autocast("cpu", torch.bfloat16):
            noisy = noisy.contiguous(memory_format=torch.channels_last)
            answer = unet(noisy, timesteps, words[which, half]).sample.float()
        loss = ((answer - target).square() * weights[which]).mean()
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warm_then_falling(step, config.steps, config.warmup)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(taught, config.clip)
        optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, [weight.detach() for weight in taught], 1 - decay)
        bar.set_postfix(loss=f"{loss.item():.4f}")
    with torch.no_grad():
        for weight, mean in zip(taught, average, strict=True):
            weight.copy_(mean)
    unet.eval().requires_grad_(False)


def begin(folder: Path) -> CritterPipeline:
    """The pipeline of a folder in single precision, silent."""
    pipeline = CritterPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def practice(config: PracticeConfig) -> Path:
    """All rounds, each from the folder of the one before; returns the last. A round that is done is not done again."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    folders = [out / f"round_{number}" for number in range(1, config.rounds + 1)]
    irises, judge = None, Judge.from_pretrained(JUDGE)
    for number, folder in enumerate(folders):
        if folder.exists():
            continue
        irises = irises or teach(seed=config.seed)
        pipeline = begin(folders[number - 1] if number else Path(config.start_from))
        first = FIRST + (config.seed * config.rounds + number) * config.pictures
        seeds = range(first, first + config.pictures)
        courses = draw_courses(pipeline, seeds, steps=config.sampled, guidance=config.guidance)
        practise(pipeline, courses, goals(courses, irises, judge), config)
        partial = folder.with_suffix(".partial")
        pipeline.save_pretrained(partial, safe_serialization=True)
        partial.rename(folder)
    return folders[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write what came of it there, in half precision")
    options(parser, PracticeConfig)
    arguments = vars(parser.parse_args())
    folder = arguments.pop("export")
    last = practice(PracticeConfig(**arguments))
    if folder:
        put(begin(last), folder)


if __name__ == "__main__":
    main()
