"""Open a model: the bundled one, a folder, a single file, or a Hugging Face model ID."""

from __future__ import annotations

import inspect
from logging import LogRecord
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from models.classic.classifier import AttentionClassifier
from models.opening.errors import CannotOpen
from models.opening.folders import SKIPPED, inspect_folder, read_components, read_json
from models.opening.hub import Progress, fetch, fetch_settings
from models.opening.networks import check_schedule, load_network, load_networks, memory_options
from models.opening.papers import FOLDERS, load_paper_network
from models.opening.revision import BUNDLED, earlier
from models.opening.revision import revision as latest_revision
from models.pipeline import CritterPipeline
from models.protocol import Pipeline

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Pipelines that do not scale their network's input, and the arguments that they always give to their scheduler's step.
STEP_ARGUMENTS: dict[str, set[str]] = {
    "DDPMPipeline": {"generator"},
    "DDIMPipeline": {"generator", "eta", "use_clipped_model_output"},
    "CritterPipeline": set(),
}
RENAMED = {"UNetUnconditionalModel": "UNet2DModel"}  # diffusers' first U-Nets were saved under another name


def load(
    name: str | Path = "critters",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str = torch.float32,
    sampler: str | None = None,
    revision: str | None = None,
    config: str | Path | None = None,
    from_hub: bool = False,
    progress: Progress | None = None,
    download_limit: int | None = None,
) -> Pipeline | AttentionClassifier:
    """Open a diffusion pipeline that has a U-Net.

    Args:
        name: "critters"; one of `models.opening.papers` ("critters-sagan"); a folder with a diffusers pipeline or a
            single U-Net; a Stable Diffusion checkpoint in one .safetensors file; or a Hugging Face model ID such as
            "google/ddpm-cifar10-32".
        device, dtype: where the networks run, and their precision.
        sampler: the name of a scheduler, one of `samplers(pipeline)`.
        revision: of a model on the Hub; or of the bundled model (`models.opening.revision`), by default the latest.
        config: for a single file, where its configuration and tokenizer are; see `models.opening.single_file`.
        from_hub: take `name`, and a `config` that is a str, for IDs of models on the Hub, even if such a path exists.
        progress: called as `f(done, words)` while downloading and loading; `done` is 0 to 1, or None if unknown.
        download_limit: bytes that the files of a model on the Hub may have; by default what the disk has room for.

    Returns:
        A pipeline; for "critters-classifier", which draws nothing, the network itself.

    Raises:
        CannotOpen: (a FileNotFoundError) when it cannot be opened; the message is one sentence that says why.
        ValueError: for an unknown dtype, device or sampler.

    Only safetensors weights are opened, and no code that comes with a model is run.
    """
    dtype, device = _dtype(dtype), _device(device)
    if str(name) in FOLDERS and not from_hub:
        return load_paper_network(str(name), device=device, dtype=dtype)
    is_id = from_hub and isinstance(name, str)
    path = BUNDLED.get(str(name), Path(name).expanduser())
    if path.is_file() and not is_id:
        settings = fetch_settings(config) if from_hub and isinstance(config, str) else config
        pipeline = _open_file(path, dtype, settings, progress)
    else:
        folder = path if path.is_dir() and not is_id else _fetch(str(name), revision, progress, download_limit)
        pipeline = _open_folder(folder, dtype, progress)
    if str(name) in BUNDLED and revision is not None and revision != latest_revision(str(name)):
        _restore(pipeline, str(name), revision)
    pipeline.set_progress_bar_config(disable=True)
    if sampler is not None:
        set_sampler(pipeline, sampler)
    return pipeline.to(device)


def _restore(pipeline: CritterPipeline, name: str, revision: str) -> None:
    """Give a bundled pipeline the weights of an earlier revision."""
    differences = earlier(name)
    if revision not in differences:
        known = ", ".join([latest_revision(name), *differences])
        raise CannotOpen(f"{name} has no revision {revision[:40]!r} here; there are {known}")
    for full_name, tensor in load_file(differences[revision]).items():
        part, _, parameter = full_name.partition(".")
        getattr(pipeline, part).get_parameter(parameter).data.copy_(tensor)


def _open_file(path: Path, dtype: torch.dtype, config: str | Path | None, progress: Progress | None) -> Any:
    from models.opening.single_file import open_single_file

    if progress is not None:
        progress(None, f"Opening {path.name}")
    return open_single_file(path, dtype, config)


def _open_folder(folder: Path, dtype: torch.dtype, progress: Progress | None = None) -> Any:
    """A pipeline from a folder, once its files have been inspected.

    Raises:
        CannotOpen: when they are not what they should be.
    """
    content = inspect_folder(folder)
    if progress is not None:
        progress(None, "Loading the networks")
    try:
        return _load_unet(folder, dtype) if content == "unet" else _load_pipeline(folder, dtype)
    except CannotOpen:
        raise
    except Exception as error:  # whatever the libraries raise when settings make no sense
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CannotOpen(f"the model in {folder} could not be opened: {reason}") from error


