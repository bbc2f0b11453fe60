"""Which pictures of a network's batch are recorded, and under which names.

A part of a batch has a name, such as "conditional", only where its order is known: the user says it, or the pipeline
that calls the network does. Otherwise a picture is called "picture i of n". Nothing is guessed from the numbers: two
prompts that start from equal noise look just like a guided batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

from viz.layer import Branch
from viz.recording.pipelines import order_by_caller

# The names of the equal parts of a batch, in order; or a function of the number of pictures, None where unknown.
BranchOrder = Sequence[Branch] | Callable[[int], Sequence[Branch] | None]

GUIDED = ("unconditional", "conditional")  # the order of most of diffusers' pipelines
DEFAULT, ALL = "conditional", "both"


def numbered(picture: int, batch: int) -> Branch:
    """The name of a picture, counted from 0, of a batch whose order is not known."""
    return f"picture {picture + 1} of {batch}"


@dataclass
class PictureChoice:
    """Which pictures of each batch to record; the arguments are those of `viz.record`.

    Raises:
        ValueError: for arguments that contradict each other, or names that no trace can hold.
    """

    branch: Branch = DEFAULT
    guided: bool | None = None
    picture: int = 0
    branch_order: BranchOrder | None = None
    _first: tuple[Branch, ...] = field(default=(), init=False)  # what the first recorded call had

    def __post_init__(self) -> None:
        if self.guided is not None:
            if self.branch_order is not None:
                raise ValueError("pass guided= or branch_order=, not both: each says the order of the batch")
            self.branch_order = GUIDED if self.guided else (DEFAULT,)
        if not isinstance(self.branch, str) or not self.branch:
            raise ValueError(f"branch must be the name of a part of the batch, or 'both', got {self.branch!r}")
        if self.picture < 0:
            raise ValueError(f"picture must be 0 or more, got {self.picture}")
        if self.branch_order is not None and not callable(self.branch_order):
            self.branch_order = check_order(self.branch_order)
            if self.branch not in (ALL, *self.branch_order) and not self.branch.startswith("picture "):
                raise ValueError(f"branch={self.branch!r} is not in the order of the batch, {self.branch_order}")

    def indices(
        self, network: nn.Module, args: tuple, kwargs: dict, batch: int
    ) -> tuple[dict[Branch, int], str | None]:
        """The pictures of one call to record. To be called from within that call, whose callers it looks at.

        A run keeps to the names of its first recorded call; a call that lacks one of them is left out.

        Args:
            args, kwargs: what the network was called with.
            batch: number of pictures in the batch.

        Returns:
            ({branch: index in the batch}, None), or ({}, why this call has nothing to record). Never raises.
        """
        try:
            order = self._order(network, args, kwargs, batch)
        except Exception as error:  # of the user's or a pipeline's own function: no reason to stop the run
            return {}, f"the order of the batch cannot be had: {type(error).__name__}: {error}"
        pictures, reason = pick(order, batch, self.branch, self.picture)
        if pictures and not self._first:
            self._first = tuple(pictures)
        if pictures and tuple(pictures) != self._first:
            before, now = " and ".join(self._first), " and ".join(pictures)
            return {}, f"this call has {now}, where the first recorded one had {before}"
        return pictures, reason

    def _order(self, network: nn.Module, args: tuple, kwargs: dict, batch: int) -> tuple[Branch, ...] | None:
        if self.branch_order is None:
            order: Sequence[Branch] | None = order_by_caller(network, args, kwargs, batch)
        else:
            order = self.branch_order(batch) if callable(self.branch_order) else self.branch_order
        return None if order is None else check_order(order)


def check_order(order: Sequence[Branch]) -> tuple[Branch, ...]:
    """The names of the parts of a batch.

    Raises:
        ValueError: unless they are different and can be part of a tensor's name in a file.
    """
    names = (order,) if isinstance(order, str) else tuple(order)
    right = all(isinstance(name, str) and name and "/" not in name and name != ALL for name in names)
    if not names or not right or len(set(names)) != len(names):
        raise ValueError(f"a batch's order must be different names without '/', none of them 'both', got {names}")
    return names


def pick(
    order: tuple[Branch, ...] | None, batch: int, branch: Branch, picture: int
) -> tuple[dict[Branch, int], str | None]:
    """({branch: index in the batch}, None), or ({}, the reason why there is none).

    Args:
        order: names of the equal parts of the batch, or None. An order that the batch cannot be divided by is not its
            order.
        picture: index within each part.
    """
    numbers = {numbered(index, batch): index for index in range(batch)}
    if branch in numbers:
        return {branch: numbers[branch]}, None
    known = order is not None and batch % len(order) == 0
    available = batch // len(order) if order is not None and known else batch
    if picture >= available:
        each = " for each of " + ", ".join(order) if order is not None and known and len(order) > 1 else ""
        return {}, f"there is no picture {picture}: the batch holds {available}{each}"
    if order is None or not known:
        if branch == DEFAULT:
            return {numbered(picture, batch): picture}, None
        return {}, (
            f"branch={branch!r} needs a batch whose order is known, which this one of {batch} is not: "
            "pass guided= or branch_order="
        )
    pictures = {name: part * available + picture for part, name in enumerate(order)}
    if branch == ALL:  # the conditional one last, for the last branch of a trace is the one that is shown first
        return dict(sorted(pictures.items(), key=lambda entry: entry[0] == DEFAULT)), None
    if branch not in pictures:
        return {}, f"this call has no {branch} picture: its batch is {', '.join(order)}"
    return {branch: pictures[branch]}, None
