"""What one call of one layer shows of one picture: what a proof compares."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from viz.layer import Layer
from viz.proof import Comparison, Spread, agrees, compare, is_linear, why_not


@dataclass(frozen=True)
class Evidence:
    """One picture in one call of one layer, its pixels row by row.

    Attributes:
        query, key, value: (H, N, d), (H, M, d), (H, M, dv).
        output: (N, C), the module's own.
        noise: a difference in the output that rounding explains, where the output was obtained by subtraction.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    output: torch.Tensor
    noise: float = 0.0

    def at(self, rows: torch.Tensor) -> Evidence:
        """Some queries only, (n,) by index: copies of their part of `query` and `output`."""
        rows = rows.to(self.query.device)
        return replace(self, query=self.query.index_select(1, rows), output=self.output.index_select(0, rows))

    def compare(self, layer: Layer) -> Comparison:
        """Compare the output with the one recomputed. Raises as `viz.proof.compare`."""
        return compare(self.query, self.key, self.value, self.output, layer.scale, self.noise)

    def agrees(self, layer: Layer, spread: Spread) -> float | None:
        """The same quickly, if it holds; see `viz.proof.agrees`."""
        return agrees(self.query, self.key, self.value, self.output, layer.scale, spread)

    def why_not(self, comparison: Comparison) -> str:
        """Why the output is not what the layer's reading says."""
        linear = is_linear(self.query, self.key, self.value, self.output)
        return why_not(comparison, linear, self.noise > 0)
