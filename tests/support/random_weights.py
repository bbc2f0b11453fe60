"""Random numbers and weights, the same each time."""

import torch
from torch import nn


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomize(network: nn.Module) -> nn.Module:
    """Random weights everywhere, also where training starts from zeros, which would leave nothing to compare."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network.eval()
