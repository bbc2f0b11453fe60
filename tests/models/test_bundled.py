"""The bundled model: what is shipped, what its card says of it, and that watching it changes nothing."""

import json

import pytest

from models import load
from models.assets import ASSETS
from viz import record

FOLDER = ASSETS / "critters"
EVALUATION = json.loads((FOLDER / "evaluation.json").read_text())


def test_weights_are_safetensors_and_small():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}
    assert max(path.stat().st_size for path in files) < 16 * 2**20


def test_what_was_reached():
    assert EVALUATION["counts"]["captions"] >= 500 and EVALUATION["steps"] == 25
    assert min(EVALUATION["judge_accuracy"].values()) >= 0.995
    assert EVALUATION["attribute_accuracy"] >= 0.95
    assert EVALUATION["eyes_agree_unasked"] >= 0.97
    assert EVALUATION["twin_over_uniform"] >= 20 > EVALUATION["twin_control"]


@pytest.mark.parametrize("name", ["attribute_accuracy", "eyes_agree_unasked", "twin_over_uniform", "twin_control"])
def test_the_card_says_what_was_measured(name):
    value = EVALUATION[name]
    said = f"{value:.1%}".replace("%", " %") if value <= 1 and not name.startswith("twin") else f"{value:.1f}"
    assert f" {said} |" in (FOLDER / "README.md").read_text(), f"{name}: {said}"


def test_the_picture_is_the_same_to_the_bit_with_and_without_recording():
    pipeline = load("critters")

    def draw() -> bytes:
        return pipeline("a red monster", seed=3, num_inference_steps=2).images[0].tobytes()

    plain = draw()
    with record(pipeline.unet) as trace:
        assert draw() == plain
    assert len(trace.layers) == 20 and trace.skipped == {}
    assert max(trace.verify().values()) < 1e-5
