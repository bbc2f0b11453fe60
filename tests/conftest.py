"""Real networks at tiny sizes, which every test builds for itself."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from models.pipeline import CritterPipeline

# torch and the rest are imported where they are needed: under `-n 2` a third process reads this file, to hand out the
# tests, and the workers start after it.


def pytest_configure(config: pytest.Config) -> None:
    """One store of traces for all processes of this run, so that a run of the bundled model is made once."""
    if not hasattr(config, "workerinput"):
        os.environ["PIXELGAZE_CACHE"] = tempfile.mkdtemp(prefix="pixelgaze-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop("PIXELGAZE_CACHE"), ignore_errors=True)


def pytest_collection() -> None:
    """Draw the same examples in every run, however slow the machine."""
    from hypothesis import settings

    settings.register_profile("fixed", derandomize=True, deadline=None, database=None, max_examples=100)
    settings.load_profile("fixed")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The networks here are so small that a second thread only waits for the first, and takes another worker's core."""
    import torch

    torch.set_num_threads(1)


def new_tiny_unet() -> UNet2DConditionModel:
    """A U-Net for 64x64 pictures with attention on the 32x32 and 16x16 grids, 2 heads, 30,000 parameters."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        in_channels=3,
        out_channels=3,
        norm_num_groups=4,
        cross_attention_dim=64,
        attention_head_dim=2,
    ).eval()


def new_tiny_pipeline(unet: UNet2DConditionModel) -> CritterPipeline:
    from models.pipeline import CritterPipeline
    from models.training.trainer import new_scheduler
    from models.words import CaptionEncoder

    pipeline = CritterPipeline(unet, CaptionEncoder().eval(), new_scheduler())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def tiny_unet() -> UNet2DConditionModel:
    return new_tiny_unet()


@pytest.fixture
def tiny_pipeline(tiny_unet: UNet2DConditionModel) -> CritterPipeline:
    return new_tiny_pipeline(tiny_unet)


@pytest.fixture(scope="session")
def shared_pipeline() -> CritterPipeline:
    """For tests that change nothing of it."""
    return new_tiny_pipeline(new_tiny_unet())
