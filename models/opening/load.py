"""What can be opened, and opening it: the bundled model, a folder, a single file, or a Hub id."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from models.opening.errors import CannotOpen
from models.opening.folders import components, kind_of, read_json
from models.opening.hub import Progress, fetch
from models.opening.papers import FOLDERS, load_trained
from models.opening.revision import BUNDLED, earlier
from models.opening.revision import revision as current
from models.pipeline import CritterPipeline

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Pipelines that do not scale what their network sees, and what they always tell their scheduler's step.
STEPPED = {
    "DDPMPipeline": {"generator"},
    "DDIMPipeline": {"generator", "eta", "use_clipped_model_output"},
    "CritterPipeline": set(),
}
# diffusers' first U-Nets were saved under other names.
RENAMED = {"UNetUnconditionalModel": "UNet2DModel"}


def load(
    name: str | Path = "critters",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str = torch.float32,
    sampler: str | None = None,
    revision: str | None = None,
    config: str | Path | None = None,
    progress: Progress | None = None,
):
    """Open a diffusion pipeline that has a U-Net.

    Args:
        name: "critters"; one of `models.opening.papers` ("critters-sagan"); a folder with a diffusers pipeline, or
            with a U-Net alone; a Stable Diffusion checkpoint in one .safetensors file; or a Hub id such as
            "google/ddpm-cifar10-32".
        device, dtype: where the networks go and their precision.
        sampler: the name of a scheduler, one of `samplers(pipeline)`.
        revision: of a Hub id; or one of the bundled model's (`models.opening.revision`), by default the latest.
        config: for a single file, where its configuration and tokenizer are; see `models.opening.single_file`.
        progress: called as `f(done, words)`, `done` from 0 to 1 or None, while downloading and loading.

    Raises:
        CannotOpen: (a FileNotFoundError) when it cannot be opened; the message is one sentence that says why.
        ValueError: for a dtype, device or sampler that there is not.

    Only safetensors weights are opened, and no code that comes with a model is run.
    """
    dtype, device = _dtype(dtype), _device(device)
    if str(name) in FOLDERS:
        return load_trained(str(name), device=device, dtype=dtype)
    path = BUNDLED.get(str(name), Path(name).expanduser())
    if path.is_file():
        pipeline = open_file(path, dtype, config, progress)
    else:
        folder = path if path.is_dir() else _from_hub(str(name), revision, progress)
        pipeline = open_folder(folder, dtype, progress)
    if str(name) in BUNDLED and revision not in (None, current(str(name))):
        _go_back(pipeline, str(name), revision)
    pipeline.set_progress_bar_config(disable=True)
    if sampler is not None:
        set_sampler(pipeline, sampler)
    return pipeline.to(device)


def _go_back(pipeline, name: str, revision: str) -> None:
    """Give a bundled pipeline the weights that it had at an earlier revision."""
    known = earlier(name)
    if revision not in known:
        there = ", ".join([current(name), *known])
        raise CannotOpen(f"{name} has no revision {revision[:40]!r} here; there are {there}")
    for full, tensor in load_file(known[revision]).items():
        part, _, rest = full.partition(".")
        getattr(pipeline, part).get_parameter(rest).data.copy_(tensor)


def open_file(path: Path, dtype: torch.dtype, config: str | Path | None, progress: Progress | None):
    from models.opening.single_file import open_single_file

    if progress is not None:
        progress(None, f"Opening {path.name}")
    return open_single_file(path, dtype, config)


def open_folder(folder: Path, dtype: torch.dtype, progress: Progress | None = None):
    """A pipeline from a folder whose files have been looked at.

    Raises:
        CannotOpen: when they are not what they should be.
    """
    kind = kind_of(folder)
    if progress is not None:
        progress(None, "Loading the networks")
    try:
        return _bare_unet(folder, dtype) if kind == "unet" else _pipeline(folder, dtype)
    except CannotOpen:
        raise
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, ImportError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CannotOpen(f"the model in {folder} could not be opened: {reason}") from error


def _pipeline(folder: Path, dtype: torch.dtype):
    index = read_json(folder / "model_index.json")
    # A pipeline of our own opens only through its own class: diffusers looks for it inside diffusers.
    ours = index.get("_class_name") == CritterPipeline.__name__
    opener = CritterPipeline if ours else DiffusionPipeline
    _quieten()
    left_out = {name: None for name in ("safety_checker", "image_encoder") if name in components(index)}
    if "requires_safety_checker" in index:
        left_out["requires_safety_checker"] = False
    return opener.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True, **left_out)


def _quieten() -> None:
    """Progress is told through `progress`; the libraries' own bars would go to the server's console."""
    from diffusers.utils import logging

    logging.disable_progress_bar()
    import transformers  # Stable Diffusion's text encoder

    transformers.utils.logging.disable_progress_bar()


def _bare_unet(folder: Path, dtype: torch.dtype):
    import diffusers

    from models.sampling.bare import bare

    name = read_json(folder / "config.json")["_class_name"]
    unet = getattr(diffusers, RENAMED.get(name, name)).from_pretrained(folder, dtype=dtype, use_safetensors=True)
    return bare(unet.eval())


def _from_hub(name: str, revision: str | None, progress: Progress | None) -> Path:
    try:
        return fetch(name, revision=revision, progress=progress)
    except CannotOpen as error:
        known = ", ".join(map(repr, BUNDLED))
        raise CannotOpen(
            f"{error} (expected {known}, a pipeline's folder with safetensors weights, a checkpoint, or a Hub id)"
        ) from error


def _dtype(dtype: torch.dtype | str) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {str(dtype)[:40]!r}")
    return DTYPES[dtype]


def devices() -> list[str]:
    """The devices that there are here, the fastest first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def _device(device: str | torch.device) -> torch.device:
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"there is no device {str(device)[:40]!r} here; there are {', '.join(devices())}") from error
    if not any(there == str(wanted) or there.split(":")[0] == str(wanted) for there in devices()):
        raise ValueError(f"there is no device {str(device)[:40]!r} here; there are {', '.join(devices())}")
    return wanted


