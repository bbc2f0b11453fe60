"""What is known of the function that calls a network, while it does."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Caller:
    """The function that calls a network.

    Attributes:
        pipeline: the object whose method it is.
        component: the attribute of the pipeline that is the network.
        variables: the function's local variables.
        arguments: what the network is called with, without names.
        batch: number of pictures in the batch.
    """

    pipeline: Any
    component: str
    variables: dict[str, Any]
    arguments: tuple
    batch: int

    def passes(self, variable: str) -> bool:
        """Whether a local variable, itself and no copy of it, is an argument of the call."""
        value = self.variables.get(variable)
        return value is not None and any(value is argument for argument in self.arguments)

    def is_guided(self) -> bool | None:
        """Classifier-free guidance, which pipelines keep in a local variable, a property or both; None if unclear."""
        name = "do_classifier_free_guidance"
        answers = [self.variables[name]] if name in self.variables else []
        with suppress(Exception):  # no such property, or one that reads what this pipeline never sets
            answers.append(getattr(self.pipeline, name))
        return bool(answers[0]) if len({bool(answer) for answer in answers}) == 1 else None

    def agrees(self, order: tuple[str, ...]) -> bool:
        """Whether the batch has one picture of each name for each picture that the pipeline draws."""
        latents: Any = self.variables.get("latents")
        return not hasattr(latents, "ndim") or len(latents) * len(order) == self.batch
