"""Train a small network around one paper's attention block: `python -m models.training.train_classic --kind sagan`.

The recipe is the bundled model's, down to the noise schedule, so that the networks differ in their attention only.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from models.attributes import ATTRIBUTES
from models.classic import AttentionClassifier, ClassicUNet, SelfAttention2d
from models.classic.classifier import QUESTIONS
from models.critters import draw_critter
from models.training.batches import to_pixels
from models.training.config import HELD_OUT, TrainConfig, add_options
from models.training.train import export, train
from models.training.trainer import Trainer
from models.words import CaptionEncoder

# The options of each kind's ClassicUNet: levels 0 to 3 are 64x64 to 8x8, and the middle always has attention.
KINDS: dict[str, dict] = {
    "ddpm": {"attention": "ddpm", "attention_levels": (2,)},
    "multihead": {"attention": "multihead", "attention_levels": (2, 3)},
    "cross": {"attention": "multihead", "attention_levels": (2, 3), "word_channels": 64},
    "sagan": {"attention": "sagan", "attention_levels": (1, 2)},
    "classifier": {},
}


@dataclass
class ClassicConfig(TrainConfig):
    out: str = ""  # by default runs/critters-<kind>
    kind: str = "ddpm"
    steps: int = 2000
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"expected a kind among {', '.join(KINDS)}, got {self.kind!r}")
        self.out = self.out or f"runs/critters-{self.kind}"


class UNetTrainer(Trainer):
    """The bundled model's training with another network."""

    def new_networks(self) -> nn.ModuleDict:
        unet = ClassicUNet(**KINDS[self.config.kind])
        return nn.ModuleDict({"unet": unet} | ({"encoder": CaptionEncoder()} if unet.config.word_channels else {}))

    def report(self, out: Path) -> None:
        super().report(out)
        gammas = learned_gammas(self.averaged()["unet"])
        if gammas:
            (out / f"gammas_{self.step:06d}.json").write_text(json.dumps(gammas, indent=2) + "\n")


def learned_gammas(network: nn.Module) -> dict[str, float]:
    """{layer: γ} of every SAGAN block: how much the network has learned to use its attention; 0 at first."""
    blocks = {name: module for name, module in network.named_modules() if isinstance(module, SelfAttention2d)}
    return {name: round(block.gamma.item(), 4) for name, block in blocks.items()}


class ClassifierTrainer(Trainer):
    """Trains the classifier on drawn critters' eye counts and crowns."""

    def new_networks(self) -> nn.ModuleDict:
        return nn.ModuleDict({"classifier": AttentionClassifier()})

    def load_weights(self, folder: str) -> None:
        network: Any = self.networks["classifier"]
        network.load_state_dict(type(network).from_pretrained(folder, dtype=torch.float32).state_dict())

    def loss(self, generator: torch.Generator) -> torch.Tensor:
        config = self.config
        pixels, answers = labelled_pictures(config.seed * 10_000_000 + self.step * config.batch, config.batch)
        with torch.autocast(torch.device(config.device).type, torch.bfloat16):
            logits = self.networks["classifier"](pixels.to(config.device))
        losses = [F.cross_entropy(logits[name], answer.to(config.device)) for name, answer in answers.items()]
        return torch.stack(losses).sum()

    def result(self) -> Any:
        return self.averaged()["classifier"]

    def report(self, out: Path) -> None:
        right = classifier_accuracy(self.result(), 1000)
        (out / f"accuracy_{self.step:06d}.json").write_text(json.dumps(right, indent=2) + "\n")


def labelled_pictures(first: int, count: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Pictures (count, 3, 64, 64) of the critters from seed `first` on, and the answers {question: (count,)}."""
    critters = [draw_critter(first + index) for index in range(count)]
    answers = {
        name: torch.tensor([ATTRIBUTES[name].index(getattr(critter.attributes, name)) for critter in critters])
        for name in QUESTIONS
    }
    return to_pixels([critter.image for critter in critters]), answers


@torch.no_grad()
def classifier_accuracy(classifier: AttentionClassifier, count: int, batch: int = 50) -> dict[str, float]:
    """{question: fraction right} on `count` held-out critters, rounded to 4 places."""
    right = dict.fromkeys(classifier.config.questions, 0)
    for first in range(0, count, batch):
        pixels, answers = labelled_pictures(HELD_OUT + first, min(batch, count - first))
        for name, logits in classifier(pixels).items():
            right[name] += (logits.argmax(1) == answers[name]).sum().item()
    return {name: round(marks / count, 4) for name, marks in right.items()}


def trainer_of(kind: str) -> type[Trainer]:
    """The class that trains networks of this kind."""
    return ClassifierTrainer if kind == "classifier" else UNetTrainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--export", type=Path, metavar="FOLDER", help="do not train; write the last checkpoint's weights there"
    )
    add_options(parser, ClassicConfig)
    arguments = vars(parser.parse_args())
    folder, config = arguments.pop("export"), ClassicConfig(**arguments)
    if folder:
        export(config, folder, trainer_of(config.kind))
    else:
        train(config, trainer_of(config.kind))


if __name__ == "__main__":
    main()