def samplers(pipeline) -> dict[str, type]:
    """{name: class} of the schedulers that this pipeline can draw with, its own first.

    They are those that its own says it is compatible with, that work here, and, where the pipeline does not scale
    what its network sees, that need no scaling.
    """
    own = type(pipeline.scheduler)
    classes = {own.__name__: own}
    for kind in sorted(getattr(pipeline.scheduler, "compatibles", []), key=lambda kind: kind.__name__):
        if _works(kind, pipeline):
            classes.setdefault(kind.__name__, kind)
    return classes


def _works(kind: type, pipeline) -> bool:
    try:
        scheduler = kind.from_config(pipeline.scheduler.config)
        scheduler.set_timesteps(3)
        timestep, sample = scheduler.timesteps[0], torch.ones(1, 1, 2, 2)
        scaled = scheduler.scale_model_input(sample, timestep)
        scheduler.step(torch.zeros_like(sample), timestep, sample)
        if float(scheduler.timesteps.max()) < 2:
            return False  # tells its network the time in other units (EDM's) than this one was trained with
    except Exception:  # a missing package, or a configuration that it cannot follow: not a choice
        return False
    scales = not torch.equal(scaled, sample) or float(scheduler.init_noise_sigma) != 1
    plain = STEPPED.get(type(pipeline).__name__)
    return plain is None or (not scales and plain <= set(inspect.signature(scheduler.step).parameters))


def set_sampler(pipeline, name: str) -> None:
    """Let a pipeline draw with another scheduler, on the same noise schedule.

    Raises:
        ValueError: when it is none of `samplers(pipeline)`.
    """
    choices = samplers(pipeline)
    if name not in choices:
        raise ValueError(f"no sampler {name[:60]!r} fits this pipeline; there are {', '.join(choices)}")
    pipeline.scheduler = choices[name].from_config(pipeline.scheduler.config)
