"""The maps of words over drawn critters, against the recorder and against formulas written plainly."""

import numpy as np
import pytest
import torch

from models.critters import draw_critter
from models.training import word_maps as word_maps_module
from models.training.pointing import Measured, Subject
from models.training.twins import TIMESTEPS
from models.training.word_maps import THRESHOLDS, enlarge, overlap, word_maps
from models.training.word_parts import NOUNS, ROLES, parts_of
from viz import caption_of, record


@pytest.fixture(scope="module")
def subject(shared_pipeline) -> Subject:
    return Subject.of(shared_pipeline, [draw_critter(seed) for seed in range(6)])


@torch.no_grad()
def test_word_maps_are_those_of_a_trace(tiny_pipeline, subject):
    """The public API, asked for each word by its text, finds the same maps in every layer and head."""
    for name, weight in tiny_pipeline.unet.named_parameters():
        if name.endswith("attn2.to_q.weight"):
            weight *= 20  # so that words differ by more than rounding
    caption = draw_critter(0).caption()
    arguments = subject.pixels[:1], torch.tensor([100]), tiny_pipeline.encoder(subject.ids[:1])
    places, texts = subject.places[:1], subject.parts.words[0]
    found = dict(word_maps(tiny_pipeline.unet, *arguments, torch.from_numpy(places)))
    with record(tiny_pipeline.unet, words=caption_of(tiny_pipeline, caption)) as trace:
        tiny_pipeline.unet(*arguments)
    layers = [layer.name for layer in trace if layer.kind == "cross"]
    assert sorted(found) == sorted(layers) and len(layers) > 2
    for name in layers:
        words = trace.words_of(name)
        maps = torch.stack([trace.word_map(name, word, step=0) for word in words[: len(texts)]])
        assert [word.text for word in words[: len(texts)]] == list(texts)
        assert maps.std(0).mean() > 0.01  # words differ
        for index, place in enumerate(places[0].tolist()):
            if place >= 0:
                torch.testing.assert_close(found[name][0, :, index], maps[place], atol=1e-6, rtol=1e-4)


def test_places_are_those_of_the_words_and_parts_those_of_the_drawing(subject):
    for index, seed in enumerate(range(6)):
        critter, words = draw_critter(seed), subject.parts.words[index]
        here = {role: words[place] for role, place in zip(ROLES, subject.places[index], strict=True) if place >= 0}
        attributes = critter.attributes
        assert (here["eye_color"], here["shape"], here["mouth_kind"]) == (
            attributes.eye_color,
            attributes.shape,
            attributes.mouth,
        )
        assert here["background_color"] == attributes.background_color and here["mouth"] == "mouth"
        assert here.get("crown", "none") == attributes.crown
        eyes = np.any([mask for name, mask in critter.masks.items() if name.endswith("eye")], axis=0)
        assert (subject.parts.masks("eye_color")[index] == eyes).all()
        assert (subject.parts.masks("mouth")[index] == critter.masks["mouth"]).all()
        assert (subject.parts.masks("monster")[index] == ~critter.masks["background"]).all()
        crown = [name for name in critter.part_names if name.split()[-1] in ("horn", "ear", "antenna")]
        assert subject.parts.masks("crown")[index].sum() == sum(critter.masks[name].sum() for name in crown)


def test_a_caption_that_leaves_something_open_is_refused():
    critter = draw_critter(0)
    words = critter.caption(["shape", "eye_count"]).split()
    with pytest.raises(ValueError, match="in the caption, got"):
        parts_of([critter], [words])


def test_shuffled_words_are_the_same_words_and_places_follow_them(shared_pipeline, subject):
    vocabulary = list(shared_pipeline.encoder.index)
    shuffled = subject.with_shuffled_words()
    assert (shuffled.ids != subject.ids).any(1).all()
    for index, words in enumerate(subject.parts.words):
        new = [vocabulary[number] for number in shuffled.ids[index].tolist()]
        assert sorted(new[: len(words)]) == sorted(words) and set(new[len(words) :]) == {""}
        for old_place, new_place in zip(subject.places[index], shuffled.places[index], strict=True):
            assert (new_place == -1) if old_place == -1 else (new[new_place] == words[old_place])


def test_next_captions_bring_their_places(subject):
    other = subject.with_next_captions()
    assert (other.ids[0] == subject.ids[1]).all() and (other.ids[-1] == subject.ids[0]).all()
    assert (other.places[:-1] == subject.places[1:]).all() and other.parts is subject.parts


@pytest.mark.parametrize("side", [8, 16, 32])
def test_enlarge_is_bicubic_interpolation(side):
    maps = torch.rand(3, 2, side, side)
    expected = torch.nn.functional.interpolate(maps, size=(64, 64), mode="bicubic").clamp(min=0)
    torch.testing.assert_close(enlarge(maps), expected, atol=1e-6, rtol=1e-5)


def test_overlap_is_intersection_over_union_at_every_threshold():
    maps, masks = torch.rand(3, 2, 16, 16), torch.rand(3, 1, 16, 16) > 0.7
    masks[2] = False
    found = overlap(maps, masks).numpy()
    for picture in range(2):
        for index in range(2):
            shares = (maps[picture, index] / maps[picture, index].max()).numpy()
            mask = masks[picture, 0].numpy()
            expected = [((shares >= t) & mask).sum() / ((shares >= t) | mask).sum() for t in THRESHOLDS]
            np.testing.assert_allclose(found[picture, index], expected, rtol=1e-6)
    assert np.isnan(found[2]).all()


def test_landings_of_maps_made_by_hand(shared_pipeline, subject, monkeypatch):
    """A layer whose head 0 has the part of every noun and whose head 1 has everything else."""
    masks = torch.from_numpy(np.stack([subject.parts.masks(role) for role in ROLES], 1)).float()
    calls = []

    def made(_unet, _sample, timestep, _words, places):
        start = len(calls) // len(TIMESTEPS) * 4  # batches of four
        calls.append(int(timestep[0]))
        assert (places.numpy() == subject.places[start : start + 4]).all()
        here = masks[start : start + 4]
        yield "layer", torch.stack([here, 1 - here], 1)

    monkeypatch.setattr(word_maps_module, "word_maps", made)
    monkeypatch.setattr(word_maps_module, "cross_attention_heads", lambda _: (("layer", 0), ("layer", 1)))
    groups = {"first": {role: [("layer", 0)] for role in ROLES}, "second": {role: [("layer", 1)] for role in ROLES}}
    measured = Measured.of(shared_pipeline, subject, groups, batch=4)
    assert calls == [*TIMESTEPS, *TIMESTEPS]
    for role in ROLES:
        hits = measured.hits(role)
        assert hits.shape == (measured.counts(role).sum(), 4, 4)
        assert hits[..., [0, 2]].all() and not hits[..., [1, 3]].any()
    assert measured.best_heads("eyes") == [("layer", 0)] and measured.best_head_at("mouth", 500) == ("layer", 0)
    assert measured.map_of("second") == 3 and measured.map_of(("layer", 1)) == 1
    for index, noun in enumerate(NOUNS):
        overlaps = measured.landings.overlaps[measured.counts(noun), ..., index, :]  # (P', T, L, thresholds)
        assert (overlaps[:, :, [0, 2]] == 1).all() and (overlaps[:, :, [1, 3]] == 0).all()
