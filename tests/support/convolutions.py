"""What convolutions see: the oracle for the lesson's last panel."""

import torch
from torch.nn import functional as F


def receptive_field(grid: tuple[int, int], cell: tuple[int, int], layers: int = 1, kernel: int = 3) -> torch.Tensor:
    """(h, w) bool: the cells that reach `cell` through this many convolutions in a row, by their gradient."""
    features = torch.zeros(1, 1, *grid, requires_grad=True)
    x = features
    for _ in range(layers):
        x = F.conv2d(x, torch.ones(1, 1, kernel, kernel), padding=kernel // 2)
    (gradient,) = torch.autograd.grad(x[0, 0, *cell], features)
    return gradient[0, 0] != 0


def convolutions_needed(grid: tuple[int, int], query: tuple[int, int], key: tuple[int, int], kernel: int = 3) -> int:
    """How many convolutions in a row it takes until the query's cell can depend on the key's."""
    return next(layers for layers in range(1, sum(grid)) if receptive_field(grid, query, layers, kernel)[key])
