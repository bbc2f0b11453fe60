"""Looking at a model's files before anything opens them: are they whole, safe, and a diffusion U-Net's?"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from models.opening.errors import CannotOpen

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
WHY_NOT_PICKLE = (
    "pickled weights can run any program when they are opened, so only .safetensors are; "
    "convert them with save_pretrained(…, safe_serialization=True) on a machine that may run them"
)
OUR_LIBRARY = "models.words"  # where the bundled pipeline's own component comes from
LIBRARIES = ("diffusers", "transformers", OUR_LIBRARY)
UNETS = ("UNet2DModel", "UNet2DConditionModel", "UNetUnconditionalModel")
MAX_HEADER = 100_000_000  # the safetensors format's own limit
SKIPPED = ("safety_checker", "feature_extractor", "image_encoder")  # may be missing: nothing here needs them
WITHOUT_WEIGHTS = ("scheduler", "tokenizer", "tokenizer_2", *SKIPPED)


def read_json(path: Path) -> dict:
    """A JSON object from a file.

    Raises:
        CannotOpen: when there is none, or it is something else.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CannotOpen(
            f"{path.name} in {path.parent} cannot be read ({error}); was the download cut short?"
        ) from error
    if not isinstance(found, dict):
        raise CannotOpen(f"{path.name} in {path.parent} should hold a JSON object, not {type(found).__name__}")
    return found


def kind_of(folder: Path) -> str:
    """What a folder holds: "pipeline" or "unet"; everything in it has been looked at.

    Raises:
        CannotOpen: when it is neither, is not whole, or could only be opened by running what came with it.
    """
    if (folder / "model_index.json").is_file():
        check_pipeline(folder)
        return "pipeline"
    if (folder / "config.json").is_file():
        name = read_json(folder / "config.json").get("_class_name")
        if name not in UNETS:
            held = name or "a model that diffusers did not write"
            raise CannotOpen(f"expected a U-Net ({' or '.join(UNETS[:2])}) in {folder}, found {held}")
        check_weights(folder)
        return "unet"
    raise CannotOpen(
        f"expected a diffusers pipeline in {folder}, found no model_index.json there, nor a U-Net's config.json"
    )


def components(index: dict) -> dict[str, tuple[str, str]]:
    """{component: (library, class)} of a model_index.json; those that are null are left out.

    Raises:
        CannotOpen: when code that comes with the model would have to run, or there is no U-Net.
    """
    if isinstance(index.get("_class_name"), list):
        raise CannotOpen(
            f"its pipeline is code that comes with the model ({index['_class_name'][0]}), which is never run"
        )
    found = {}
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or len(entry) != 2 or None in entry:
            continue
        library, kind = map(str, entry)
        if library not in LIBRARIES and library not in _pipelines():
            raise CannotOpen(f"its {name} is code that comes with the model ({library}.{kind}), which is never run")
        found[name] = (library, kind)
    if "unet" not in found:
        raise CannotOpen(f"{index.get('_class_name')} has no U-Net; it has {', '.join(sorted(found)) or 'nothing'}")
    return found


def _pipelines() -> set[str]:
    """Folders of diffusers' own pipelines, which old models name as a library ("stable_diffusion")."""
    from diffusers import pipelines

    root = Path(pipelines.__file__).parent
    return {path.name for path in (*root.iterdir(), *(root / "deprecated").iterdir()) if path.is_dir()}


def check_pipeline(folder: Path) -> None:
    """Every component that a pipeline's index names is there and whole.

    Raises:
        CannotOpen: naming the first that is not.
    """
    for name in components(read_json(folder / "model_index.json")):
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
    """One model's weights are there, whole, and safe to open.

    Raises:
        CannotOpen: when they are pickled, missing, or cut short.
    """
    weights = sorted(folder.glob("*.safetensors"))
    indices = list(folder.glob("*.safetensors.index.json"))
    if not weights:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickled:
            raise CannotOpen(f"found {pickled[0]} in {folder} and no safetensors weights: {WHY_NOT_PICKLE}")
        raise CannotOpen(f"{folder} holds no safetensors weights; was the download cut short?")
    for index in indices:
        shards = set(read_json(index).get("weight_map", {}).values())
        missing = sorted(shard for shard in shards if not (folder / Path(str(shard)).name).is_file())
        if missing:
            raise CannotOpen(f"{folder} is not whole: {missing[0]} is missing; download it again")
    for path in weights:
        header(path)


def header(path: Path) -> dict:
    """The header of a safetensors file, {tensor: {dtype, shape, data_offsets}}, with the file's length checked.

    Raises:
        CannotOpen: when the file is not safetensors, or is cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(MAX_HEADER, size - 8):
            raise CannotOpen(f"{path.name} is not a whole safetensors file; was the download cut short?")
        try:
            found = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in found.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise CannotOpen(f"{path.name} is not a safetensors file ({type(error).__name__} in its header)") from error
    if size != 8 + length + max(ends, default=0):
        raise CannotOpen(
            f"{path.name} has {size:,} bytes where its header promises {8 + length + max(ends, default=0):,}; "
            "download it again"
        )
    return found
