"""The names of the parts of a batch: said by the user, or known of the pipeline that calls, otherwise numbers."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch
from diffusers import ClassifierFreeGuidance, StableDiffusionPipeline
from diffusers.modular_pipelines.modular_pipeline import BlockState
from diffusers.modular_pipelines.stable_diffusion_xl.denoise import StableDiffusionXLLoopDenoiser

from tests.support.batch_samples import CONTROLLED, PIPELINES
from tests.support.batch_samples_more import MORE_PIPELINES
from tests.support.batches import PIXELS, SIZE, Watched, build, prompts, run, stable, unet_xl, watching, words
from viz import record
from viz.recording.branches import PictureChoice, pick
from viz.recording.orders import ORDERS

CONDITIONAL, UNCONDITIONAL = "conditional", "unconditional"
GUIDED = (UNCONDITIONAL, CONDITIONAL)
SAMPLES = PIPELINES | MORE_PIPELINES


def check(call: Watched) -> None:
    """Every part has its name, and each row of the batch was given what its name says."""
    assert call.pictures, call.reason
    count = call.batch // len(call.pictures)
    assert sorted(call.pictures.values()) == list(range(0, call.batch, count))
    for branch, first in call.pictures.items():
        if branch != "degraded":  # with the words of one half or of both
            negative = branch in (UNCONDITIONAL, "image only")  # which has no words of its own
            assert set(call.kinds[first : first + count]) == {UNCONDITIONAL if negative else CONDITIONAL}, call


@pytest.mark.parametrize("name", SAMPLES)
def test_indices_name_the_parts_of_the_batch_of_a_pipeline(name):
    """Against what the network was given: ones for the prompt, minus ones for the negative prompt."""
    for guided in SAMPLES[name].runs:
        calls = run(name, SAMPLES[name], guided)
        for call in calls:
            check(call)
        names = {branch for call in calls for branch in call.pictures}
        assert CONDITIONAL in names and (UNCONDITIONAL in names) == guided
        assert ("perturbed" in names) == ("PAG" in name) and ("degraded" in names) == ("SAG" in name)


def test_indices_name_the_calls_of_a_guider():
    """Modular pipelines call the network once for each condition."""
    network = unet_xl()
    guider = ClassifierFreeGuidance(guidance_scale=3.0)
    components = SimpleNamespace(unet=network, guider=guider, scheduler=None)
    pooled = {"pooled_prompt_embeds": torch.ones(1, 16), "negative_pooled_prompt_embeds": -torch.ones(1, 16)}
    ids = {"add_time_ids": torch.zeros(1, 6), "negative_add_time_ids": torch.zeros(1, 6)}
    state = BlockState(
        scaled_latents=torch.zeros(1, 4, 8, 8),
        latents=torch.zeros(1, 4, 8, 8),
        num_inference_steps=2,
        timestep_cond=None,
        cross_attention_kwargs=None,
        prompt_embeds=words(1.0),
        negative_prompt_embeds=words(-1.0),
        ip_adapter_embeds=None,
        negative_ip_adapter_embeds=None,
        denoiser_input_fields={},
        **pooled,
        **ids,
    )
    with torch.no_grad(), watching(network) as calls:
        StableDiffusionXLLoopDenoiser()(components, state, i=0, t=torch.tensor(500))
    assert [call.pictures for call in calls] == [{CONDITIONAL: 0}, {UNCONDITIONAL: 0}]
    for call in calls:
        check(call)


class Inheriting(StableDiffusionPipeline):
    """Runs the code of its base."""


class Overriding(StableDiffusionPipeline):
    """Runs its own, of which nothing is known."""

    def __call__(self, **_):
        return self.unet(torch.zeros(2, 4, 8, 8), 500, words(1.0, count=2))


class Telling(Overriding):
    def branch_order(self, pictures):
        return (CONDITIONAL, f"one of {pictures}")


@pytest.mark.parametrize(
    ("kind", "branch", "expected"),
    [
        (Inheriting, "both", {UNCONDITIONAL: 0, CONDITIONAL: 1}),
        (Overriding, CONDITIONAL, {"picture 1 of 2": 0}),
        (Overriding, "both", {}),
        (Telling, "both", {CONDITIONAL: 0, "one of 2": 1}),
    ],
)
def test_indices_inherit_no_order_by_name(kind, branch, expected):
    pipeline = build(kind, stable()())
    choices = []

    def choose(network, args, kwargs):
        choices.append(PictureChoice(branch).indices(network, args, kwargs, 2)[0])

    with torch.no_grad(), pipeline.unet.register_forward_pre_hook(choose, with_kwargs=True):
        pipeline(**prompts(True, **SIZE))
    assert choices and all(choice == expected for choice in choices)


@pytest.mark.parametrize(("guess", "expected"), [(False, {UNCONDITIONAL: 0, CONDITIONAL: 1}), (True, {})])
def test_indices_name_the_batch_of_a_controlnet_only_if_it_is_that_of_the_denoiser(guess, expected):
    """In guess mode it is given the conditional half alone."""
    pipeline = build(diffusers.StableDiffusionControlNetPipeline, CONTROLLED())
    with torch.no_grad(), watching(pipeline.controlnet) as calls:
        pipeline(**prompts(True, image=PIXELS, guess_mode=guess))
    assert [call.pictures for call in calls] == [expected] * 2 and {call.batch for call in calls} == {2 - guess}


@pytest.mark.parametrize(("guidance", "branches"), [(1.0, (CONDITIONAL,)), (2.0, GUIDED)])
def test_record_names_the_halves_of_our_own_pipeline(shared_pipeline, guidance, branches):
    with record(shared_pipeline.unet, branch="both", steps=(0,)) as trace:
        shared_pipeline(["a red monster", "a green monster"], num_inference_steps=1, guidance_scale=guidance)
    assert trace.branches == branches


def test_record_guesses_nothing_from_equal_noise(shared_pipeline):
    """Two prompts that start from one seed look like a guided batch; without guidance, both are conditional."""
    with record(shared_pipeline.unet, picture=1, steps=(0,)) as trace:
        shared_pipeline(["a red monster", ""], seed=[1, 1], num_inference_steps=1, guidance_scale=1.0)
    assert trace.branches == (CONDITIONAL,)
    with torch.no_grad(), record(shared_pipeline.unet) as trace:
        sample = torch.randn(1, 3, 64, 64).repeat(2, 1, 1, 1)
        shared_pipeline.unet(sample, 500, shared_pipeline.encode_captions(["a red monster", "an eye"]))
    assert trace.branches == ("picture 1 of 2",)


def test_pick_puts_the_conditional_part_last():
    """It is the branch of a trace that is shown unless another is asked for."""
    assert list(pick((CONDITIONAL, UNCONDITIONAL, "perturbed"), 3, "both", 0)[0])[-1] == CONDITIONAL


def test_indices_keep_to_the_names_of_the_first_recorded_call():
    choice = PictureChoice(branch_order={2: GUIDED, 1: (CONDITIONAL,), 3: ("degraded", "a", "b")}.get)
    assert choice.indices(torch.nn.Identity(), (), {}, 2) == ({CONDITIONAL: 1}, None)
    assert choice.indices(torch.nn.Identity(), (), {}, 1) == ({CONDITIONAL: 0}, None)
    pictures, reason = choice.indices(torch.nn.Identity(), (), {}, 3)
    assert not pictures and "no conditional picture: its batch is degraded, a, b" in reason
    pictures, reason = choice.indices(torch.nn.Identity(), (), {}, 4)
    assert not pictures and reason == "this call has picture 1 of 4, where the first recorded one had conditional"


def test_indices_give_a_reason_where_the_users_function_raises():
    choice = PictureChoice(branch_order={2: GUIDED}.__getitem__)
    pictures, reason = choice.indices(torch.nn.Identity(), (), {}, 3)
    assert not pictures and "KeyError: 3" in reason


@pytest.mark.parametrize(
    ("order", "batch", "branch", "picture", "expected"),
    [
        (GUIDED, 4, CONDITIONAL, 1, {CONDITIONAL: 3}),
        (GUIDED, 4, "both", 1, {UNCONDITIONAL: 1, CONDITIONAL: 3}),
        (GUIDED, 3, CONDITIONAL, 2, {"picture 3 of 3": 2}),
        (GUIDED, 4, "picture 2 of 4", 0, {"picture 2 of 4": 1}),
        (None, 2, CONDITIONAL, 0, {"picture 1 of 2": 0}),
        (None, 2, UNCONDITIONAL, 0, "pass guided= or branch_order="),
        (None, 2, CONDITIONAL, 2, "no picture 2: the batch holds 2"),
        (GUIDED, 2, CONDITIONAL, 1, "no picture 1: the batch holds 1 for each of unconditional, conditional"),
        (GUIDED, 2, "perturbed", 0, "no perturbed picture"),
    ],
)
def test_pick_returns_pictures_or_a_reason(order, batch, branch, picture, expected):
    pictures, reason = pick(order, batch, branch, picture)
    if isinstance(expected, str):
        assert not pictures and expected in reason
    else:
        assert pictures == expected and reason is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"branch_order": ()},
        {"branch_order": ("a", "a")},
        {"branch_order": ("a/b",)},
        {"branch_order": ("both", "a")},
        {"branch_order": GUIDED, "guided": True},
        {"branch_order": GUIDED, "branch": "perturbed"},
        {"branch": ""},
        {"picture": -1},
    ],
)
def test_picture_choice_refuses_arguments_that_can_name_nothing(arguments):
    with pytest.raises(ValueError, match=r"order|branch|picture"):
        PictureChoice(**arguments)


def test_orders_are_of_functions_that_exist():
    folder = Path(diffusers.__file__).parent / "pipelines"
    classes = {name for path in folder.rglob("*.py") for name in re.findall(r"^class (\w+)\(", path.read_text(), re.M)}
    assert {name.removesuffix(".__call__") for name in ORDERS} <= classes and len(ORDERS) > 200
