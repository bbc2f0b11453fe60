"""The error of opening a model."""

from __future__ import annotations


class CannotOpen(FileNotFoundError):
    """A model cannot be opened; the message is one sentence for the person who tried."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
