"""The networks in training: their loss, one step, their checkpoints and the resulting pipeline."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from models.critters import SIZE, draw_critter
from models.pipeline import CritterPipeline
from models.training.batches import draw_timesteps, training_batch
from models.training.config import CHANGEABLE, DECIDING, HELD_OUT, TrainConfig
from models.words import CaptionEncoder


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


class Trainer:
    """The networks, their averages and the optimiser: everything that a checkpoint holds."""

    config: Any  # a TrainConfig, or in a derived class one with more fields

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config, self.step = config, 0
        self.networks = self.new_networks()
        if config.start_from:
            self.load_weights(config.start_from)
        self.networks.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.scheduler = new_scheduler()
        self.alphas = self.scheduler.alphas_cumprod.to(config.device)
        self.parameters = dict(self.networks.named_parameters())
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(self.networks.parameters(), lr=config.learning_rate, weight_decay=0.01)

    def new_networks(self) -> nn.ModuleDict:
        """The untrained networks, by the names that the pipeline gives them."""
        return nn.ModuleDict({"unet": new_unet(), "encoder": CaptionEncoder()})

    def load_weights(self, folder: str) -> None:
        """Start from the weights of the pipeline in `folder`."""
        pipeline = CritterPipeline.from_pretrained(folder, dtype=torch.float32)
        for name, network in self.networks.items():
            network.load_state_dict(getattr(pipeline, name).state_dict())

    def loss(self, generator: torch.Generator) -> torch.Tensor:
        """The loss of this step's batch; everything random in it comes from `generator` and the step's number."""
        config, device = self.config, self.config.device
        batch = training_batch(self.step, config)
        timesteps = draw_timesteps(config, len(self.alphas), generator).to(device)
        noise = torch.randn(batch.pixels.shape, generator=generator).to(device)
        pixels, shown = batch.pixels.to(device), batch.shown.to(device)
        alphas = self.alphas[timesteps][:, None, None, None]
        # Wrong colours in the picture shown count as noise, which the network should see through; but not when
        # the picture is almost clean and nothing is left to decide.
        undecided = (timesteps >= int(DECIDING[0] * len(self.alphas)))[:, None, None, None]
        noise = noise + undecided * (alphas / (1 - alphas)).sqrt() * (shown - pixels)
        noisy = self.scheduler.add_noise(pixels, noise, timesteps)
        target = self.scheduler.get_velocity(pixels, noise, timesteps)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            velocity = self.networks["unet"](
                noisy.contiguous(memory_format=torch.channels_last), timesteps, self.encode_captions(batch.captions)
            )
        snr = self.alphas[timesteps] / (1 - self.alphas[timesteps])
        weight = (snr.clamp(max=config.min_snr) / (snr + 1)).clamp(min=config.min_weight)
        error = F.mse_loss(velocity.sample.float(), target, reduction="none") * batch.weights.to(device)
        return (weight * error.mean(dim=(1, 2, 3))).mean()

    def encode_captions(self, captions: list[str]) -> torch.Tensor | None:
        """(B, L, C) conditioning, or None for a network without text."""
        if "encoder" not in self.networks:
            return None
        encoder: Any = self.networks["encoder"]
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

    def result(self) -> Any:
        """The product of the training: a pipeline of the averaged weights, on the CPU in fp32."""
        networks: dict[str, Any] = self.averaged()
        pipeline = CritterPipeline(networks["unet"], networks.get("encoder"), new_scheduler())
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def report(self, out: Path) -> None:
        """Write a sheet of pictures to `out` that shows the progress of the training."""
        sample_sheet(self.result()).save(out / f"samples_{self.step:06d}.png")

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill while writing leaves the previous one whole."""
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
        """Continue from a checkpoint.

        Raises:
            ValueError: when it was trained with other settings, which resuming would silently mix with these.
        """
        with safe_open(path, "pt", device=self.config.device) as file:
            before, now = json.loads(file.metadata()["config"]), asdict(self.config)
            changed = [name for name in now if name not in CHANGEABLE and before.get(name) != now[name]]
            if changed:
                settings = ", ".join(f"{name} {before.get(name)} (now {now[name]})" for name in changed)
                raise ValueError(f"{path} was trained with {settings}; use the same settings or another --out")
            self.step = int(file.metadata()["step"])
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(file.get_tensor(f"network/{name}"))
                    self.average[name].copy_(file.get_tensor(f"average/{name}"))
                    keys = ("step", "exp_avg", "exp_avg_sq")
                    state = {key: file.get_tensor(f"optimizer/{key}/{name}") for key in keys}
                    state["step"] = state["step"].cpu()
                    self.optimizer.state[parameter] = state


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """A learning rate's factor: a cosine to zero over all steps, times a linear warm-up."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


def sample_sheet(pipeline: CritterPipeline, rows: int = 3, columns: int = 6) -> Image.Image:
    """Pictures of held-out captions, the same captions at every call, so that sheets can be compared."""
    captions = [draw_critter(HELD_OUT + index).caption() for index in range(rows * columns)]
    pictures = pipeline(captions, seed=0).images
    sheet = Image.new("RGB", (columns * SIZE, rows * SIZE))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * SIZE, index // columns * SIZE))
    return sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST)
