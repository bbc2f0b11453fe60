"""The folder of the project's data: weights, recorded traces."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

# In an installed package the data lies inside it (pyproject.toml); in a checkout, beside it.
ASSETS = _HERE / "data" if (_HERE / "data").is_dir() else _HERE.parent / "assets"
