"""A layer of a tiny pipeline, watched once."""

import pytest

from viz.lesson.watch import LayerCall, watch_recipe
from viz.recipe import Recipe

SELF = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
RECIPE = Recipe("a green monster with two yellow eyes", seed=3, steps=3)


@pytest.fixture(scope="session")
def self_attention() -> str:
    return SELF


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return RECIPE


@pytest.fixture(scope="session")
def layer_call(shared_pipeline) -> LayerCall:
    return watch_recipe(shared_pipeline, RECIPE, SELF, step=1)
