"""A classifier of a critter's attributes; `python -m models.training.judge` trains it and prints its accuracy.

    judge = Judge.from_pretrained(JUDGE)
    judge.read([critter.image])    # [Verdict(shape="round", ..., left_eye_color="red", right_eye_color="red")]

It marks what the bundled model generates, so it learns from pictures that are a little noisy, blurred and off colour,
and it answers for each eye separately: half of the pairs of eyes in its training do not match, so that it sees
"both eyes are yellow" and does not just expect it. For the same reason it is trained on eyes of the body's own colour,
too, which only the model draws.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from PIL import Image
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from models.assets import ASSETS
from models.attributes import ATTRIBUTES, COLORS, Attributes, change, sample_attributes
from models.critters import Critter, draw_critter
from models.training.batches import to_pixels
from models.training.config import HELD_OUT
from models.training.trainer import warmup_cosine

JUDGE = ASSETS / "critters" / "judge"

# The judge's questions and their answers: the attributes, but with a colour for each eye.
QUESTIONS: dict[str, tuple[str, ...]] = {
    **{name: values for name, values in ATTRIBUTES.items() if name != "eye_color"},
    "left_eye_color": tuple(COLORS),
    "right_eye_color": tuple(COLORS),
}
_NO_ANSWER = -100  # F.cross_entropy ignores it: the colour of a crown that is not there


@dataclass(frozen=True)
class Verdict:
    """What the judge sees. A single eye is both left and right eye; without a crown `crown_color` is a guess."""

    shape: str
    body_color: str
    eye_count: str
    crown: str
    crown_color: str
    mouth: str
    background_color: str
    left_eye_color: str
    right_eye_color: str

    @property
    def eyes_agree(self) -> bool:
        """Whether left and right eye have the same colour."""
        return self.left_eye_color == self.right_eye_color


assert tuple(QUESTIONS) == tuple(field.name for field in fields(Verdict))


class Judge(ModelMixin, ConfigMixin):
    """A small convolutional network, one linear head per question; 0.5 M parameters.

    The last grid is flattened, not averaged: which of two eyes is the left one depends on where it is.
    """

    @register_to_config
    def __init__(self, channels: Sequence[int] = (32, 64, 96), squeezed: int = 24, width: int = 192) -> None:
        super().__init__()
        first, second, third = channels
        self.features = nn.Sequential(
            *conv_block(3, first, size=4, stride=2),  # 32x32
            *conv_block(first, second, size=4, stride=2),  # 16x16
            *conv_block(second, third, size=4, stride=2),  # 8x8
            *conv_block(third, third, size=3, stride=1),
            nn.Conv2d(third, squeezed, 1),
            nn.Flatten(),
            nn.Linear(squeezed * 8 * 8, width),
            nn.ReLU(),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in QUESTIONS.items()})

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, 3, 64, 64) in [-1, 1] to {question: (B, answers) logits}."""
        features = self.features(pixels.contiguous(memory_format=torch.channels_last))  # (B, width)
        return {name: head(features).float() for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, images: Sequence[Image.Image], batch: int = 256) -> list[Verdict]:
        """The verdict on each 64x64 picture. Puts the judge into evaluation mode."""
        self.eval()
        verdicts = []
        for start in range(0, len(images), batch):
            pixels = to_pixels(images[start : start + batch]).to(self.device, self.dtype)
            best = {name: logits.argmax(1).tolist() for name, logits in self(pixels).items()}  # (B,) each
            answers = [[QUESTIONS[name][index] for index in indices] for name, indices in best.items()]
            verdicts += [Verdict(*row) for row in zip(*answers, strict=True)]
        return verdicts


