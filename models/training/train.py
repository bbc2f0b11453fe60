"""Train the bundled model: `python -m models.training.train`.

Everything random in step n follows from (seed, n) alone, so a run that was killed and resumed from its
checkpoint ends in the very weights of one that was not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from models.attributes import ATTRIBUTES, COLORS
from models.critters import SIZE, Critter, draw
from models.opening.revision import BUNDLED, supersede
from models.pipeline import CritterPipeline
from models.words import CaptionEncoder

# Seeds from here on are never trained on: they belong to models.training.evaluate and to the gallery.
HELD_OUT = 1_000_000_000


@dataclass
class TrainConfig:
    out: str = "runs/critters"
    steps: int = 6000
    batch: int = 16  # on two cores 16 and 24 cost the same per picture, and 16 makes more steps of it
    learning_rate: float = 1e-3
    warmup: int = 200
    ema: float = 0.999
    min_snr: float = 5.0  # Hang et al. 2023, arXiv 2303.09556
    min_weight: float = 0.3  # under high noise min-SNR weighs next to nothing, and there the parts are decided
    deciding: float = 0.4  # the part of a batch noised to the timesteps at which the colours of parts are decided
    misled: float = 0.25  # the part of the critters with several eyes one of whose eyes is shown in a wrong colour
    face: float = 3.0  # how much more the upper body's pixels count: eyes are a thirtieth of the picture
    clip: float = 1.0
    seed: int = 0
    checkpoint_every: int = 250
    samples_every: int = 1000
    device: str = "cpu"
    start_from: str = ""  # a pipeline's folder whose weights to begin with; none: begin at random


# Where, of all timesteps, a U-Net in training makes up its mind about the colour of eyes: at 880 a quarter of its
# estimates were right, at 700 nine in ten.
DECIDING = (0.55, 0.95)

# What a resumed run may change: where it runs and what it leaves behind, but nothing that its weights depend on.
ELSEWHERE = ("out", "checkpoint_every", "samples_every", "device")


def new_unet() -> UNet2DConditionModel:
    """The untrained U-Net: attention (self and cross) on the 32x32, 16x16 and 8x8 grids, 4 heads, 3.1 M parameters."""
    return UNet2DConditionModel(
        sample_size=SIZE,
        block_out_channels=(32, 48, 64, 96),
        layers_per_block=1,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
        up_block_types=(*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
        in_channels=3,
        out_channels=3,
        norm_num_groups=16,
        cross_attention_dim=64,
        attention_head_dim=4,  # the number of heads: diffusers' argument is misnamed
    )


def new_scheduler() -> DDIMScheduler:
    """The cosine schedule with v-prediction; "trailing" spacing so that sampling starts at pure noise."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=True,
    )


def said(rng: random.Random) -> list[str]:
    """Which attributes a training caption says: a tenth nothing, a fifth all; most leave parts open.

    Only where the eyes are left open does their agreement have to be learnt.
    """
    draw = rng.random()
    if draw < 0.1:
        return []
    if draw < 0.3:
        return list(ATTRIBUTES)
    if draw < 0.65:
        part = rng.choice(("eye", "eye", "eye", "crown", "mouth"))
        return [name for name in ATTRIBUTES if not name.startswith(part)]
    return [name for name in ATTRIBUTES if rng.random() < 0.5]


@dataclass(frozen=True)
class Batch:
    """What one step is trained on."""

    pixels: torch.Tensor  # (B, 3, 64, 64) in [-1, 1]: what the network should find
    shown: torch.Tensor  # the same, but for the colour of an eye in some: what noise is added to
    weights: torch.Tensor  # (B, 1, 64, 64), of mean 1: how much each pixel counts
    captions: list[str]


def training_batch(step: int, config: TrainConfig) -> Batch:
    """The pictures and captions of one step."""
    rng = random.Random(f"{config.seed} {step}")
    first = config.seed * 10_000_000 + step * config.batch  # a run with another seed sees other critters
    critters = [draw(seed=first + index) for index in range(config.batch)]
    names = [said(rng) for _ in critters]
    captions = [critter.caption(name) if name else "" for critter, name in zip(critters, names, strict=True)]
    weights = torch.stack([pixel_weights(critter, config.face) for critter in critters])
    pixels = to_pixels([critter.image for critter in critters])
    shown = pixels.clone()
    for index, critter in enumerate(critters):
        if rng.random() < config.misled and critter.attributes.eye_count != "one":
            # At most half of the way: were both colours as likely, what is right would be a blend of the two.
            shown[index].lerp_(misleading(first + index, critter, rng), rng.random() / 2)
    return Batch(pixels, shown, weights, captions)


