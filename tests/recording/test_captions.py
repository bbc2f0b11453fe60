"""Which words a recording says its keys are: those that the text encoders read, or numbers."""

import pytest
import torch
from torch.nn.modules import module as torch_module

from tests.support.captioned import SMALL, pixart, sd, sd3, sdxl, watched
from tests.support.joint import LAST
from tests.support.pipelines import conditional
from tests.support.random_weights import numbers
from viz import record
from viz.words import Caption, words_of_layer

CROSS = "mid_block.attentions.0.transformer_blocks.0.attn2"


@pytest.fixture
def drawer(tmp_path):
    return sd(tmp_path)


def written(caption: Caption, encoding: int = 0) -> list[tuple[str, str, int]]:
    """(text, kind, number of tokens) of the words of an encoding."""
    return [(word.text, word.kind, len(word.tokens)) for word in caption.encodings[encoding].words]


def words(text: str, pieces: dict[str, int]) -> list[tuple[str, str, int]]:
    return [(word, "word", pieces.get(word, 1)) for word in text.split()]


def added(start: int, end: int, padding: int) -> list[tuple[str, str, int]]:
    counts = {"start": start, "end": end, "padding": padding}
    return [(kind, kind, count) for kind, count in counts.items() if count]


# How many tokens each word has: the tiny CLIP vocabulary knows single letters only, T5's knows some words.
CLIP = {"red": 3, "Red": 3, "monster": 7, "with": 4, "eyes": 4, "bad": 3, "hands": 5, "blue": 4, "fish": 4}


def test_caption_of_stable_diffusion(drawer):
    trace = watched(drawer, "a Red monster, with eyes", negative_prompt="bad hands")
    assert set(trace.words) == {"unconditional", "conditional"}
    one, other = trace.words["conditional"], trace.words["unconditional"]
    assert one.text == "a Red monster, with eyes" and [each.encoder for each in one.encodings] == ["CLIP"]
    content = words("a Red monster , with eyes", CLIP)
    assert written(one) == content + added(1, 1, 75 - 20)
    assert one.find("monster").tokens == tuple(range(5, 12)) and one.find("start").tokens == (0,)
    assert one.find("end").tokens == (21,) and one.find("padding").tokens == tuple(range(22, 77))
    assert one.encodings[0].tokens[5:12] == ("m", "o", "n", "s", "t", "e", "r</w>")
    assert other.text == "bad hands" and written(other) == words("bad hands", CLIP) + added(1, 1, 75 - 8)
    assert not one.notes and not other.notes
    assert words_of_layer(trace.layers[CROSS], one) == ((0, one.encodings[0]),)


def test_an_empty_negative_prompt_is_a_caption_without_words(drawer):
    trace = watched(drawer, "a red monster")
    assert trace.words["unconditional"].text == "" and written(trace.words["unconditional"]) == added(1, 1, 75)


def test_caption_of_an_unguided_run(drawer):
    trace = watched(drawer, "red fish", guidance_scale=1.0)
    assert {branch: caption.text for branch, caption in trace.words.items()} == {"conditional": "red fish"}


@pytest.mark.parametrize("picture", range(4))
def test_caption_of_the_picture_of_a_batch(drawer, picture):
    """Two prompts and two pictures of each: the batch is (bad, bad, hands, hands, red, red, fish, fish)."""
    trace = watched(drawer, ["red", "fish"], negative_prompt=["bad", "hands"], num_images_per_prompt=2, picture=picture)
    expected = ("bad", "red") if picture < 2 else ("hands", "fish")
    assert tuple(trace.words[branch].text for branch in ("unconditional", "conditional")) == expected
    assert written(trace.words["conditional"])[0] == (expected[1], "word", CLIP[expected[1]])


def test_caption_with_clip_skip(tmp_path):
    assert watched(sdxl(tmp_path), "red fish", clip_skip=1).words["conditional"].text == "red fish"


def test_caption_in_half_precision(drawer):
    drawer.to(dtype=torch.bfloat16)
    assert watched(drawer, "red fish").words["conditional"].text == "red fish"


