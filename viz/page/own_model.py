"""A visitor's own model: opening it, planning a run, and running it, recorded. Imported once a model is opened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from models import load
from models.opening.errors import CannotOpen
from models.opening.folders import tensor_shapes
from models.opening.load import DTYPES, devices, samplers, set_sampler
from models.protocol import Pipeline
from models.sampling import order as sampling
from models.sampling.geometry import Geometry, geometry_of
from models.sampling.order import Order
from viz.page import public
from viz.page.forecast import PHOTO_STEPS
from viz.page.limits import download_limit, memory_limit
from viz.page.notices import as_sentence, without_folders
from viz.page.runs import OnStep
from viz.page.uploads import open_picture
from viz.page.zero import is_present
from viz.recipe import MAX_GUIDANCE, MAX_SEED, MAX_STEPS, RecipeError, spread
from viz.recording.budget import free_memory
from viz.recording.orders import UNCONDITIONAL_FIRST
from viz.recording.photo import look_at
from viz.recording.plan import Plan, plan
from viz.recording.recorder import record
from viz.recording.run import previewer
from viz.trace import Trace

MAX_PROMPT, MAX_SIDE = 1000, 2048

# Operations of one attention in one call: some 40 seconds for two cores, and for a GPU.
MOST_WORK = {"cpu": 2e12, "other": 1e15}


def open_model(
    source: str | Path,
    dtype: str,
    device: str,
    config: str | Path | None = None,
    report: Callable[[str], None] = lambda message: None,
) -> OwnModel:
    """Open a model from a path or a Hugging Face model ID, reporting the progress.

    Args:
        device: such as `exact_device` gives.
        config: the model with the configuration and tokenizer of a single file.

    Raises:
        RecipeError: when it cannot be opened, with the reason; paths of the server are left out.
    """

    def progress(done: float | None, message: str) -> None:
        report(message if done is None else f"{message} ({done:.0%})")

    try:
        pipeline = load(
            source,
            dtype=dtype,
            device=device,
            config=config,
            from_hub=True,
            progress=progress,
            download_limit=download_limit(),
        )
    except (CannotOpen, ValueError) as error:
        raise RecipeError(without_folders(as_sentence(error))) from error
    arguments = sampling.call_parameters(pipeline)
    return OwnModel(
        source.name if isinstance(source, Path) else source,
        pipeline,
        tuple(samplers(pipeline)),
        takes_prompt=not arguments.isdisjoint({"prompt", "caption"}),
        takes_image="image" in arguments,
        takes_mask="mask_image" in arguments,
        has_halves=_has_halves(pipeline),
        geometry=geometry_of(pipeline),
    )


def exact_device(device: str) -> str:
    """The name of one device: the fastest here for "auto", the first one of a kind such as "cuda"."""
    if is_present():
        return "cpu"  # from which it is moved to the GPU that a run is lent
    if device == "auto":
        return devices()[0]
    return "cuda:0" if device == "cuda" else device


def free_bytes(device: str) -> int:
    """Bytes of memory that are free on a device, or on this machine if the device is unknown."""
    if device.startswith("cuda"):
        with suppress(RuntimeError, ValueError, AssertionError):  # there is none of that name
            return torch.cuda.mem_get_info(device)[0]
    return free_memory()


def expected_bytes(source: Path, dtype: str) -> int:
    """Bytes that a model's weights will take once they are loaded, by their headers; 0 if these cannot be read."""
    itemsize = DTYPES.get(dtype, torch.float32).itemsize
    paths = [source] if source.is_file() else source.rglob("*.safetensors")
    with suppress(CannotOpen, OSError):  # opening will say so
        shapes = [shape for path in paths if _is_plain(path) for shape in tensor_shapes(path).values()]
        return itemsize * sum(map(math.prod, shapes))
    return 0


def _is_plain(path: Path) -> bool:
    """Whether a file of weights is loaded: "x.fp16.safetensors" is a variant of "x.safetensors"."""
    return path.name.count(".") == 1 or not path.with_name(f"{path.name.split('.')[0]}.safetensors").exists()


