import math
import random

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention

from models.attributes import change, sample_attributes
from models.critters import draw_critter
from models.training import twins
from models.training.twins import (
    attention_rows,
    control_cells,
    queries_and_keys,
    relative_to_uniform,
    twin_measure,
    two_eyed_critters,
)


@pytest.fixture(scope="module")
def critter():
    return draw_critter(2, change(sample_attributes(random.Random(2)), shape="round", eye_count="two"))


def cells(*places: tuple[int, int], grid: int = 8) -> np.ndarray:
    mask = np.zeros((grid, grid), bool)
    mask[tuple(zip(*places, strict=True))] = True
    return mask


def test_relative_to_uniform_of_a_map_made_by_hand():
    rows = np.zeros((2, 4, 4))
    rows[0, 1, 1] = rows[0, 1, 2] = 0.25  # half of the attention on two cells of sixteen: 0.25 · 16
    rows[0, 3, 3] = 0.5
    rows[1] = 1 / 16
    assert relative_to_uniform(rows, cells((1, 1), (1, 2), grid=4)).tolist() == [4, 1]
    assert np.isnan(relative_to_uniform(rows, None)).all()


@pytest.mark.parametrize("grid", [8, 16, 32])
def test_layer_twin_attention_of_a_head_made_to_look_at_the_twin(critter, grid):
    """With keys that are unit vectors, a query's scores are its own numbers: q_i = √d·log(row) attends by that row."""
    tokens = grid * grid
    q = torch.zeros(1, tokens, tokens)
    expected = []
    for here, there, share in (("left eye", "right eye", 0.6), ("right eye", "left eye", 0.3)):
        (row, column), twin, control = twins.eye_cells(critter, here, there, grid)
        wanted = np.where(twin, share / twin.sum(), 0) + np.where(control, 0.1 / control.sum(), 0)
        elsewhere = ~twin & ~control
        wanted += np.where(elsewhere, (0.9 - share) / elsewhere.sum(), 0)
        q[0, row * grid + column] = torch.from_numpy(np.log(wanted).flatten() * math.sqrt(tokens))
        expected.append((share / twin.sum() * tokens, 0.1 / control.sum() * tokens))
    found = twins._layer_twin_attention(1, q, torch.eye(tokens)[None], [critter])  # (2, directions, heads)
    np.testing.assert_allclose(found[..., 0].T, expected, rtol=1e-4)


def test_attention_rows_equal_diffusers_eager_attention(tiny_unet):
    with queries_and_keys(tiny_unet) as layers, torch.no_grad():
        tiny_unet(torch.randn(2, 3, 64, 64), 100, torch.randn(2, 5, 64))
    for module, kept in layers.values():
        q, k = (module.head_to_batch_dim(kept[name]) for name in ("to_q", "to_k"))  # (B·H, N, d)
        scores = module.get_attention_scores(q, k).unflatten(0, (2, -1))  # (B, H, N, N)
        rows = attention_rows(kept["to_q"], kept["to_k"], module.heads, torch.tensor([7, 30]))
        torch.testing.assert_close(rows, torch.stack([scores[0, :, 7], scores[1, :, 30]]), rtol=1e-5, atol=1e-7)


def test_queries_and_keys_hooks_self_attention_and_unhooks_it(tiny_unet):
    def hooks() -> int:
        return sum(len(module._forward_hooks) for module in tiny_unet.modules())

    with pytest.raises(RuntimeError), queries_and_keys(tiny_unet) as layers:
        attentions = [name for name, module in tiny_unet.named_modules() if isinstance(module, Attention)]
        assert list(layers) == [name for name in attentions if name.endswith("attn1")]
        assert hooks() == 2 * len(layers) > 0
        raise RuntimeError
    assert hooks() == 0


