"""Checks of untrusted JSON: a recipe or a view from a link, a file or a request."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeGuard

FLOAT_INTEGERS = 2**53  # up to here, floats hold every whole number exactly


class Checks:
    """Checks that raise `error` with one sentence for the reader. `subject` begins the sentence: "The view's step"."""

    def __init__(self, error: type[ValueError]) -> None:
        self.error = error

    def object_with(
        self, value: object, subject: str, required: set[str], allowed: Collection[str] | None = None
    ) -> dict[str, Any]:
        """A dictionary with all required fields and, if `allowed` is given, no fields outside it."""
        if not isinstance(value, dict):
            raise self.error(f"{subject} must be an object; got {short(value)}.")
        if missing := sorted(required - set(value)):
            raise self.error(f"{subject} lacks {', '.join(missing)}.")
        if allowed is not None and (unknown := sorted(map(str, set(value) - set(allowed)))):
            raise self.error(f"{subject} has an unknown field: {short(unknown[0])}.")
        return value

    def whole(self, value: object, subject: str, low: int, high: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(f"{subject} must be a whole number from {low} to {high:,}; got {short(value)}.")
        return value

    def number(self, value: object, subject: str, low: float, high: float) -> float:
        if not is_number(value) or not low <= value <= high:
            raise self.error(f"{subject} must be a number from {low:g} to {high:g}; got {short(value)}.")
        return value

    def text(self, value: object, subject: str, longest: int) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise self.error(f"{subject} must be text of at most {longest} characters; got {short(value)}.")
        return value

    def choice(self, value: object, subject: str, allowed: Collection) -> Any:
        """One of `allowed`: strings, or True and False. (1 equals True, but is not accepted for it.)"""
        if not any(value == choice and type(value) is type(choice) for choice in allowed):
            raise self.error(f"{subject} must be {' or '.join(map(str, allowed))}; got {short(value)}.")
        return value


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_whole(value: object) -> object:
    """25 for 25.0, which is how some browsers send a whole number; anything else as it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= FLOAT_INTEGERS:
        return int(value)
    return value


def short(value: object) -> str:
    """A value as errors quote it, at most 60 characters long."""
    if value is None:
        return "nothing"
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a far larger one"
    return f"{value:g}" if isinstance(value, float) else str(value)[:60]
