import warnings

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from models import load
from models.pipeline import x0_estimate

CAPTION = "a round green monster with two yellow eyes"


def array(image) -> np.ndarray:
    return np.asarray(image).astype(int)


def picture(pipeline, *arguments, **options) -> np.ndarray:
    """(64, 64, 3) of the first picture, in three steps."""
    return array(pipeline(*arguments, num_inference_steps=3, **options).images[0])


def test_pipeline_saved_and_loaded_draws_the_same_picture(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path, safe_serialization=True)
    weights = sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".json")
    assert weights == ["diffusion_pytorch_model.safetensors"] * 2
    opened = load(tmp_path)
    assert type(opened) is type(tiny_pipeline)
    assert (picture(opened, CAPTION, seed=3) == picture(tiny_pipeline, CAPTION, seed=3)).all()
    assert (picture(opened, CAPTION, seed=4) != picture(tiny_pipeline, CAPTION, seed=3)).any()


def test_pipeline_picture_does_not_depend_on_its_batch(tiny_pipeline):
    captions = ["a red monster", CAPTION, "a monster with horns"]
    together = tiny_pipeline(captions, seed=10, num_inference_steps=3).images
    for index, text in enumerate(captions):
        assert np.abs(array(together[index]) - picture(tiny_pipeline, text, seed=10 + index)).max() <= 1


def test_pipeline_takes_a_seed_per_caption(tiny_pipeline):
    first, second = tiny_pipeline([CAPTION, CAPTION], seed=[5, 2], num_inference_steps=3).images
    assert np.abs(array(first) - picture(tiny_pipeline, CAPTION, seed=5)).max() <= 1
    assert np.abs(array(second) - picture(tiny_pipeline, CAPTION, seed=2)).max() <= 1


def test_pipeline_warns_of_unknown_words_at_the_callers_line(tiny_pipeline):
    with pytest.warns(UserWarning, match="word 'grean', so it was ignored; close ones are 'green'") as caught:
        warned = picture(tiny_pipeline, "a grean monster", seed=1)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (warned == picture(tiny_pipeline, "a monster", seed=1)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 12, "width": 16}, "multiples of 8; 12×16 isn't"),
        ({"width": -8}, "multiples of 8; 64×-8 isn't"),
        ({"seed": [1, 2]}, "got 2 seeds for 1 captions"),
    ],
)
def test_pipeline_refuses_bad_arguments(tiny_pipeline, options, message):
    with pytest.raises(ValueError, match=message):
        tiny_pipeline(CAPTION, **options)


def test_pipeline_draws_other_sizes(tiny_pipeline):
    assert picture(tiny_pipeline, CAPTION, height=24, width=40).shape == (24, 40, 3)


def test_pipeline_doubles_the_batch_only_with_guidance(tiny_pipeline):
    batches = []
    hook = tiny_pipeline.unet.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    plain = picture(tiny_pipeline, CAPTION, guidance_scale=1)
    guided = picture(tiny_pipeline, CAPTION, guidance_scale=4)
    hook.remove()
    assert batches == [1, 1, 1, 2, 2, 2]
    assert (plain != guided).any()


def test_pipeline_guides_from_the_unconditional_to_the_conditional_answer(tiny_pipeline):
    words = []
    hook = tiny_pipeline.unet.register_forward_pre_hook(lambda _, inputs: words.append(inputs[2]))
    picture(tiny_pipeline, CAPTION)
    hook.remove()
    encode = tiny_pipeline.encoder
    with torch.no_grad():
        assert torch.allclose(words[0], encode(encode.ids(["", CAPTION])))
    # Of an empty caption both halves are the same, so guidance has nowhere to go.
    plain, guided = (picture(tiny_pipeline, "", guidance_scale=scale) for scale in (1, 4))
    assert np.abs(plain - guided).max() <= 1


def test_pipeline_calls_back_at_every_step(tiny_pipeline):
    seen = []
    tiny_pipeline(
        CAPTION,
        num_inference_steps=3,
        callback_on_step_end=lambda _, step, timestep, kept: seen.append((step, int(timestep), kept["latents"].shape)),
    )
    assert seen == [(0, 999, (1, 3, 64, 64)), (1, 666, (1, 3, 64, 64)), (2, 332, (1, 3, 64, 64))]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("timestep", [0, 333, torch.tensor([700, 20])], ids=str)
def test_x0_estimate_of_a_perfect_network_is_the_picture(kind, timestep):
    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=kind)
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 2, 3, 8, 8, generator=generator)
    at = torch.as_tensor(timestep).expand(2)
    answer = {"epsilon": noise, "v_prediction": scheduler.get_velocity(x0, noise, at), "sample": x0}[kind]
    estimate = x0_estimate(scheduler, scheduler.add_noise(x0, noise, at), timestep, answer)
    torch.testing.assert_close(estimate, x0, rtol=1e-5, atol=1e-5)


def test_x0_estimate_refuses_other_predictions():
    scheduler = DDIMScheduler()
    scheduler.register_to_config(prediction_type="flow_prediction")
    with pytest.raises(ValueError, match="got 'flow_prediction'"):
        x0_estimate(scheduler, torch.zeros(1, 3, 8, 8), 10, torch.zeros(1, 3, 8, 8))


def test_pipeline_guides_and_samples_in_full_precision_under_autocast(tiny_pipeline, monkeypatch):
    kinds, step = [], tiny_pipeline.scheduler.step
    monkeypatch.setattr(
        tiny_pipeline.scheduler, "step", lambda output, *rest: kinds.append(output.dtype) or step(output, *rest)
    )
    with torch.autocast("cpu", torch.bfloat16):
        coarse = picture(tiny_pipeline, CAPTION)
    assert kinds == [torch.float32] * 3
    assert np.abs(coarse - picture(tiny_pipeline, CAPTION)).mean() < 2
