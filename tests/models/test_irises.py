import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.attributes import COLORS
from models.critters import draw_critter
from models.training.batches import to_pixels
from models.training.config import HELD_OUT
from models.training.irises import EYES, Irises, iris_classes, train_irises


@pytest.mark.parametrize("count", ["one", "two", "three"])
def test_iris_classes_mark_the_pixels_of_an_eyes_colour(count):
    critter = next(c for c in map(draw_critter, range(100)) if c.attributes.eye_count == count)
    found, picture = iris_classes(critter), np.asarray(critter.image).astype(int)
    names = [name for name in EYES if name in critter.masks]
    assert set(found.unique().tolist()) == {0, *(1 + EYES.index(name) for name in names)}
    for name in names:
        iris = (found == 1 + EYES.index(name)).numpy()
        assert not (iris & ~critter.masks[name]).any() and 0.3 < iris.sum() / critter.masks[name].sum() < 0.95
        assert np.abs(np.median(picture[iris], axis=0) - COLORS[critter.attributes.eye_color]).max() <= 12
        assert picture[iris].max(axis=1).min() > 100  # no pupil


@pytest.mark.training
def test_train_irises_learns():
    pixels = to_pixels([draw_critter(HELD_OUT + index).image for index in range(8)])
    truth = torch.stack([iris_classes(draw_critter(HELD_OUT + index)) for index in range(8)])
    irises = train_irises(150, batch=6)
    with torch.no_grad():
        found = irises(pixels).argmax(1)
    assert ((found == truth) & (truth > 0)).sum() > 0.3 * ((found > 0) | (truth > 0)).sum()


@pytest.mark.training
def test_train_irises_is_deterministic():
    first, again, other = (train_irises(2, batch=2, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["head.weight"].equal(other["head.weight"])


def test_find_returns_each_eye_and_drops_specks(monkeypatch):
    critters = [draw_critter(seed) for seed in range(6)]
    truth = torch.stack([iris_classes(critter) for critter in critters])
    seen = truth.clone()
    seen[0, 0, :5] = 1 + EYES.index("eye" if critters[0].attributes.eye_count != "one" else "left eye")
    monkeypatch.setattr(Irises, "forward", lambda _, pixels: F.one_hot(seen, 5).permute(0, 3, 1, 2).float())
    masks = Irises().find(to_pixels([critter.image for critter in critters]))
    for critter, mask, true in zip(critters, masks, truth, strict=True):
        for index, name in enumerate(EYES):
            assert mask[index].equal(true == 1 + index) and mask[index].any() == (name in critter.masks)