def _has_halves(pipeline: Pipeline) -> bool:
    """Whether its guided batches are known to have two halves, the unconditional and the conditional one."""
    if callable(getattr(pipeline, "branch_order", None)):
        return True
    call = type(pipeline).__call__
    name = call.__qualname__.removesuffix("Pipeline.__call__")
    return call.__module__.startswith("diffusers.") and name in UNCONDITIONAL_FIRST.split()


@dataclass(frozen=True, eq=False)
class OwnModel:
    """An open pipeline.

    Attributes:
        name: as the visitor entered it.
        samplers: names of the schedulers that fit it, its own first.
        has_halves: whether both halves of guidance can be recorded.
    """

    name: str
    pipeline: Pipeline
    samplers: tuple[str, ...]
    takes_prompt: bool
    takes_image: bool
    takes_mask: bool
    has_halves: bool
    geometry: Geometry

    @property
    def size(self) -> int:
        """Bytes of all its weights."""
        parts = vars(self.pipeline).values()
        networks = [part for part in parts if isinstance(part, torch.nn.Module)]
        return sum(tensor.nbytes for network in networks for tensor in (*network.parameters(), *network.buffers()))

    @property
    def description(self) -> str:
        """Its class, size and device, in one sentence."""
        height, width = self.geometry.own_size
        unet = self.pipeline.unet
        dtype = str(unet.dtype).removeprefix("torch.")
        kind = type(self.pipeline).__name__
        return f"{self.name} is open: {kind}, {width}×{height} pixels, {dtype}, on {unet.device}."

    def build_order(
        self,
        *,
        prompt: str | None,
        negative: str | None,
        seed: float | None,
        steps: float | None,
        guidance: float | None,
        height: float | None,
        width: float | None,
        mask: Path | None = None,
    ) -> Order:
        """An order from the values of the page's fields, checked. Fields that are hidden or empty hold None.

        Raises:
            RecipeError: when a value is out of range, saying what was expected and what was given.
            viz.page.uploads.PictureError: when the mask is not an image.
        """
        for label, text in {"prompt": prompt, "negative prompt": negative}.items():
            if text and len(text) > MAX_PROMPT:
                raise RecipeError(f"The {label} has {len(text):,} characters; the limit is {MAX_PROMPT:,}.")
        if guidance is not None and not 0 <= guidance <= MAX_GUIDANCE:
            raise RecipeError(f"Guidance must be a number from 0 to {MAX_GUIDANCE:g}; got {guidance:g}.")
        caps = public.caps()
        most_steps, most_side = (caps.steps, caps.side) if caps else (MAX_STEPS, MAX_SIDE)
        order = Order(
            prompt or "",
            negative or "",
            _check_whole(seed, "The seed", 0, MAX_SEED),
            _check_whole(steps, "The number of steps", 1, most_steps),
            guidance,
            (_check_whole(height, "The height", 8, most_side), _check_whole(width, "The width", 8, most_side)),
            mask=open_picture(mask) if mask and self.takes_mask else None,
        )
        try:
            self.geometry.sample_size(order.size)
        except ValueError as error:
            raise RecipeError(as_sentence(error)) from error
        return order

    def count_calls(self, order: Order) -> int:
        """How often the network is called while drawing."""
        return len(sampling.timesteps(self.pipeline, order))

    def plan_run(self, order: Order, both: bool = False) -> Plan:
        """The plan of everything the page shows: every layer in half precision, at every call of the network.

        Args:
            both: with both halves of guidance, if the run is guided.
        """
        branches = 2 if self._splits(order, both) else 1
        calls = self.count_calls(order)
        return plan(self.pipeline, steps=calls, size=order.size, branches=branches, dtype=torch.float16)

    def _splits(self, order: Order, both: bool) -> bool:
        """Whether a run has two halves to record."""
        return both and self.has_halves and (order.guidance or 0) > 1

    def draw(
        self, order: Order, sampler: str, photo: Path | None, thin: bool, on_step: OnStep, *, both: bool = False
    ) -> Trace:
        """Draw and record; a model that takes an image starts from `photo`.

        Args:
            both: record both halves of guidance, if the run is guided.
            thin: if the recording exceeds the memory limit, record the steps and layers that fit.

        Raises:
            RecipeError: when it does not fit, saying what would, or when the model cannot draw this order.
            viz.page.uploads.PictureError: when the photo is not an image.
        """
        image = open_picture(photo) if photo and self.takes_image else None
        with self.use_sampler(sampler):
            return self._draw(replace(order, image=image), thin, on_step, both)

    def _draw(self, order: Order, thin: bool, on_step: OnStep, both: bool) -> Trace:
        part = self._fit(order, thin, both)
        with record(
            self.pipeline.unet,
            layers=list(part.layers),
            steps=part.steps,
            branch="both" if self._splits(order, both) else "conditional",
            dtype=torch.float16,
            preview=previewer(self.pipeline),
        ) as trace:
            image = sampling.draw_picture(self.pipeline, order, lambda step: on_step(step, trace.previews.get(step)))
        trace.picture = np.asarray(image.convert("RGB"))
        trace.recipe = {
            "model": self.name,
            "caption": order.prompt,
            "negative": order.negative,
            "seed": order.seed,
            "steps": order.steps,
            "guidance": order.guidance if "guidance_scale" in sampling.call_parameters(self.pipeline) else None,
            "sampler": type(self.pipeline.scheduler).__name__,
        }
        return trace

    def record_photo(self, order: Order, sampler: str, photo: Path | None, thin: bool, on_step: OnStep) -> Trace:
        """Record the network's attention to a photo at several noise levels; nothing is drawn.

        Raises: as `draw`, and RecipeError when there is no photo.
        """
        if photo is None:
            raise RecipeError("Upload a photo first.")
        picture = open_picture(photo)
        with self.use_sampler(sampler):
            part = self._fit(order, thin)
            trace = look_at(
                self.pipeline,
                picture,
                prompt=order.prompt,
                steps=min(len(spread(order.steps, len(part.steps))), PHOTO_STEPS),
                size=order.size,
                seed=order.seed,
                layers=list(part.layers),
                dtype=torch.float16,
                on_step=on_step,
            )
        trace.recipe["model"] = self.name
        return trace

    @contextmanager
    def use_sampler(self, name: str) -> Iterator[None]:
        """Set the sampler, and turn any ValueError of the run into a sentence."""
        try:
            if name != type(self.pipeline.scheduler).__name__:
                set_sampler(self.pipeline, name)
            yield
        except ValueError as error:
            raise RecipeError(as_sentence(error)) from error

    def _fit(self, order: Order, thin: bool, both: bool = False) -> Plan:
        """What to record of a run.

        Raises:
            viz.recording.plan.OverBudget: when it exceeds the memory limit and must not be thinned, or nothing fits.
            RecipeError: when one layer would compute for so long that it could not be stopped.
        """
        whole, limit = self.plan_run(order, both), memory_limit()
        self._check_time(whole, order)
        if thin and (part := whole.fit(limit)) is not None:
            return part
        whole.check(limit)
        return whole

    def _check_time(self, whole: Plan, order: Order) -> None:
        """Runs end between layers, so a single one must not take minutes."""
        limit = MOST_WORK["cpu" if self.pipeline.unet.device.type == "cpu" else "other"]
        for layer in whole.layers.values():
            if 4 * layer.query_count * layer.key_count * layer.heads * layer.head_dim > limit:
                size = "×".join(map(str, (order.size or ())[::-1]))
                raise RecipeError(
                    f"At {size} pixels, the layer “{layer.name}” compares {layer.query_count:,} cells with "
                    f"{layer.key_count:,}, which would take minutes here. Choose a smaller size."
                )


def _check_whole(value: float | None, label: str, low: int, high: int) -> int:
    if value is None or not low <= value <= high or value != int(value):
        problem = "it is empty" if value is None else f"got {value:,}"
        raise RecipeError(f"{label} must be a whole number from {low} to {high:,}; {problem}.")
    return int(value)