def _load_pipeline(folder: Path, dtype: torch.dtype) -> DiffusionPipeline:
    index = read_json(folder / "model_index.json")
    # Our own pipeline opens only through its own class: DiffusionPipeline looks for the name inside diffusers.
    opener = CritterPipeline if index.get("_class_name") == CritterPipeline.__name__ else DiffusionPipeline
    _silence_libraries()
    components = read_components(index)
    parts: dict[str, Any] = {name: None for name in SKIPPED if name in components}
    if "requires_safety_checker" in index:
        parts["requires_safety_checker"] = False
    if (folder / "scheduler").is_dir():
        check_schedule(read_json(folder / "scheduler" / "scheduler_config.json"))
    parts |= load_networks(folder, components, dtype) | memory_options()
    return opener.from_pretrained(folder, dtype=dtype, use_safetensors=True, local_files_only=True, **parts)


def _silence_libraries() -> None:
    """Turn off what the libraries write to the server's console.

    That is progress bars, as `progress` reports, and that torchvision is missing, which nothing here needs.
    """
    import transformers  # of Stable Diffusion's text encoder; slow to import, and not needed for a single U-Net
    from diffusers.utils import logging

    logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    for handler in transformers.utils.logging.get_logger("transformers").handlers:
        handler.addFilter(_is_news)


def _is_news(record: LogRecord) -> bool:
    return "requires torchvision" not in record.getMessage()


def _load_unet(folder: Path, dtype: torch.dtype) -> Pipeline:
    import diffusers

    from models.sampling.bare import wrap_unet

    class_name = read_json(folder / "config.json")["_class_name"]
    opener = getattr(diffusers, RENAMED.get(class_name, class_name))
    return wrap_unet(load_network(folder, opener, dtype).eval())


def _fetch(name: str, revision: str | None, progress: Progress | None, limit: int | None) -> Path:
    try:
        return fetch(name, revision=revision, progress=progress, limit=limit)
    except CannotOpen as error:
        known = ", ".join(map(repr, BUNDLED))
        raise CannotOpen(
            f"{error} (expected {known}, a pipeline's folder with safetensors weights, a checkpoint, "
            "or a Hugging Face model ID)"
        ) from error


def _dtype(dtype: torch.dtype | str) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {str(dtype)[:40]!r}")
    return DTYPES[dtype]


def devices() -> list[str]:
    """The devices of this machine, the fastest first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def _device(device: str | torch.device) -> torch.device:
    message = f"there is no device {str(device)[:40]!r} here; there are {', '.join(devices())}"
    try:
        requested = torch.device(device)
    except RuntimeError as error:
        raise ValueError(message) from error
    if not any(name == str(requested) or name.split(":")[0] == str(requested) for name in devices()):
        raise ValueError(message)
    return requested


def samplers(pipeline: Pipeline) -> dict[str, Any]:
    """{name: class} of the schedulers that a pipeline can draw with, its own first.

    They are the ones that its own scheduler calls compatible and that work here. Where the pipeline does not scale
    its network's input, schedulers that need scaling are left out.
    """
    return {name: kind for name, kind in _candidates(pipeline).items() if _fits(kind, pipeline)}


def _candidates(pipeline: Pipeline) -> dict[str, Any]:
    """{name: class} of a pipeline's own scheduler, then of those that it calls compatible, by name."""
    own = type(pipeline.scheduler)
    others = {kind.__name__: kind for kind in getattr(pipeline.scheduler, "compatibles", [])}
    return {own.__name__: own} | {name: others[name] for name in sorted(others.keys() - {own.__name__})}


def _fits(scheduler_class: Any, pipeline: Pipeline) -> bool:
    return scheduler_class is type(pipeline.scheduler) or _can_sample(scheduler_class, pipeline)


def _can_sample(scheduler_class: Any, pipeline: Pipeline) -> bool:
    try:
        scheduler = scheduler_class.from_config(pipeline.scheduler.config)
        scheduler.set_timesteps(3)
        timestep, sample = scheduler.timesteps[0], torch.ones(1, 1, 2, 2)
        scaled = scheduler.scale_model_input(sample, timestep)
        scheduler.step(torch.zeros_like(sample), timestep, sample)
        if float(scheduler.timesteps.max()) < 2:
            return False  # gives its network timesteps in other units (EDM's) than this one was trained with
    except Exception:  # a package is missing, or the scheduler cannot work with this configuration
        return False
    scales = not torch.equal(scaled, sample) or float(scheduler.init_noise_sigma) != 1
    arguments = STEP_ARGUMENTS.get(type(pipeline).__name__)
    return arguments is None or (not scales and arguments <= set(inspect.signature(scheduler.step).parameters))


def set_sampler(pipeline: Pipeline, name: str) -> None:
    """Let a pipeline draw with another scheduler, on the same noise schedule.

    Raises:
        ValueError: when it is none of `samplers(pipeline)`.
    """
    # Trying out one scheduler takes up to a tenth of a second, so the others are tried only for the message.
    kind = _candidates(pipeline).get(name)
    if kind is None or not _fits(kind, pipeline):
        raise ValueError(f"no sampler {name[:60]!r} fits this pipeline; there are {', '.join(samplers(pipeline))}")
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
