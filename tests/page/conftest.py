"""A folder of tiny models, as `--models` names one."""

from pathlib import Path

import pytest

from tests.support.pipelines import PIPELINES
from viz.page import limits, runs


@pytest.fixture(scope="package")
def saved_models(tmp_path_factory) -> Path:
    """Tiny pipelines in a folder, written once; not to be changed."""
    root = tmp_path_factory.mktemp("saved")
    for name in ("DDPM", "Stable Diffusion", "image to image", "inpainting"):
        PIPELINES[name](root / "words").save_pretrained(root / "models" / name.replace(" ", "-"))
    return root / "models"


@pytest.fixture
def models(saved_models, monkeypatch) -> Path:
    """The same folder, set as this server's models folder until the test ends."""
    monkeypatch.setattr(limits, "_limits", limits.Limits(None, saved_models))
    return saved_models


@pytest.fixture(autouse=True)
def no_runs():
    """No test finds runs that another one announced, or left behind."""
    runs._stop_events.clear()
    runs._announced.clear()
