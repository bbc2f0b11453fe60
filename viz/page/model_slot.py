"""Where the server keeps the model that a visitor opened. The model itself is in `viz.page.own_model`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from viz.page.interrupt import interruptible_opening
from viz.page.limits import resolve_source
from viz.page.line import Stopped
from viz.page.runs import LOADING, opening_lock, stream_thread
from viz.recipe import RecipeError

if TYPE_CHECKING:
    from viz.page.own_model import OwnModel


class ModelSlot:
    """Room for one open model."""

    def __init__(self) -> None:
        self._model: OwnModel | None = None

    def open_model(
        self,
        name: str,
        upload: str | None,
        dtype: str,
        device: str,
        config: str | None = None,
        stopped: threading.Event | None = None,
    ) -> Iterator[str | OwnModel]:
        """Release the present model and open another; yields messages about its progress, then the model.

        Args:
            name: a model of the models folder, or a Hugging Face model ID.
            upload: a .safetensors file, to be opened instead of `name`.
            config: for a single file, the model (named as `name` is) that has its configuration and tokenizer.
            stopped: once it is set, no model is opened.

        Raises:
            RecipeError: when it cannot be opened, with the reason.
            Stopped: when `stopped` was set before it was open. The thread ends before the next parameter.
        """
        source = resolve_source(name, upload)
        config_source = resolve_source(config) if config and config.strip() else None

        def check() -> None:
            if stopped is not None and stopped.is_set():
                raise Stopped

        def work(report: Callable[[str], None]) -> OwnModel:
            def report_unless_stopped(message: str) -> None:
                check()
                report(message)

            report("Waiting until another model is loaded…" if opening_lock.locked() else LOADING)
            with opening_lock:
                report_unless_stopped(LOADING)
                self._model = None
                # Imported here, under the lock: it loads torch and diffusers, and the page is served without them.
                from viz.page.own_model import open_model

                with interruptible_opening(stopped):
                    model = open_model(source, dtype, device, config_source, report_unless_stopped)
                check()
                self._model = model
                return model

        yield from stream_thread(work, stopped)

    def get(self, name: str | None) -> OwnModel:
        """The open model, provided that it is the one called `name`.

        Raises:
            RecipeError: when it is not.
        """
        if name is None:
            raise RecipeError("No model is open. Open one first.")
        if self._model is None or self._model.name != name:
            raise RecipeError("Your model is no longer loaded (another visitor may have opened one). Open it again.")
        return self._model


SERVER_SLOT = ModelSlot()  # shared by all visitors: opening a model releases the one before