def test_a_caption_that_is_too_long_says_so(drawer):
    trace = watched(drawer, " ".join(["monster"] * 11 + ["eyes"]))
    caption = trace.words["conditional"]
    assert written(caption) == [("monster", "word", 7)] * 10 + [("monst", "word", 5)] + added(1, 1, 0)
    assert [word.nth for word in caption.words[:11]] == [*range(10), 0]
    assert caption.notes == {"end": "The encoder reads 77 tokens; 6 tokens were cut off after “monst”."}


def test_encoders_that_share_a_key_are_one_encoding(tmp_path):
    trace = watched(sdxl(tmp_path), "a red fish", negative_prompt="bad")
    one = trace.words["conditional"]
    assert [each.encoder for each in one.encodings] == ["CLIP and OpenCLIP"] and one.text == "a red fish"
    assert written(one) == words("a red fish", CLIP) + added(1, 1, 75 - 8)
    assert one.encodings[0].tokens[-1] == "<|endoftext|> / !</w>" and one.encodings[0].tokens[4] == "d</w>"
    assert trace.words["unconditional"].text == "bad"


def test_encoders_that_share_a_key_and_read_different_captions(tmp_path):
    trace = watched(sdxl(tmp_path), "a red fish", prompt_2="blue fish")
    caption = trace.words["conditional"]
    assert caption.text == "a red fish / blue fish"
    # a·r·e·d·f·i·s·h·end and b·l·u·e·f·i·s·h·end: what overlaps is one word
    assert written(caption) == [("a / red / blue", "word", 4), ("fish", "word", 4), *added(1, 1, 75 - 8)]


def test_a_negative_prompt_that_is_zeros_has_no_caption(tmp_path):
    """SDXL's vectors of no negative prompt. Their values are zero, so nothing of those layers can be proved either."""
    trace = watched(sdxl(tmp_path), "a red fish")
    assert set(trace.words) == {"conditional"} and trace.branches == ("unconditional", "conditional")
    assert {reason for name, reason in trace.skipped.items() if name.endswith("attn2")} == {
        "its values are zero everywhere, which proves nothing about its map"
    }


def test_encoders_after_one_another_are_two_encodings(tmp_path):
    trace = watched(sd3(tmp_path), "a red monster's eyes!", negative_prompt="bad", max_sequence_length=20)
    caption = trace.words["conditional"]
    assert [each.encoder for each in caption.encodings] == ["CLIP and OpenCLIP", "T5"]
    assert written(caption) == words("a red monster 's eyes !", CLIP | {"'s": 2}) + added(1, 1, 75 - 18)
    assert written(caption, 1) == words("a red monster's eyes !", {"monster's": 3, "eyes": 2}) + added(0, 1, 11)
    assert caption.text == "a red monster's eyes!" and trace.words["unconditional"].text == "bad"
    for name in (LAST, "transformer_blocks.0.attn"):
        layer = trace.layers[name]
        assert layer.first_key == 0 and layer.tokens == 24 and layer.key_count == 24 + 77 + 20
        assert words_of_layer(layer, caption) == ((24, caption.encodings[0]), (24 + 77, caption.encodings[1]))
    assert words_of_layer(trace.layers["transformer_blocks.0.attn2"], caption) == ()


def test_each_encoder_has_the_caption_that_it_read(tmp_path):
    caption = watched(sd3(tmp_path), "red", prompt_3="fish", max_sequence_length=20).words["conditional"]
    assert [encoding.words[0].text for encoding in caption.encodings] == ["red", "fish"]
    assert caption.text == "red / fish"


def test_keys_of_an_encoder_that_is_not_there_are_padding(tmp_path):
    caption = watched(sd3(tmp_path, with_t5=False), "a red fish", max_sequence_length=20).words["conditional"]
    assert [each.encoder for each in caption.encodings] == ["CLIP and OpenCLIP", "no encoder"]
    assert written(caption, 1) == [("padding", "padding", 20)]


def test_caption_of_pixart():
    trace = watched(
        pixart(), "Two red eyes", max_sequence_length=16, clean_caption=False, use_resolution_binning=False, width=16
    )
    caption = trace.words["conditional"]
    assert [each.encoder for each in caption.encodings] == ["T5"] and caption.text == "two red eyes"  # it lowers them
    assert written(caption) == words("two red eyes", {"eyes": 2}) + added(0, 1, 11)
    assert written(trace.words["unconditional"]) == added(0, 1, 15)


# -- where nothing is known -------------------------------------------------------------------------------------------


