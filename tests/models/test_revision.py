"""Revisions of the bundled weights: what a recipe was made with can be had again, to the bit."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import load
from models.opening import load as zoo
from models.opening import revision as revisions
from models.opening.errors import CannotOpen
from models.opening.revision import BUNDLED, earlier, revision, revision_of, supersede
from viz.page.gallery import exhibits, pin_revision
from viz.page.runs import load_bundled
from viz.recipe import Recipe


def changed(pipeline, folder, *names: str, by: float = 1.0):
    """The pipeline with some of its U-Net's weights changed, in half precision in a folder."""
    with torch.no_grad():
        for name in names:
            pipeline.unet.get_parameter(name).add_(by)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder, {name: value.clone() for name, value in pipeline.unet.state_dict().items()}


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A bundled model of its own, in an empty folder."""
    for module in (revisions, zoo):
        monkeypatch.setattr(module, "BUNDLED", {"critters": tmp_path / "bundle"})
    for function in (revision, earlier):
        function.cache_clear()
    yield tmp_path / "bundle"
    for function in (revision, earlier):
        function.cache_clear()


def now() -> str:
    revision.cache_clear()
    earlier.cache_clear()
    return revision()


def test_load_opens_every_earlier_revision(tiny_pipeline, tmp_path, bundle):
    states = {}
    for place, names in {"a": (), "b": ("conv_in.bias",), "c": ("conv_out.bias", "conv_in.bias")}.items():
        folder, state = changed(tiny_pipeline, tmp_path / place, *names)
        supersede(bundle, folder)
        states[now()] = state
    first, second, third = states
    assert revision() == third and set(earlier()) == {first, second}
    assert set(load_file(earlier()[second])) == {"unet.conv_out.bias", "unet.conv_in.bias"}
    for name, state in ({None: states[third]} | states).items():
        unet = load("critters", revision=name).unet
        assert all(torch.equal(weight, state[key]) for key, weight in unet.state_dict().items()), name
    with pytest.raises(CannotOpen, match=f"no revision 'abc' here; there are {third}, "):
        load("critters", revision="abc")


def test_supersede_keeps_nothing_for_the_same_weights(tiny_pipeline, tmp_path, bundle):
    folder, _ = changed(tiny_pipeline, tmp_path / "a")
    supersede(bundle, folder)
    supersede(bundle, folder)
    assert now() and earlier() == {}


def test_supersede_refuses_other_settings(tiny_pipeline, tmp_path, bundle):
    folder, _ = changed(tiny_pipeline, tmp_path / "a")
    supersede(bundle, folder)
    before = now()
    tiny_pipeline.scheduler.register_to_config(clip_sample=False)
    folder, _ = changed(tiny_pipeline, tmp_path / "b", "conv_in.bias")
    with pytest.raises(ValueError, match="has other settings or tensors than the one that is to replace it"):
        supersede(bundle, folder)
    assert now() == before and earlier() == {}


@pytest.mark.parametrize("name", earlier())
def test_earlier_bundled_weights_have_the_revision_they_are_named_for(name, tmp_path):
    folder = BUNDLED["critters"]
    for part in revisions.PARTS:
        shutil.copytree(folder / part, tmp_path / part)
        for path in (tmp_path / part).glob("*.safetensors"):
            way = {n.removeprefix(f"{part}."): x for n, x in load_file(earlier()[name]).items()}
            tensors = load_file(path)
            save_file(tensors | {n: x for n, x in way.items() if n in tensors}, path, {"format": "pt"})
    assert revision_of(tmp_path) == name


def test_pin_revision_takes_the_gallerys_weights():
    exhibit = exhibits()[0]
    asked = Recipe(exhibit.caption, seed=exhibit.seed)
    assert asked.weights == revision() and pin_revision(asked) == exhibit.recipe
    assert pin_revision(asked).weights == exhibit.revision in {revision(), *earlier()}
    unknown = Recipe(exhibit.caption, seed=exhibit.seed, revision="0123456789ab")
    assert unknown.weights == revision() and pin_revision(unknown) == exhibit.recipe
    latest = Recipe(exhibit.caption, seed=exhibit.seed, revision=revision())
    assert pin_revision(latest) is latest and latest.weights == revision()  # who asks for the latest gets them
    other = Recipe(exhibit.caption, seed=exhibit.seed + 1)
    assert pin_revision(other) is other


def test_bundled_loads_each_revision_once():
    shown = exhibits()[0].recipe
    assert load_bundled() is load_bundled(Recipe("a monster")) and load_bundled(shown) is load_bundled(shown)
    assert (load_bundled() is load_bundled(shown)) == (shown.weights == revision())
    same = np.array_equal(load_bundled().unet.conv_in.weight.detach(), load_bundled(shown).unet.conv_in.weight.detach())
    assert same == (shown.weights == revision())
