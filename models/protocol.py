"""The part of a diffusers pipeline that this project relies on, whichever model was opened. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from diffusers.models.modeling_utils import ModelMixin


class Pipeline(Protocol):
    """A pipeline with a U-Net. Some also have a `vae` or `vqvae`, an `encoder` or `encode_prompt`.

    One that has `branch_order(pictures)` says which parts the batch of that many pictures that it calls its U-Net with
    consists of: their names in order, such as ("unconditional", "conditional"), or None.
    """

    unet: ModelMixin
    scheduler: Any  # SchedulerMixin declares none of the methods that every scheduler has

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