def misleading(seed: int, critter: Critter, rng: random.Random) -> torch.Tensor:
    """(3, 64, 64): the critter of `seed` with one of its several eyes in another colour.

    Where noise has eaten the picture, what is left of one eye often speaks against the other. While sampling, a
    network that believes each for itself makes the difference larger at every step, until the eyes have two colours.
    In training that never happens, as the evidence grows with the truth; so it is made to happen.
    """
    eye = rng.choice([name for name in critter.part_names if name.endswith("eye")])
    colors = [name for name in COLORS if name not in (critter.attributes.eye_color, critter.attributes.body_color)]
    return to_pixels([draw(seed, eye_colors={eye: rng.choice(colors)}).image])[0]


def pixel_weights(critter: Critter, face: float) -> torch.Tensor:
    """(1, 64, 64), of mean 1: `face` times as much where this body may have eyes as elsewhere.

    A box that follows from the body alone: weights that followed the eyes would teach to see eyes everywhere.
    """
    rows, columns = (np.flatnonzero(critter.masks["body"].any(axis)) for axis in (1, 0))
    weights = torch.ones(1, SIZE, SIZE)
    bottom = rows[0] + (rows[-1] - rows[0]) * 2 // 3
    weights[:, rows[0] : bottom + 1, columns[0] : columns[-1] + 1] = face
    return weights / weights.mean()


def draw_timesteps(config: TrainConfig, total: int, generator: torch.Generator) -> torch.Tensor:
    """The timesteps (B,) of one step: everywhere, but `config.deciding` of them only where it counts."""
    anywhere = torch.randint(0, total, (config.batch,), generator=generator)
    deciding = torch.randint(int(DECIDING[0] * total), int(DECIDING[1] * total), (config.batch,), generator=generator)
    return torch.where(torch.rand(config.batch, generator=generator) < config.deciding, deciding, anywhere)


def to_pixels(images: list) -> torch.Tensor:
    """Pictures as a (B, 3, h, w) tensor in [-1, 1]."""
    array = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(array).permute(0, 3, 1, 2).float() / 127.5 - 1


class Trainer:
    """The networks, their averages and the optimiser: all that a checkpoint holds."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config, self.step = config, 0
        self.networks = self.new_networks()
        if config.start_from:
            self.begin_with(config.start_from)
        self.networks.to(config.device, memory_format=torch.channels_last)
        self.scheduler = new_scheduler()
        self.alphas = self.scheduler.alphas_cumprod.to(config.device)
        self.parameters = dict(self.networks.named_parameters())
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(self.networks.parameters(), lr=config.learning_rate, weight_decay=0.01)

    def new_networks(self) -> nn.ModuleDict:
        """The untrained networks, by the names that the pipeline gives them."""
        return nn.ModuleDict({"unet": new_unet(), "encoder": CaptionEncoder()})

    def begin_with(self, folder: str) -> None:
        begin = CritterPipeline.from_pretrained(folder, dtype=torch.float32)
        for name, network in self.networks.items():
            network.load_state_dict(getattr(begin, name).state_dict())

    def loss(self, generator: torch.Generator) -> torch.Tensor:
        """The loss of this step's batch; all that is random in it comes from `generator` and the step's number."""
        config, device = self.config, self.config.device
        batch = training_batch(self.step, config)
        timesteps = draw_timesteps(config, len(self.alphas), generator).to(device)
        noise = torch.randn(batch.pixels.shape, generator=generator).to(device)
        pixels, shown = batch.pixels.to(device), batch.shown.to(device)
        alphas = self.alphas[timesteps][:, None, None, None]
        # What the picture shown has wrong is one more noise, for the network to see through; not where the picture
        # is all but clean, and there is nothing left to decide.
        undecided = (timesteps >= int(DECIDING[0] * len(self.alphas)))[:, None, None, None]
        noise = noise + undecided * (alphas / (1 - alphas)).sqrt() * (shown - pixels)
        noisy = self.scheduler.add_noise(pixels, noise, timesteps)
        target = self.scheduler.get_velocity(pixels, noise, timesteps)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            velocity = self.networks["unet"](
                noisy.contiguous(memory_format=torch.channels_last), timesteps, self.words(batch.captions)
            )
        snr = self.alphas[timesteps] / (1 - self.alphas[timesteps])
        weight = (snr.clamp(max=config.min_snr) / (snr + 1)).clamp(min=config.min_weight)
        error = F.mse_loss(velocity.sample.float(), target, reduction="none") * batch.weights.to(device)
        return (weight * error.mean(dim=(1, 2, 3))).mean()

    def words(self, captions: list[str]) -> torch.Tensor | None:
        """(B, L, C) conditioning, or None for a network without text."""
        if "encoder" not in self.networks:
            return None
        encoder = self.networks["encoder"]
        return encoder(encoder.ids(captions).to(self.config.device))

    def train_step(self) -> float:
        """One optimiser step; returns the loss."""
        config = self.config
        loss = self.loss(torch.Generator().manual_seed(config.seed * 1_000_003 + self.step))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.networks.parameters(), config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * self.learning_rate_factor()
        self.optimizer.step()
        self.step += 1
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        average = list(self.average.values())
        torch._foreach_lerp_(average, [p.detach() for p in self.parameters.values()], 1 - decay)
        return loss.item()

    def learning_rate_factor(self) -> float:
        """Linear warm-up, then a cosine to zero."""
        config = self.config
        if self.step < config.warmup:
            return (self.step + 1) / config.warmup
        progress = (self.step - config.warmup) / max(1, config.steps - config.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def averaged(self) -> dict[str, nn.Module]:
        """New networks with the averaged weights, on the CPU in fp32."""
        networks = self.new_networks().eval()
        networks.load_state_dict(self.average)
        return dict(networks.items())

    def result(self) -> CritterPipeline:
        """What the training is for: a pipeline of the averaged weights, on the CPU in fp32."""
        networks = self.averaged()
        pipeline = CritterPipeline(networks["unet"], networks.get("encoder"), new_scheduler())
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def report(self, out: Path) -> None:
        """Leave in `out` what shows how far the training is."""
        sample_sheet(self.result()).save(out / f"samples_{self.step:06d}.png")

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill in the middle leaves the last one whole."""
        tensors = {f"average/{name}": value for name, value in self.average.items()}
        for name, parameter in self.parameters.items():
            tensors[f"network/{name}"] = parameter.detach()
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer/{key}/{name}"] = value
        partial = path.with_suffix(".partial")
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        save_file(tensors, partial, {"step": str(self.step), "config": json.dumps(asdict(self.config))})
        os.replace(partial, path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: when it was trained on another schedule, which resuming would silently mix with this one.
        """
        with safe_open(path, "pt", device=self.config.device) as file:
            before, now = json.loads(file.metadata()["config"]), asdict(self.config)
            differ = [name for name in now if name not in ELSEWHERE and before.get(name) != now[name]]
            if differ:
                said = ", ".join(f"{name} {before.get(name)} (now {now[name]})" for name in differ)
                raise ValueError(f"{path} was trained with {said}; give the same, or another --out")
            self.step = int(file.metadata()["step"])
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(file.get_tensor(f"network/{name}"))
                    self.average[name].copy_(file.get_tensor(f"average/{name}"))
                    keys = ("step", "exp_avg", "exp_avg_sq")
                    state = {key: file.get_tensor(f"optimizer/{key}/{name}") for key in keys}
                    state["step"] = state["step"].cpu()
                    self.optimizer.state[parameter] = state


def warm_then_falling(step: int, steps: int, warmup: int) -> float:
    """What to multiply a learning rate by: a cosine to zero, over the whole, with a linear warm-up on top."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


def sample_sheet(pipeline: CritterPipeline, rows: int = 3, columns: int = 6) -> Image.Image:
    """Held-out captions, drawn: the same ones at every call, so that sheets can be compared."""
    captions = [draw(HELD_OUT + index).caption() for index in range(rows * columns)]
    pictures = pipeline(captions, seed=0).images
    sheet = Image.new("RGB", (columns * SIZE, rows * SIZE))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * SIZE, index // columns * SIZE))
    return sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST)


