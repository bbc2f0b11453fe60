"""Inspecting a model's files before anything opens them: are they whole, safe, and those of a diffusion U-Net?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from models.opening.errors import CannotOpen

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
WHY_NOT_PICKLE = (
    "pickled weights can run any program when they are opened, so only .safetensors files are opened; "
    "convert them with save_pretrained(…, safe_serialization=True) on a machine where that risk is acceptable"
)
OUR_LIBRARY = "models.words"  # named in the bundled pipelines' model_index.json
LIBRARIES = ("diffusers", "transformers", OUR_LIBRARY)
UNETS = ("UNet2DModel", "UNet2DConditionModel", "UNetUnconditionalModel")
SKIPPED = ("safety_checker", "feature_extractor", "image_encoder")  # may be missing: nothing here needs them
MAX_JSON = 10_000_000  # bytes; the index of the largest model's shards has a tenth of that
WITHOUT_WEIGHTS = ("scheduler", "tokenizer", "tokenizer_2", *SKIPPED)


def read_json(path: Path) -> dict:
    """A JSON object from a file.

    Raises:
        CannotOpen: when the file is missing, cut short, or holds something else.
    """
    try:
        if path.stat().st_size > MAX_JSON:
            raise ValueError(f"it has {path.stat().st_size:,} bytes; the limit is {MAX_JSON:,}")
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CannotOpen(
            f"{path.name} in {path.parent} cannot be read ({error}); was the download interrupted?"
        ) from error
    if not isinstance(content, dict):
        raise CannotOpen(f"{path.name} in {path.parent} should hold a JSON object, not {type(content).__name__}")
    return content


def inspect_folder(folder: Path) -> Literal["pipeline", "unet"]:
    """Check every file that opening a folder would read, and tell what the folder holds.

    Raises:
        CannotOpen: when it holds neither, is not whole, or could only be opened by running code that came with it.
    """
    if (folder / "model_index.json").is_file():
        check_pipeline(folder)
        return "pipeline"
    if (folder / "config.json").is_file():
        class_name = read_json(folder / "config.json").get("_class_name")
        if class_name not in UNETS:
            content = class_name or "a model that diffusers did not write"
            raise CannotOpen(f"expected a U-Net ({' or '.join(UNETS[:2])}) in {folder}, found {content}")
        check_weights(folder)
        return "unet"
    raise CannotOpen(
        f"expected a diffusers pipeline in {folder}, found no model_index.json there, nor a U-Net's config.json"
    )


def read_components(index: dict) -> dict[str, tuple[str, str]]:
    """{component: (library, class)} from the content of a model_index.json, without those that are null.

    Raises:
        CannotOpen: when code that comes with the model would have to run, or when the pipeline has no U-Net.
    """
    if isinstance(index.get("_class_name"), list):
        raise CannotOpen(
            f"its pipeline is code that comes with the model ({index['_class_name'][0]}), which is never run"
        )
    components = {}
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or len(entry) != 2 or None in entry:
            continue
        library, class_name = map(str, entry)
        if library not in LIBRARIES and library not in _pipeline_modules():
            raise CannotOpen(
                f"its {name} is code that comes with the model ({library}.{class_name}), which is never run"
            )
        components[name] = (library, class_name)
    if "unet" not in components:
        parts = f" Its parts are: {', '.join(sorted(components))}." if components else ""
        raise CannotOpen(f"{index.get('_class_name')} has no U-Net, so it can't be recorded.{parts}")
    return components


def _pipeline_modules() -> set[str]:
    """The folders of diffusers' own pipelines, which old models name as a library ("stable_diffusion")."""
    from diffusers import pipelines

    root = Path(pipelines.__file__).parent
    return {path.name for path in (*root.iterdir(), *(root / "deprecated").iterdir()) if path.is_dir()}


def check_pipeline(folder: Path) -> None:
    """Check that every component that a pipeline's index names is there and whole.

    Raises:
        CannotOpen: naming the first one that is not.
    """
    for name in read_components(read_json(folder / "model_index.json")):
        part = folder / name
        if name in SKIPPED:
            continue
        if not part.is_dir() or not any(part.iterdir()):
            raise CannotOpen(f"{folder} is not whole: its {name} is missing; download it again")
        if name not in WITHOUT_WEIGHTS:
            if not (part / "config.json").is_file():
                raise CannotOpen(f"{folder} is not whole: {name}/config.json is missing; download it again")
            check_weights(part)


def check_weights(folder: Path) -> None:
    """Check that one network's weights are there, whole, and safe to open.

    Raises:
        CannotOpen: when they are pickled, missing, or cut short.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickled:
            raise CannotOpen(f"found {pickled[0]} in {folder} and no safetensors weights: {WHY_NOT_PICKLE}")
        raise CannotOpen(f"{folder} holds no safetensors weights; was the download interrupted?")
    for index in folder.glob("*.safetensors.index.json"):
        _check_shards(folder, read_json(index).get("weight_map"))
    for path in weights:
        tensor_shapes(path)


def _check_shards(folder: Path, weight_map: object) -> None:
    """Check that an index names safetensors files in its own folder, and that they are there."""
    if not isinstance(weight_map, dict):
        raise CannotOpen(f"the index of the weights in {folder} has no weight_map; download it again")
    for shard in sorted({str(name) for name in weight_map.values()}):
        if not shard.endswith(".safetensors") or Path(shard).name != shard:
            raise CannotOpen(f"the index in {folder} names {shard[:100]!r} as weights: {WHY_NOT_PICKLE}")
        if not (folder / shard).is_file():
            raise CannotOpen(f"{folder} is not whole: {shard[:100]} is missing; download it again")


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """{tensor: shape} from the header of a safetensors file; the library checks that the header fits the file.

    Raises:
        CannotOpen: when the file is not safetensors, or is cut short.
    """
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ")[:160]
        raise CannotOpen(f"{path.name} isn't a complete .safetensors file ({reason}); download it again") from error