def test_eye_cells_are_the_eyes_centre_and_its_twins_cells(critter):
    (row, column), twin, control = twins.eye_cells(critter, "left eye", "right eye", 32)
    left, right = critter.masks["left eye"], critter.masks["right eye"]
    assert left[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].all()
    upsampled = np.kron(twin, np.ones((2, 2), bool))
    assert (upsampled & right).sum() > 0.85 * right.sum() and not (upsampled & left).any()
    assert twin.sum() == control.sum()
    assert not (np.kron(control, np.ones((2, 2), bool)) & (left | right)).any()


def test_mask_cells_of_an_eye_that_fills_half_of_no_cell():
    mask = np.zeros((64, 64), bool)
    mask[6:10, 5:9] = True  # across the corner of four 8x8 cells: 2 rows and 3 columns of the upper left one, ...
    mask[9, 8] = False
    assert np.argwhere(twins.mask_cells(mask, 8)).tolist() == [[0, 0], [1, 0]]
    assert twins.centre_cell(mask, 8) == (0, 0)


NOWHERE = cells((0, 0)) & False


@pytest.mark.parametrize(
    ("twin_cells", "query", "twin", "eyes", "expected"),
    [
        ([(3, 5), (3, 6)], (3, 3), (3, 5), NOWHERE, [(3, 1), (3, 2)]),  # the other side
        ([(3, 6), (3, 7)], (3, 1), (3, 6), NOWHERE, None),  # five cells farther there is no grid on any side
        ([(4, 4)], (4, 1), (4, 4), NOWHERE, [(1, 1)]),  # the other side is outside, so above
        ([(2, 4)], (2, 1), (2, 4), NOWHERE, [(5, 1)]),  # so is above, so below
        ([(4, 5)], (4, 3), (4, 5), cells((4, 1)), [(2, 3)]),  # on the other side is an eye
        ([(4, 5)], (4, 3), (4, 5), cells((4, 1), (2, 3), (6, 3)), None),  # eyes everywhere
    ],
)
def test_control_cells_lie_equally_far_away_from_any_eye(twin_cells, query, twin, eyes, expected):
    control = control_cells(cells(*twin_cells), query, twin, eyes)
    if expected is None:
        assert control is None
    else:
        assert (control == cells(*expected)).all()


def test_twin_measure_chooses_on_one_set_and_reports_on_another(tiny_pipeline, monkeypatch):
    """Head (b, 1) wins on the first set; what is reported is that head on the second, where another one is better."""
    seen = []

    def twin_attention(_pipeline, critters):
        seen.append(len(critters))
        first = len(seen) == 1
        layers = {name: np.ones((2, 4, 4, 2)) for name in "ab"}
        layers["b"][0, ..., 1] = 30 if first else 5
        layers["b"][1, ..., 1] = 0.5
        layers["a"][0, ..., 0] = 10
        layers["b"][0, 0, 0, 1] = 1000  # one critter at one timestep does not move a median,
        layers["a"][0, 0, 0, 1] = 10_000  # nor make a head the best
        return layers

    monkeypatch.setattr(twins, "twin_attention", twin_attention)
    result = twin_measure(tiny_pipeline, [None] * 2, [None] * 3)
    assert seen == [2, 3]
    assert (result["twin_layer"], result["twin_head"]) == ("b", 1)
    assert (result["twin_over_uniform"], result["twin_control"]) == (5, 0.5)
    assert result["twin_by_timestep"] == {50: 5, 250: 5, 500: 5, 750: 5}


def test_twin_attention_covers_every_self_attention_head_and_timestep(tiny_pipeline):
    found = twins.twin_attention(tiny_pipeline, two_eyed_critters(3, 0))
    assert len(found) == 7 and {array.shape for array in found.values()} == {(2, 6, 4, 2)}
    # An untrained head looks everywhere about alike.
    assert all(np.nanmedian(array) == pytest.approx(1, abs=0.2) for array in found.values())
    assert [critter.attributes.eye_count for critter in two_eyed_critters(3, 0)] == ["two"] * 3
