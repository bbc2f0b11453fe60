"""Train the bundled model: `python -m models.training.train`.

Everything random in step n follows from (seed, n) alone, so a run that was killed and resumed from its checkpoint
ends with exactly the weights of an uninterrupted run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm import tqdm

from models.opening.revision import BUNDLED, supersede
from models.training.config import TrainConfig, add_options
from models.training.trainer import Trainer


def train(config: TrainConfig, trainer_class: type[Trainer] = Trainer) -> Path:
    """Train, resuming from the checkpoint in `config.out` if there is one; returns the path of the last checkpoint."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    trainer, checkpoint = trainer_class(config), out / "checkpoint.safetensors"
    if checkpoint.exists():
        trainer.resume(checkpoint)
    _drop_losses(out / "losses.jsonl", after=trainer.step)
    bar = tqdm(initial=trainer.step, total=config.steps, unit="step", smoothing=0.02)
    with bar, open(out / "losses.jsonl", "a") as log:
        while trainer.step < config.steps:
            loss = trainer.train_step()
            log.write(json.dumps({"step": trainer.step, "loss": round(loss, 5)}) + "\n")
            bar.set_postfix(loss=f"{loss:.4f}")
            bar.update()
            if trainer.step % config.checkpoint_every == 0 or trainer.step == config.steps:
                trainer.save(checkpoint)
                log.flush()
            if trainer.step % config.samples_every == 0 or trainer.step == config.steps:
                trainer.report(out)
    return checkpoint


def _drop_losses(log: Path, after: int) -> None:
    """Drop the lines of steps after the checkpoint: they will be repeated."""
    if log.exists():
        lines = [
            line for line in log.read_text().splitlines() if line.endswith("}") and json.loads(line)["step"] <= after
        ]
        log.write_text("".join(f"{line}\n" for line in lines))


def export(config: TrainConfig, folder: Path, trainer_class: type[Trainer] = Trainer) -> None:
    """Write the averaged weights of the last checkpoint to a folder that `models.load` opens."""
    trainer = trainer_class(config)
    trainer.resume(Path(config.out) / "checkpoint.safetensors")
    save_model(trainer.result(), folder)


def save_model(model: Any, folder: Path) -> None:
    """Write a pipeline, or a network, in half precision to a folder that `models.load` opens.

    When the folder is the bundled model's, the weights that it had are kept (`models.opening.revision.supersede`).
    """
    model = model.to(torch.float16)
    if folder.resolve() not in (bundled.resolve() for bundled in BUNDLED.values()):
        model.save_pretrained(folder, safe_serialization=True)
        return
    with TemporaryDirectory() as temporary:
        model.save_pretrained(temporary, safe_serialization=True)
        supersede(folder, Path(temporary))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--export", type=Path, metavar="FOLDER", help="do not train; write the last checkpoint's weights there"
    )
    add_options(parser, TrainConfig)
    arguments = vars(parser.parse_args())
    folder, config = arguments.pop("export"), TrainConfig(**arguments)
    if folder:
        export(config, folder)
    else:
        train(config)


if __name__ == "__main__":
    main()
