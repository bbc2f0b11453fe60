"""The bundled model: what is shipped, what its card says of it, and that watching it changes nothing."""

import json
import re

import pytest

from models import load
from models.assets import ASSETS
from models.opening.revision import revision
from models.training.word_table import overlap_table, pointing_table, tenths
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


def test_words_were_measured_on_enough_pictures():
    words = EVALUATION["words"]
    assert words["pictures"] >= 500 and words["choosing"] >= 100 and len(words["timesteps"]) == 4
    assert words["heads"] == 40 and words["quarter"] == 10


@pytest.mark.parametrize(("role", "least"), [("crown", 0.9), ("eye_color", 0.99), ("eyes", 0.75), ("mouth", 0.8)])
def test_maps_of_words_point_at_their_parts(role, least):
    """Far above the controls. The card says why eyes and mouths do not reach the 90 % that were the goal."""
    figures = EVALUATION["words"]["roles"][role]
    low = figures["best"]["interval"][0]
    assert figures["best"]["rate"] >= least
    controls = figures["chance"], figures["best"]["elsewhere"], figures["untrained"]["interval"][1]
    assert low > max(controls) + 0.2


def test_card_has_the_figures_of_words():
    card, words = (FOLDER / "README.md").read_text(), EVALUATION["words"]
    assert pointing_table(words) in card and overlap_table(words) in card
    text = re.sub(r"\s+", " ", card)
    eyes, crown, mouth = (words["roles"][role] for role in ("eyes", "crown", "mouth"))
    at = [each["rate"] for each in eyes["best_at"].values()]
    purple, blue = (value("eyes", "eye_color", color) for color in ("purple", "blue"))
    stated = [
        f"The crown reaches it ({crown['best']['rate']:.0%}); the eyes ({eyes['best']['rate']:.0%})",
        f"{series(at)} % at t",
        f"gets {series(eyes['best']['by_timestep'].values())} %",
        f"lie {tenths(eyes['best']['near']['rate'])} % of the maxima for the eyes",
        f"{tenths(mouth['best']['near']['rate'])} % for the mouth and {tenths(crown['best']['near']['rate'])} %",
        f"purple ones in {purple} % and blue ones in {blue} %",
        f"toothy ones in {value('mouth', 'mouth_kind', 'toothy')} %",
        f"white crowns in {value('crown', 'crown_color', 'white')} %",
    ]
    stated = [re.sub(r"(\d)%", r"\1 %", each) for each in stated]
    assert [each for each in stated if each not in text] == []


def series(rates) -> str:
    *first, last = map(tenths, rates)
    return f"{', '.join(first)} and {last}"


def value(noun: str, role: str, word: str) -> str:
    return tenths(EVALUATION["words"]["values"][noun][role][word]["rate"])