def train(config: TrainConfig, kind: type[Trainer] = Trainer) -> Path:
    """Train, resuming from `config.out` where it holds a checkpoint; returns the path of the last checkpoint."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    trainer, checkpoint = kind(config), out / "checkpoint.safetensors"
    if checkpoint.exists():
        trainer.resume(checkpoint)
    _forget_losses(out / "losses.jsonl", after=trainer.step)
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


def _forget_losses(log: Path, after: int) -> None:
    """Drop the lines of steps that a kill undid, and that will be done again."""
    if log.exists():
        lines = [
            line for line in log.read_text().splitlines() if line.endswith("}") and json.loads(line)["step"] <= after
        ]
        log.write_text("".join(f"{line}\n" for line in lines))


def export(config: TrainConfig, folder: Path, kind: type[Trainer] = Trainer) -> None:
    """Write the averaged weights of the last checkpoint as a folder for `models.load`."""
    trainer = kind(config)
    trainer.resume(Path(config.out) / "checkpoint.safetensors")
    put(trainer.result(), folder)


def put(pipeline: CritterPipeline, folder: Path) -> None:
    """Write a pipeline as a folder for `models.load`, in half precision.

    Where the folder is the bundled model's, it keeps what it takes to go back to the weights it had.
    """
    pipeline = pipeline.to(torch.float16)
    if folder.resolve() not in (bundled.resolve() for bundled in BUNDLED.values()):
        pipeline.save_pretrained(folder, safe_serialization=True)
        return
    with TemporaryDirectory() as written:
        pipeline.save_pretrained(written, safe_serialization=True)
        supersede(folder, Path(written))


def options(parser: argparse.ArgumentParser, config: type[TrainConfig]) -> None:
    """An option for each field of the configuration."""
    for field in fields(config):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="train nothing; write the last checkpoint there")
    options(parser, TrainConfig)
    arguments = vars(parser.parse_args())
    folder, config = arguments.pop("export"), TrainConfig(**arguments)
    if folder:
        export(config, folder)
    else:
        train(config)


if __name__ == "__main__":
    main()
