"""Reading one call of a denoiser: its sample, its timestep, the grids of its layers."""

import pytest
import torch
from torch import nn

from tests.support.pipelines import unconditional
from viz.recording.call import calls_at, find_sample, find_timestep, infer_grid, timestep_number

X = torch.zeros(2, 3, 8, 8)


def network(forward) -> nn.Module:
    module = nn.Module()
    module.forward = forward
    return module


@pytest.mark.parametrize(
    ("forward", "args", "kwargs", "expected"),
    [
        (lambda sample, timestep: 0, (X, 7), {}, 7),
        (lambda x, t, y=None: 0, (X, torch.tensor([9, 9])), {"y": torch.tensor([1, 2])}, 9),
        (lambda x, zeitpunkt: 0, (X, torch.tensor([0.5])), {}, 0.5),
        (lambda x, class_labels, c_noise: 0, (X, torch.tensor([3, 3]), torch.tensor([0.25, 0.25])), {}, 0.25),
        (lambda x, words, log_snr: 0, (X, torch.zeros(2, 5, 4), torch.tensor(-3.0)), {}, -3),
        (lambda *args: 0, (X, 11), {}, 11),
        (lambda x, **more: 0, (X,), {"flag": True, "step_of_noise": 4.0}, 4),
        (lambda x, verbose=True: 0, (X,), {"verbose": False}, None),
        (lambda x, mask: 0, (X, torch.ones(2, dtype=torch.bool)), {}, None),
    ],
)
def test_find_timestep_by_name_or_by_shape(forward, args, kwargs, expected):
    assert timestep_number(find_timestep(network(forward), args, kwargs)) == expected


def test_find_sample_needs_a_picture():
    with pytest.raises(ValueError, match="expected an argument of shape"):
        find_sample((torch.zeros(3),), {})


def test_infer_grid_halves_sides_rounding_up():
    assert infer_grid((30, 45), 15 * 23) == ((15, 23), 0)
    assert infer_grid((30, 45), 8 * 12) == ((8, 12), 0)
    with pytest.raises(ValueError, match=r"100 tokens fit no halving of the 30x45 sample"):
        infer_grid((30, 45), 100)


def test_infer_grid_of_patches_and_extra_tokens():
    assert infer_grid((224, 224), 16 * 16) == ((16, 16), 0)
    assert infer_grid((224, 224), 197) == ((14, 14), 1)
    assert infer_grid((224, 112), 16 * 8 + 5) == ((16, 8), 5)


@pytest.mark.parametrize("timestep", [999.9, 1e-4, 7, torch.tensor(0.5)])
def test_find_timestep_is_what_the_network_makes_of_it(timestep):
    """Against the network's own output: UNet2DModel cuts a Python number down to an integer, but no tensor."""
    network = unconditional(size=8)
    shown = timestep_number(find_timestep(network, (X[:1],), {"timestep": timestep}))
    with torch.no_grad():
        expected, output = network(X[:1], timestep).sample, network(X[:1], torch.tensor([shown])).sample
    assert torch.equal(expected, output)


def test_timestep_number_is_that_of_the_picture_if_each_has_its_own():
    assert timestep_number(torch.tensor([3, 5]), picture=1) == 5
    assert timestep_number(torch.tensor([3]), picture=1) == 3


def test_calls_at_counts_calls_in_a_row_at_one_timestep():
    timesteps = {0: 9.0, 1: 7.0, 2: 7.0, 3: 7.0, 4: 5.0, 6: 5.0, 7: None, 8: None, 9: 7.0}
    assert calls_at(timesteps) == {1: (1, 3), 2: (2, 3), 3: (3, 3)}
