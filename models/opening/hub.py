"""Fetching a model from the Hub: inspected first, then only the files that are needed, with progress."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from models.opening.errors import CannotOpen
from models.opening.folders import (
    PICKLES,
    SKIPPED,
    UNETS,
    WHY_NOT_PICKLE,
    WITHOUT_WEIGHTS,
    read_components,
    read_json,
)

# Called with how much is done, 0 to 1 or None where that is unknown, and a few words.
Progress = Callable[[float | None, str], None]
MAX_SETTINGS = 100_000_000  # bytes of files that describe a model
_NULL = open(os.devnull, "w")  # noqa: SIM115  where progress bars print


def fetch(
    name: str, *, revision: str | None = None, progress: Progress | None = None, limit: int | None = None
) -> Path:
    """The folder on this machine that holds a Hub model's files, downloaded if necessary.

    Args:
        limit: bytes that its files may have; by default as many as the disk has room for.

    Raises:
        CannotOpen: for a malformed or wrong id, a gated model, no network, pickled weights, remote code, or files that
            are too large, as the Hub lists them: nothing has been downloaded then but the index.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    report = progress or (lambda done, words: None)
    report(None, f"Asking the Hub for {name}")
    with _explained_errors(name):
        if constants.is_offline_mode():
            return _cached_folder(name, revision)
        try:
            info = HfApi(endpoint=constants.ENDPOINT).model_info(name, revision=revision, files_metadata=True)
        except Exception as error:
            if not _is_network_error(error):
                raise
            try:
                return _cached_folder(name, revision)  # fetched before: no network is needed
            except FileNotFoundError:
                raise error from None
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        source: dict[str, Any] = {"repo_id": name, "revision": revision, "endpoint": constants.ENDPOINT}
        index: list[str] = [path for path in ("model_index.json", "config.json") if path in sizes]
        if not index:
            raise CannotOpen(f"{name} on the Hub has no model_index.json and no config.json: not a diffusers model")
        if (size := sum(sizes[path] for path in index)) > MAX_SETTINGS:
            raise CannotOpen(f"its index has {size / 1e9:.2f} GB, far more than any model's")
        folder = Path(snapshot_download(**source, allow_patterns=index, tqdm_class=_bar_class(None)))
        files = required_files(folder, sizes)
        _check_size(sum(sizes[path] for path in files), folder, limit)
        report(0.0, f"Downloading {sum(sizes[path] for path in files) / 1e9:.2f} GB")
        return Path(snapshot_download(**source, allow_patterns=files, tqdm_class=_bar_class(report)))


def _check_size(size: int, folder: Path, limit: int | None) -> None:
    """Check what a download takes, of which some may be in `folder` already; raises CannotOpen."""
    if limit is not None and size > limit:
        raise CannotOpen(f"its files have {size / 1e9:.2f} GB; the limit here is {limit / 1e9:.2f} GB")
    fetched = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if (free := shutil.disk_usage(folder).free) < size - fetched:
        raise CannotOpen(f"its files have {size / 1e9:.2f} GB, and the disk has room for {free / 1e9:.2f} GB")


def fetch_settings(name: str) -> Path:
    """The folder on this machine that holds a Hub model's settings and tokenizers, without its weights.

    Raises:
        CannotOpen: as `fetch`.
    """
    from huggingface_hub import constants, snapshot_download

    with _explained_errors(name):
        patterns = ["*.json", "*.txt", "*.model"]
        return Path(snapshot_download(name, endpoint=constants.ENDPOINT, allow_patterns=patterns))


def required_files(folder: Path, sizes: dict[str, int]) -> list[str]:
    """The files of a Hub model that opening it needs, given its index in `folder`.

    Args:
        sizes: {path: bytes} of all files of the model on the Hub.

    Raises:
        CannotOpen: when its only weights are pickled, or remote code would have to run.
    """
    if not (folder / "model_index.json").is_file():
        class_name = read_json(folder / "config.json").get("_class_name")
        if class_name not in UNETS:
            content = class_name or "a model that diffusers did not write"
            raise CannotOpen(f"it holds {content}; expected a U-Net or a pipeline")
        return ["config.json", *_weight_files("", sizes)]
    files = ["model_index.json"]
    for name in read_components(read_json(folder / "model_index.json")):
        if name in SKIPPED:
            continue
        inside = [path for path in sizes if path.startswith(f"{name}/") and path.count("/") == 1]
        files += [path for path in inside if path.endswith((".json", ".txt", ".model"))]
        if name not in WITHOUT_WEIGHTS:
            files += _weight_files(f"{name}/", sizes)
    return sorted(set(files))


def _weight_files(folder: str, sizes: dict[str, int]) -> list[str]:
    inside = [path for path in sizes if path.startswith(folder) and "/" not in path[len(folder) :]]
    weights = [path for path in inside if path.endswith(".safetensors")]
    # "x.fp16.safetensors" is a variant of "x.safetensors"; a shard is called "x-00001-of-00002.safetensors".
    plain = [path for path in weights if path[len(folder) :].count(".") == 1]
    if plain:
        return plain + [path for path in inside if path.endswith(".safetensors.index.json")]
    if any(path.endswith(PICKLES) for path in inside):
        raise CannotOpen(f"its {folder.rstrip('/') or 'U-Net'} has no safetensors weights: {WHY_NOT_PICKLE}")
    raise CannotOpen(f"it has no weights for its {folder.rstrip('/') or 'U-Net'}")


def _cached_folder(name: str, revision: str | None) -> Path:
    """Raises LocalEntryNotFoundError, a FileNotFoundError, when the model has not been fetched before."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, local_files_only=True))


def _bar_class(report: Progress | None) -> type[tqdm]:
    """A tqdm class whose bars report bytes to `report` and print nothing."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **(kwargs | {"disable": False, "file": _NULL}))

        def update(self, n: float | None = 1) -> bool | None:
            displayed = super().update(n)
            if report is not None and self.unit == "B" and self.total:
                report(min(1.0, self.n / self.total), f"Downloaded {self.n / 1e9:.2f} of {self.total / 1e9:.2f} GB")
            return displayed

    return Bar


def _is_network_error(error: BaseException | None) -> bool:
    while error is not None:
        # The Hub's library has changed its HTTP client twice; all clients use these names.
        known = type(error).__name__ in ("ConnectError", "ConnectTimeout", "ReadTimeout", "ProxyError", "ReadError")
        if known or isinstance(error, (ConnectionError, TimeoutError)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _explained_errors(name: str) -> Iterator[None]:
    """Turn whatever the Hub's library raises into a CannotOpen of one sentence."""
    try:
        yield
    except Exception as error:
        raise CannotOpen(_explain(error, repr(name))) from error


def _explain(error: Exception, name: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, CannotOpen):
        return f"{name} cannot be opened: {error}"
    if isinstance(error, errors.GatedRepoError):
        return f"{name} is gated: its owner grants access on its page on the Hub; then log in with `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{name} has no such revision on the Hub"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no model {name} on the Hub that you may see; is it spelt right?"
    if isinstance(error, (errors.HFValidationError, errors.HfUriError)):
        return f"{name} is not a folder, a file, or a Hugging Face model ID such as 'google/ddpm-cifar10-32'"
    if isinstance(error, (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)) or _is_network_error(error):
        return f"{name} is not on this machine and the Hub cannot be reached; is there a network?"
    if isinstance(error, json.JSONDecodeError):
        return f"{name}: the Hub's answer cannot be read"
    reason = next(iter(str(error).splitlines()), "no reason given")[:160]
    return f"{name} could not be fetched from the Hub ({type(error).__name__}: {reason})"
