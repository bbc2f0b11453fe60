"""What one call of a denoiser says: its timestep, whatever the argument is called."""

import pytest
import torch
from torch import nn

from viz.recording.call import number, sample_of, timestep_of

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
def test_the_timestep_is_found_whatever_it_is_called(forward, args, kwargs, expected):
    assert number(timestep_of(network(forward), args, kwargs)) == expected


def test_a_call_without_a_picture():
    with pytest.raises(ValueError, match="expected an argument of shape"):
        sample_of((torch.zeros(3),), {})
