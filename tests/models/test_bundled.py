"""The bundled model: what is shipped, what its card says of it, and that watching it changes nothing."""

import json

import pytest

from models import load
from models.assets import ASSETS
from models.opening.revision import revision
from viz import record

FOLDER = ASSETS / "critters"
EVALUATION = json.loads((FOLDER / "evaluation.json").read_text())


def test_bundled_weights_are_small_safetensors():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors"}
    assert max(path.stat().st_size for path in files) < 16 * 2**20


def test_evaluation_was_measured_on_the_bundled_weights():
    """If not, `make evaluate` measures again."""
    assert EVALUATION["revision"] == revision()


def test_evaluation_reaches_its_targets():
    assert EVALUATION["counts"]["captions"] >= 500 and EVALUATION["steps"] == 25
    assert min(EVALUATION["judge_accuracy"].values()) >= 0.995
    assert EVALUATION["attribute_accuracy"] >= 0.95
    assert EVALUATION["eyes_agree_unasked"] >= 0.97
    assert EVALUATION["twin_over_uniform"] >= 20 > EVALUATION["twin_control"]


@pytest.mark.parametrize("name", ["attribute_accuracy", "eyes_agree_unasked", "twin_over_uniform", "twin_control"])
def test_card_has_the_measured_figures(name):
    value = EVALUATION[name]
    figure = f"{value:.1%}".replace("%", " %") if value <= 1 and not name.startswith("twin") else f"{value:.1f}"
    assert f" {figure} |" in (FOLDER / "README.md").read_text(), f"{name}: {figure}"


def test_record_leaves_the_bundled_models_picture_bit_identical():
    pipeline = load("critters")

    def draw() -> bytes:
        return pipeline("a red monster", seed=3, num_inference_steps=2).images[0].tobytes()

    plain = draw()
    with record(pipeline.unet) as trace:
        assert draw() == plain
    assert len(trace.layers) == 20 and trace.skipped == {}
    assert max(trace.verify().values()) < 1e-5
