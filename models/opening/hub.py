"""Fetching a model from the Hub: looked at first, then only the files that are needed, with progress."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tqdm.auto import tqdm

from models.opening.errors import CannotOpen
from models.opening.folders import PICKLES, SKIPPED, UNETS, WHY_NOT_PICKLE, WITHOUT_WEIGHTS, components, read_json

# Called with how much is done, 0 to 1 or None where nobody knows, and a few words.
Progress = Callable[[float | None, str], None]


def fetch(name: str, *, revision: str | None = None, progress: Progress | None = None) -> Path:
    """The folder that holds a Hub model's files on this machine, downloaded if need be.

    Raises:
        CannotOpen: for a malformed or wrong id, a gated model, no network, pickled weights, remote code.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    say = progress or (lambda done, words: None)
    say(None, f"Asking the Hub for {name}")
    with _plainly(name):
        if constants.is_offline_mode():
            return _cached(name, revision)
        try:
            info = HfApi(endpoint=constants.ENDPOINT).model_info(name, revision=revision, files_metadata=True)
        except Exception as error:
            if _no_network(error) and (folder := _cached(name, revision, missing_ok=True)) is not None:
                return folder  # opened before: no network is needed
            raise
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        fetch_some = {"repo_id": name, "revision": revision, "endpoint": constants.ENDPOINT}
        index = [path for path in ("model_index.json", "config.json") if path in sizes]
        if not index:
            raise CannotOpen(f"{name} on the Hub has no model_index.json and no config.json: it is no diffusers model")
        folder = Path(snapshot_download(**fetch_some, allow_patterns=index, tqdm_class=_bar(None)))
        wanted = needed(folder, sizes)
        say(0.0, f"Downloading {sum(sizes[path] for path in wanted) / 1e9:.2f} GB")
        return Path(snapshot_download(**fetch_some, allow_patterns=wanted, tqdm_class=_bar(say)))


def needed(folder: Path, sizes: dict[str, int]) -> list[str]:
    """Which of a Hub model's files are needed to open it, given its index in `folder`.

    Raises:
        CannotOpen: when weights are pickled only, or remote code would have to run.
    """
    if not (folder / "model_index.json").is_file():
        kind = read_json(folder / "config.json").get("_class_name")
        if kind not in UNETS:
            raise CannotOpen(
                f"it holds {kind or 'a model that diffusers did not write'}; expected a U-Net or a pipeline"
            )
        return ["config.json", *_weights("", sizes)]
    wanted = ["model_index.json"]
    for name in components(read_json(folder / "model_index.json")):
        if name in SKIPPED:
            continue
        inside = [path for path in sizes if path.startswith(f"{name}/") and path.count("/") == 1]
        wanted += [path for path in inside if path.endswith((".json", ".txt", ".model"))]
        if name not in WITHOUT_WEIGHTS:
            wanted += _weights(f"{name}/", sizes)
    return sorted(set(wanted))


def _weights(folder: str, sizes: dict[str, int]) -> list[str]:
    inside = [path for path in sizes if path.startswith(folder) and "/" not in path[len(folder) :]]
    weights = [path for path in inside if path.endswith(".safetensors")]
    # "x.fp16.safetensors" is a variant of "x.safetensors"; a shard is called "x-00001-of-00002.safetensors".
    plain = [path for path in weights if path[len(folder) :].count(".") == 1]
    if plain:
        return plain + [path for path in inside if path.endswith(".safetensors.index.json")]
    if any(path.endswith(PICKLES) for path in inside):
        raise CannotOpen(f"its {folder.rstrip('/') or 'weights'} come without safetensors: {WHY_NOT_PICKLE}")
    raise CannotOpen(f"it has no weights for its {folder.rstrip('/') or 'U-Net'}")


def _cached(name: str, revision: str | None, missing_ok: bool = False) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        if missing_ok:
            return None
        raise


def _bar(say: Progress | None) -> type[tqdm]:
    """A tqdm that reports bytes to `say` and prints nothing."""

    class Bar(tqdm):
        def __init__(self, *args, **kwargs) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **(kwargs | {"disable": False, "file": _Nowhere()}))

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if say is not None and self.unit == "B" and self.total:
                say(min(1.0, self.n / self.total), f"Downloaded {self.n / 1e9:.2f} of {self.total / 1e9:.2f} GB")
            return shown

    return Bar


class _Nowhere:
    def write(self, text: str) -> None:
        pass

    def flush(self) -> None:
        pass


def _no_network(error: BaseException | None) -> bool:
    while error is not None:
        # The Hub's library has changed its HTTP client twice; they agree on these names.
        named = type(error).__name__ in ("ConnectError", "ConnectTimeout", "ReadTimeout", "ProxyError", "ReadError")
        if named or isinstance(error, (ConnectionError, TimeoutError)):
            return True
        error = error.__cause__ or error.__context__
    return False


class _plainly:
    """Turns what the Hub's library raises into one sentence."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if error is None or not isinstance(error, Exception):
            return
        raise CannotOpen(self.sentence(error)) from error

    def sentence(self, error: Exception) -> str:
        from huggingface_hub import errors

        name = repr(self.name)
        if isinstance(error, CannotOpen):
            return f"{name} cannot be opened: {error}"
        if isinstance(error, errors.GatedRepoError):
            return f"{name} is gated: its owner grants access on its page on the Hub; then log in with `hf auth login`"
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{name} has no such revision on the Hub"
        if isinstance(error, errors.RepositoryNotFoundError):
            return f"there is no model {name} on the Hub that you may see; is it spelt right?"
        if isinstance(error, (errors.HFValidationError, errors.HfUriError)):
            return f"{name} is neither a folder, nor a file, nor a Hub id such as 'google/ddpm-cifar10-32'"
        if isinstance(error, (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)) or _no_network(error):
            return f"{name} is not on this machine and the Hub cannot be reached; is there a network?"
        if isinstance(error, json.JSONDecodeError):
            return f"{name}: the Hub's answer cannot be read"
        return f"{name} could not be fetched from the Hub ({type(error).__name__}: {str(error).splitlines()[0][:160]})"
