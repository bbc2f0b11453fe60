"""The model that somebody opened on the page: opening it, what a run of it would take, and running it, recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from viz.page.limits import browser_limit, memory_limit, resolve_source
from viz.recipe import MAX_GUIDANCE, MAX_SEED, MAX_STEPS, RecipeError, spread
from viz.recording.budget import amount

if TYPE_CHECKING:  # torch is imported when a model is opened
    from PIL.Image import Image

    from models.sampling.geometry import Geometry
    from models.sampling.order import Order
    from viz.recording.plan import Plan
    from viz.trace import Trace

OnStep = Callable[[int, object], None]
Run = Callable[..., "Trace"]

MAX_PROMPT, MAX_SIDE = 1000, 2048
PHOTO_STEPS = 10


@dataclass(frozen=True)
class Opened:
    """A pipeline, and the name it was asked for by."""

    name: str
    pipeline: object
    samplers: tuple[str, ...]
    prompted: bool
    pictured: bool
    masked: bool
    geometry: Geometry


_opened: Opened | None = None


def opening(
    name: str, upload: str | None, dtype: str, device: str, config: str | None = None
) -> Iterator[str | Opened]:
    """Open a model; yields what happens, in words, and then the opened model. The one before is let go.

    `config` names, as `name` does, the model whose configuration and tokenizer a single file is opened with.

    Raises:
        RecipeError: when it cannot be opened, with the reason.
    """
    from viz.page.runs import opening_lock, stream_thread

    asked, like = resolve_source(name, upload), resolve_source(config, None) if config and config.strip() else None

    def work(say: Callable[[str], None]) -> Opened:
        global _opened
        with opening_lock:
            _opened = None
            _opened = _open(asked, dtype, device, like, say)
            return _opened

    yield from stream_thread(work)


def _open(asked: str | Path, dtype: str, device: str, like: str | Path | None, say: Callable[[str], None]) -> Opened:
    from models import load
    from models.opening.errors import CannotOpen
    from models.opening.load import devices, samplers
    from models.sampling.geometry import geometry_of
    from models.sampling.order import takes

    def progress(done: float | None, words: str) -> None:
        say(words if done is None else f"{words} ({done:.0%})")

    try:
        device = devices()[0] if device == "auto" else device
        pipeline = load(asked, dtype=dtype, device=device, config=like, progress=progress)
    except (CannotOpen, ValueError) as error:
        message = str(error).replace(str(Path(asked).parent) + "/", "") if isinstance(asked, Path) else str(error)
        raise RecipeError(message[0].upper() + message[1:] + ".") from error
    names = takes(pipeline)
    return Opened(
        asked.name if isinstance(asked, Path) else asked,
        pipeline,
        tuple(samplers(pipeline)),
        bool({"prompt", "caption"} & names),
        "image" in names,
        "mask_image" in names,
        geometry_of(pipeline),
    )


def current(name: str | None) -> Opened:
    """The opened model, if it is still the one of that name.

    Raises:
        RecipeError: when it is not.
    """
    if _opened is None or _opened.name != name:
        raise RecipeError("No model is open, or somebody opened another one; open yours again.")
    return _opened


def order_of(opened: Opened, asked: dict) -> Order:
    """An order from what the page's fields hold, checked.

    Raises:
        RecipeError: when a value is out of its range, saying what is expected and what came.
    """
    from models.sampling.order import Order

    words = {"prompt": asked["prompt"] or "", "negative prompt": asked["negative"] or ""}  # None while not shown
    for what, text in words.items():
        if len(text) > MAX_PROMPT:
            raise RecipeError(f"The {what} has {len(text):,} characters; at most {MAX_PROMPT} are read.")
    steps = _whole(asked["steps"], "The number of steps", 1, MAX_STEPS)
    seed = _whole(asked["seed"], "The seed", 0, MAX_SEED)
    size = tuple(_whole(asked[side], f"The {side}", 8, MAX_SIDE) for side in ("height", "width"))
    guidance = asked["guidance"]
    if guidance is not None and not 0 <= guidance <= MAX_GUIDANCE:
        raise RecipeError(f"Guidance must be a number from 0 to {MAX_GUIDANCE:g}; got {guidance:g}.")
    try:
        opened.geometry.sample_size(size)
    except ValueError as error:
        raise RecipeError(str(error)[0].upper() + str(error)[1:] + ".") from error
    return Order(*words.values(), seed, steps, guidance, size)


def _whole(value: float | None, what: str, low: int, high: int) -> int:
    if value is None or not low <= value <= high or value != int(value):
        raise RecipeError(f"{what} must be a whole number from {low} to {high:,}; got {value}.")
    return int(value)


def planned(opened: Opened, order: Order) -> Plan:
    """The plan of all that can be shown of a run: attention among pixels, every call of the network, half precision."""
    import torch

    from models.sampling.order import timesteps
    from viz.recording.plan import plan

    whole = plan(opened.pipeline, steps=len(timesteps(opened.pipeline, order)), size=order.size, dtype=torch.float16)
    shown = [name for name, layer in whole.layers.items() if layer.kind == "self"]
    return whole.of(shown, whole.steps)


def forecast(whole: Plan) -> str:
    """What the run that was planned would take and what of it fits, in a few sentences."""
    most = memory_limit()
    counts = f"{len(whole.layers)} layers × {len(whole.steps)} calls of the network"
    words = f"{amount(whole.total)} ({counts}); a recording may take {amount(most)}."
    if whole.total > most:
        return f"{words} That is too much. {whole.advice(most)}"
    if whole.total > browser_limit():
        words += " More than is sent to a browser: the server answers for it, map by map."
    return words


def calls(opened: Opened, order: Order) -> int:
    """How often the network is called while drawing."""
    from models.sampling.order import timesteps

    return len(timesteps(opened.pipeline, order))


def draw(opened: Opened, order: Order, sampler: str, photo: Path | None, thin: bool, on_step: OnStep) -> Trace:
    """Draw with an opened model, recorded; from a photo where the model starts from one.

    Args:
        thin: where a recording would take more memory than it may, record the steps and layers that fit.

    Raises:
        RecipeError: when it does not fit, with what would, or when the model cannot do what was asked.
        viz.page.uploads.PictureError: for a photo that is no picture.
    """
    from viz.page.uploads import open_picture

    image = open_picture(photo) if photo and opened.pictured else None
    with _plainly(opened, sampler):
        return _draw(opened, replace(order, image=image), thin, on_step)


def look(opened: Opened, order: Order, sampler: str, photo: Path | None, thin: bool, on_step: OnStep) -> Trace:
    """Show an opened model a photo. Raises as `draw`, and RecipeError where there is no photo."""
    from viz.page.uploads import open_picture

    if photo is None:
        raise RecipeError("Upload a photo first.")
    picture = open_picture(photo)
    with _plainly(opened, sampler):
        return _look(opened, order, picture, thin, on_step)


@contextmanager
def _plainly(opened: Opened, sampler: str) -> Iterator[None]:
    """With that sampler; what a model refuses becomes a sentence."""
    from models.opening.load import set_sampler

    try:
        if sampler != type(opened.pipeline.scheduler).__name__:
            set_sampler(opened.pipeline, sampler)
        yield
    except ValueError as error:
        raise RecipeError(str(error)[0].upper() + str(error)[1:].rstrip(".") + ".") from error


def _part(opened: Opened, order: Order, thin: bool):
    """What of a run is recorded.

    Raises:
        viz.recording.plan.OverBudget: when not all of it fits into memory and it is not to be thinned, or nothing fits.
    """
    whole, most = planned(opened, order), memory_limit()
    part = whole.fit(most) if thin else whole
    if not thin or part is None:
        whole.check(most)
    return part


def _draw(opened: Opened, order: Order, thin: bool, on_step: OnStep) -> Trace:
    import numpy as np
    import torch

    from models.sampling import order as drawing
    from viz.recording.recorder import record
    from viz.recording.run import previewer

    part = _part(opened, order, thin)
    preview = previewer(opened.pipeline)
    options = {"layers": list(part.layers), "steps": part.steps, "dtype": torch.float16, "preview": preview}
    with record(opened.pipeline.unet, **options) as trace:
        image = drawing.draw(opened.pipeline, order, lambda step: on_step(step, trace.previews.get(step)))
    trace.picture = np.asarray(image.convert("RGB"))
    trace.recipe = {
        "model": opened.name,
        "caption": order.prompt,
        "negative": order.negative,
        "seed": order.seed,
        "steps": order.steps,
        "guidance": order.guidance,
        "sampler": type(opened.pipeline.scheduler).__name__,
    }
    return trace


def _look(opened: Opened, order: Order, picture: Image, thin: bool, on_step: OnStep) -> Trace:
    import torch

    from viz.recording.photo import look_at

    part = _part(opened, order, thin)
    steps = len(spread(order.steps, len(part.steps)))
    trace = look_at(
        opened.pipeline,
        picture,
        prompt=order.prompt,
        steps=min(steps, PHOTO_STEPS),
        size=order.size,
        seed=order.seed,
        layers=list(part.layers),
        dtype=torch.float16,
        on_step=on_step,
    )
    trace.recipe["model"] = opened.name
    return trace


def masked(opened: Opened, order: Order, mask: Path | None) -> Order:
    """The order, with a mask where there is one and the model takes one. Raises viz.page.uploads.PictureError."""
    from viz.page.uploads import open_picture

    return replace(order, mask=open_picture(mask)) if mask and opened.masked else order


def skipped_words(found: Trace | Plan) -> str:
    """Which attention a trace or a plan lacks, and why; a line each."""
    return "\n".join(f"{name or 'the network'}: {reason}" for name, reason in found.skipped.items())
