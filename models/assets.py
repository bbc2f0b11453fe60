"""Where the project's data lies: weights, recorded traces."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parent.parent / "assets"
