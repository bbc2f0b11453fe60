"""The browser's side: scripts, styles and the libraries that they use."""

from __future__ import annotations

from pathlib import Path

WEB = Path(__file__).parent