def conv_block(channels: int, out: int, size: int, stride: int) -> tuple[nn.Module, ...]:
    """A convolution with padding 1, batch normalisation and a ReLU."""
    return nn.Conv2d(channels, out, size, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()


def judge_example(seed: int) -> tuple[Critter, Verdict]:
    """A critter to learn from, and the right verdict on it; half of the time its several eyes do not match.

    No critter in the model's training has eyes of its body's colour, but the model draws some. Hence they occur here:
    a judge that had never seen them could only guess, perhaps a different colour for each of two eyes that do agree.
    """
    attributes = sample_attributes(random.Random(seed))  # those that draw_critter(seed) would choose
    rng = random.Random(f"eyes {seed}")
    if rng.random() < 0.15:
        attributes = change(attributes, eye_color=attributes.body_color)
    eyes: dict[str, str] = {}
    if attributes.eye_count != "one" and rng.random() < 0.5:
        left, right = rng.sample(tuple(COLORS), 2)
        eyes = {"left eye": left, "right eye": right, "middle eye": rng.choice((left, right))}
    return draw_critter(seed, attributes, eye_colors=eyes), truth(attributes, eyes)


def truth(attributes: Attributes, eyes: dict[str, str] | None = None) -> Verdict:
    """The right verdict on a critter drawn with `attributes` and with `eyes` as its `eye_colors`."""
    eyes = eyes or {}
    same = {name: getattr(attributes, name) for name in QUESTIONS if name in ATTRIBUTES}
    left, right = (eyes.get(f"{side} eye", attributes.eye_color) for side in ("left", "right"))
    return Verdict(**same, left_eye_color=left, right_eye_color=right)


def answer_indices(truths: Sequence[Verdict]) -> dict[str, torch.Tensor]:
    """{question: (B,) indices of the right answers}."""
    indices = {
        name: torch.tensor([values.index(getattr(truth, name)) for truth in truths])
        for name, values in QUESTIONS.items()
    }
    indices["crown_color"][indices["crown"] == QUESTIONS["crown"].index("none")] = _NO_ANSWER
    return indices


def degrade(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(B, 3, h, w) pictures made a little blurred, off colour and noisy, as generated ones are."""

    def strength(*shape: int) -> torch.Tensor:
        return torch.rand(len(pixels), *shape, 1, 1, generator=generator)

    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pixels = torch.lerp(pixels, blurred, 0.6 * strength(1))
    pixels = pixels * (0.94 + 0.12 * strength(1)) + 0.12 * (strength(3) - 0.5)
    noise = torch.randn(pixels.shape, generator=generator)
    return (pixels + 0.12 * strength(1) ** 2 * noise).clamp(-1, 1)


def judge_accuracy(judge: Judge, count: int, first: int = HELD_OUT) -> dict[str, float]:
    """{question: fraction right} on `count` drawn critters, half of whose pairs of eyes do not match.

    A crown's colour counts only where there is a crown. "eyes_agree", the question that matters most, is whether the
    eyes match; it counts only critters with two eyes.
    """
    examples = [judge_example(first + index) for index in range(count)]
    right: dict[str, list[bool]] = {name: [] for name in (*QUESTIONS, "eyes_agree")}
    verdicts = judge.read([critter.image for critter, _ in examples])
    for verdict, (_, true) in zip(verdicts, examples, strict=True):
        for name in QUESTIONS:
            if name != "crown_color" or true.crown != "none":
                right[name].append(getattr(verdict, name) == getattr(true, name))
        if true.eye_count == "two":
            right["eyes_agree"].append(verdict.eyes_agree == true.eyes_agree)
    return {name: sum(marks) / len(marks) for name, marks in right.items()}


def train_judge(steps: int = 4000, batch: int = 64, learning_rate: float = 4e-3, seed: int = 0) -> Judge:
    """A judge trained on `steps * batch` different critters. The same arguments give the same judge."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    judge = Judge().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=learning_rate, weight_decay=0.05)
    bar = tqdm(range(steps), unit="step", smoothing=0.02)
    for step in bar:
        examples = [judge_example(step * batch + index) for index in range(batch)]
        pixels = degrade(to_pixels([critter.image for critter, _ in examples]), generator)
        targets = answer_indices([true for _, true in examples])
        with torch.autocast("cpu", torch.bfloat16):
            logits = judge(pixels)
        loss = torch.stack([F.cross_entropy(logits[name], targets[name]) for name in QUESTIONS]).sum()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * warmup_cosine(step, steps, warmup=200)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.4f}")
    return judge.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the judge of critters and report its held-out accuracy.")
    parser.add_argument("--out", type=Path, default=JUDGE)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000, help="held-out critters to judge")
    arguments = parser.parse_args()
    judge = train_judge(arguments.steps, seed=arguments.seed)
    judge.half().save_pretrained(arguments.out, safe_serialization=True)
    for name, right in judge_accuracy(Judge.from_pretrained(arguments.out), arguments.count).items():
        print(f"{name:17s} {100 * right:6.2f} %")


if __name__ == "__main__":
    main()
