"""DAAM's heat maps, against the formula of the paper, on a pipeline that computes its attention step by step.

D[x, y] = Σ over steps, layers (down and up) and heads of F̃[x, y], where F̃ is the column of a word, upscaled bicubically
(Tang et al. 2022, arXiv 2210.04885). The columns are taken here from the processors of diffusers, and the interpolation
is written out; neither shares code with the package.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor

from tests.support.pipelines import SD_SCHEDULE, stable_diffusion
from viz import Caption, Trace, daam, record
from viz.words import Entry

PROMPT, STEPS = "a red monster", 4
TOKENS = {"a": (1,), "red": (2, 3, 4), "monster": tuple(range(5, 12))}  # the tokenizer knows letters only


class Watching(AttnProcessor):
    """diffusers' plain attention, which keeps its weights."""

    def __init__(self, kept: list[np.ndarray]) -> None:
        super().__init__()
        self.kept = kept

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **rest):
        scores, plain = attn.get_attention_scores, self.kept

        def watched(*arguments):
            weights = scores(*arguments)
            plain.append(weights.double().numpy())  # (pictures·heads, pixels, tokens)
            return weights

        attn.get_attention_scores = watched
        try:
            return super().__call__(attn, hidden_states, encoder_hidden_states, **rest)
        finally:
            del attn.get_attention_scores


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> tuple[Trace, dict[str, list[np.ndarray]]]:
    """A trace, and {layer: its weights at each step} of the same run as diffusers computed them."""
    pipeline = stable_diffusion(tmp_path_factory.mktemp("pipeline"))
    pipeline.scheduler = DDIMScheduler(clip_sample=False, **SD_SCHEDULE)
    generator = torch.Generator().manual_seed(2)
    for module in pipeline.unet.modules():  # large weights, so that attention is far from uniform
        for part in ("to_q", "to_k"):
            if hasattr(module, part):
                weight = getattr(module, part).weight
                weight.data = torch.randn(weight.shape, generator=generator) * 1.5
    kept: dict[str, list[np.ndarray]] = {}
    for name, module in pipeline.unet.named_modules():
        if name.endswith("attn2"):
            module.set_processor(Watching(kept.setdefault(name, [])))
    pipeline.set_progress_bar_config(disable=True)
    with record(pipeline.unet, branch="both") as trace:
        noise = torch.Generator().manual_seed(1)
        pipeline(PROMPT, num_inference_steps=STEPS, guidance_scale=4.0, generator=noise, output_type="latent")
    ids = pipeline.tokenizer(PROMPT, padding="max_length", max_length=77).input_ids
    tokens = pipeline.tokenizer.convert_ids_to_tokens(ids)
    assert tokens[1:6] == ["a</w>", "r", "e", "d</w>", "m"] and tokens[11] == "r</w>"
    words: list[Entry] = [(word, "word", [*indices]) for word, indices in TOKENS.items()]
    rest: list[Entry] = [("start", "start", [0]), ("end", "end", [12]), ("padding", "padding", [*range(13, 77)])]
    trace.words["conditional"] = Caption.build(PROMPT, [("CLIP", tokens, words + rest)])
    return trace, kept


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -3/4, as in PyTorch."""
    a, x = -0.75, np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def bicubic(old: int, new: int) -> np.ndarray:
    """(new, old): what each old sample contributes to each new one; samples beyond the edge repeat it."""
    weights = np.zeros((new, old))
    for row in range(new):
        place = (row + 0.5) * old / new - 0.5
        for sample in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            weights[row, min(max(sample, 0), old - 1)] += cubic(np.array(place - sample))
    return weights


def formula(kept: dict[str, list[np.ndarray]], tokens: tuple[int, ...], size: int, clamp: bool) -> np.ndarray:
    """The paper's sum, as a mean; the mean of several tokens' maps."""
    maps = []
    for name, steps in kept.items():
        if "mid_block" in name:  # the formula has only down and up
            continue
        conditional = [weights[weights.shape[0] // 2 :] for weights in steps]
        for head in range(conditional[0].shape[0]):
            for token in tokens:
                mean = np.mean([weights[head, :, token] for weights in conditional], axis=0)
                side = int(np.sqrt(len(mean)))
                matrix = bicubic(side, size)
                scaled = matrix @ mean.reshape(side, side) @ matrix.T
                maps.append(np.maximum(scaled, 0) if clamp else scaled)
    return np.mean(maps, axis=0)


@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("word", ["a", "red", "monster"])
def test_daam_is_the_formula_of_the_paper(drawn, word, size, clamp):
    trace, kept = drawn
    assert all(len(weights) == STEPS for weights in kept.values()) and any("mid_block" in name for name in kept)
    expected = formula(kept, TOKENS[word], size, clamp)
    assert expected.std() > 0.1 * expected.mean()  # a map, and not the same everywhere
    other = formula(kept, TOKENS["red" if word == "a" else "a"], size, clamp)
    assert np.abs(expected - other).max() > 0.1 * expected.max()
    found = daam(trace, word, size=(size, size), clamp=clamp)
    assert found.shape == expected.shape and np.abs(found.numpy() - expected).max() < 1e-5 * expected.max()
    assert (
        np.abs(formula(kept, TOKENS["red"], size, clamp) - formula(kept, TOKENS["monster"], size, clamp)).max() > 1e-3
    )


def test_daam_takes_the_mean_of_a_words_tokens_where_word_map_takes_their_sum(drawn):
    trace, kept = drawn
    (name, *_) = kept
    heads = kept[name][0][kept[name][0].shape[0] // 2 :]
    spent = heads[..., TOKENS["red"]].sum(-1).reshape(-1, *trace.layers[name].grid)
    assert np.allclose(trace.word_map(name, "red", step=0), spent, atol=1e-5)
    alone = daam(trace, "red", layers=[name], steps=[0], size=trace.layers[name].grid)
    assert np.allclose(alone, spent.mean(0) / 3, atol=1e-5)


def test_daam_by_default_has_the_size_of_the_sample_and_takes_what_it_is_told(drawn):
    trace, kept = drawn
    assert daam(trace, "red").shape == (8, 8)
    middle = next(name for name in kept if "mid_block" in name)
    alone = daam(trace, "red", layers=[middle], steps=[1], size=(8, 8)).numpy()
    expected = formula({"mid": [kept[middle][1]]}, TOKENS["red"], 8, True)
    assert np.abs(alone - expected).max() < 1e-5 * expected.max()


def test_daam_refuses_what_is_not_there(drawn):
    trace, _ = drawn
    with pytest.raises(KeyError, match="no word 'rad'; the closest are 'red'"):
        daam(trace, "rad")
    with pytest.raises(KeyError, match="there are 'start', 'end', 'padding'"):
        daam(trace, "red", branch="unconditional")  # whose caption is empty
    with pytest.raises(KeyError, match="step 9 was not recorded"):
        daam(trace, "red", steps=[9])
    with pytest.raises(ValueError, match="at least one"):
        daam(trace, "red", layers=[])