def encoded(pipeline, prompt: str) -> torch.Tensor:
    with torch.no_grad():
        return pipeline.encode_prompt(prompt, "cpu", 1, False)[0]


def test_vectors_made_before_are_numbered(drawer):
    vectors = encoded(drawer, "a red fish")
    trace = watched(drawer, prompt_embeds=vectors, negative_prompt_embeds=vectors.flip(1))
    assert trace.words == {} and CROSS in trace.layers
    ((_, encoding),) = words_of_layer(trace.layers[CROSS], None)
    assert [word.kind for word in encoding.words] == ["number"] * 77


@pytest.mark.parametrize(
    "change", [lambda v: v * 1.1, lambda v: v.flip(1), lambda v: v.roll(1, 1), lambda v: torch.cat([v, v], 1)]
)
@torch.no_grad()
def test_vectors_that_were_changed_are_numbered(drawer, change):
    with record(drawer.unet) as trace:
        vectors = encoded(drawer, "a red fish")
        drawer(prompt_embeds=change(vectors), negative_prompt_embeds=change(vectors), **SMALL)
    doubled = change(vectors).shape[1] > 77
    assert bool(trace.words) == doubled  # two captions after one another, each as it was read
    if doubled:
        (caption,) = trace.words.values()
        assert [len(each.tokens) for each in caption.encodings] == [77, 77]


@torch.no_grad()
def test_vectors_that_were_made_within_the_block_are_known(drawer):
    with record(drawer.unet, branch="both") as trace:
        one, other = encoded(drawer, "a red fish"), encoded(drawer, "bad hands")
        drawer(prompt_embeds=one, negative_prompt_embeds=other, **SMALL)
    assert {branch: caption.text for branch, caption in trace.words.items()} == {
        "unconditional": "bad hands", "conditional": "a red fish",
    }  # fmt: skip


def test_an_encoder_without_a_tokenizer_is_numbered(drawer):
    tokenizer, encoder, network = drawer.tokenizer, drawer.text_encoder, conditional()
    with torch.no_grad(), record(network) as trace:
        vectors = encoder(tokenizer("a red fish", padding="max_length", return_tensors="pt").input_ids)[0]
        network(numbers(1, 4, 8, 8), 1, vectors)
    assert trace.layers and trace.words == {}


def test_a_tokenizer_that_makes_other_ids_is_not_believed(drawer):
    true = drawer.tokenizer

    class Other:
        is_fast, model_max_length = True, 77
        decode, convert_ids_to_tokens = true.decode, true.convert_ids_to_tokens

        def __call__(self, text, **options):
            return true(f"{text} fish", **options)

    with record(drawer.unet) as trace:
        vectors = encoded(drawer, "a red")
        drawer.tokenizer = Other()
        drawer(prompt_embeds=vectors, negative_prompt_embeds=vectors, **SMALL)
    assert trace.layers and trace.words == {}


def test_a_tokenizer_that_fails_stops_no_run(drawer):
    def fail(*arguments, **options):
        raise RuntimeError("no words")

    with record(drawer.unet) as trace:
        vectors = encoded(drawer, "a red")
        drawer.tokenizer.decode = drawer.tokenizer.convert_ids_to_tokens = fail
        drawer(prompt_embeds=vectors, negative_prompt_embeds=vectors, **SMALL)
    assert trace.layers and trace.words == {}


@pytest.mark.parametrize("at", [0, 1])
def test_vectors_that_change_in_the_run_have_no_caption(drawer, at):
    def change(pipeline, step, timestep, given):
        return {"prompt_embeds": given["prompt_embeds"].flip(1)} if step == at else {}

    trace = watched(
        drawer, "a red fish", guidance_scale=1.0, num_inference_steps=3, callback_on_step_end=change,
        callback_on_step_end_tensor_inputs=["prompt_embeds"],
    )  # fmt: skip
    assert trace.words == {}


def test_two_runs_with_different_captions_in_one_block_have_none(drawer):
    with record(drawer.unet) as trace:
        drawer("a red fish", **SMALL)
        drawer("blue", **SMALL)
    assert len(trace.timesteps) == 6 and trace.words == {}


def test_hooks_go_when_the_network_is_never_called(drawer):
    with pytest.raises(ValueError, match="not called"), record(drawer.unet):
        encoded(drawer, "a red fish")
    assert not torch_module._global_forward_hooks
