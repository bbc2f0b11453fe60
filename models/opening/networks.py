"""Loading one network of a model: only if its settings fit its weights, all of which must be there and finite.

Libraries build what config.json describes before they look at the weights, and fill what is missing with random
numbers. A few characters can describe a network of terabytes, so a network is first built without storage, and no
further than its weights go.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin, SchedulerMixin
from torch.nn.modules import module as registration

from models.opening.errors import CannotOpen
from models.opening.folders import SKIPPED, WITHOUT_WEIGHTS, tensor_shapes

# What a network may register for each tensor and number in its files, as some share tensors that files hold once; and
# what it may register beside (position indices).
SHARED, TENSORS, NUMBERS = 2, 1000, 1_000_000
MAX_TIMESTEPS = 1_000_000


def load_networks(folder: Path, components: dict[str, tuple[str, str]], dtype: torch.dtype) -> dict[str, Any]:
    """{component: network} of a pipeline's folder, for those of its components that have weights.

    Args:
        components: as `models.opening.folders.read_components` gives them.

    Raises:
        CannotOpen: as `load_network`, or when a component is not of the kind that its name promises.
    """
    from diffusers.pipelines.pipeline_loading_utils import simple_get_class_obj
    from transformers import PreTrainedModel, PreTrainedTokenizerBase  # slow, and not needed for a single U-Net

    networks: dict[str, Any] = {}
    for name, (library, class_name) in components.items():
        if name in SKIPPED:
            continue
        try:
            kind = simple_get_class_obj(library, class_name)
        except AttributeError as error:
            raise CannotOpen(f"its {name} is a {library}.{class_name[:60]}, which is not known here") from error
        expected: tuple[type, ...] = (ModelMixin, PreTrainedModel)
        if name in WITHOUT_WEIGHTS:
            expected = (SchedulerMixin,) if name == "scheduler" else (PreTrainedTokenizerBase,)
        if not (isinstance(kind, type) and issubclass(kind, expected)):
            raise CannotOpen(
                f"its {name} is a {class_name[:60]}; expected a {' or a '.join(k.__name__ for k in expected)}"
            )
        if name not in WITHOUT_WEIGHTS:
            networks[name] = load_network(folder / name, kind, dtype)
    return networks


def memory_options() -> dict[str, bool]:
    """Options for diffusers' `from_pretrained`, which would otherwise say on the console that accelerate is missing."""
    return {} if find_spec("accelerate") else {"low_cpu_mem_usage": False}


def load_network(folder: Path, kind: type[Any], dtype: torch.dtype) -> Any:
    """The network in a folder.

    Args:
        kind: its class, of diffusers or transformers.

    Raises:
        CannotOpen: when its settings describe more than its weights, or weights are missing or not finite.
    """
    _check_that_settings_fit(folder, kind)
    options = memory_options() if issubclass(kind, ModelMixin) else {}
    network, found = kind.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
    )
    if missing := sorted(found["missing_keys"]):
        total = len(network.state_dict())
        raise CannotOpen(
            f"the weights in {folder} lack {len(missing):,} of {total:,} tensors that config.json describes, such as "
            f"{missing[0]}; download it again"
        )
    check_finite(network, folder.name)
    return network


def check_finite(network: torch.nn.Module, name: str) -> None:
    """Check that every weight is a finite number; raises CannotOpen, naming the first that is not."""
    for tensor_name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.numel() and not all(end.isfinite() for end in tensor.aminmax()):
            raise CannotOpen(f"{tensor_name} of its {name} holds an infinity or a NaN: the weights are damaged")


def _check_that_settings_fit(folder: Path, kind: type[Any]) -> None:
    """Build a network without storage, and stop when it has grown beyond its weights."""
    shapes = [shape for path in sorted(folder.glob("*.safetensors")) for shape in tensor_shapes(path).values()]
    with suppress(NotImplementedError), _limited(shapes), torch.device("meta"):  # a few need storage for being built
        if issubclass(kind, ModelMixin):
            kind.from_config(kind.load_config(folder, local_files_only=True))
        else:
            kind(kind.config_class.from_pretrained(folder, local_files_only=True))


@contextmanager
def _limited(shapes: list[list[int]]) -> Iterator[None]:
    """Let this thread build no network that is far larger than tensors of these shapes.

    Raises:
        CannotOpen: from inside the block, once it grows larger.
    """
    tensors, numbers = TENSORS + SHARED * len(shapes), NUMBERS + SHARED * sum(map(math.prod, shapes))
    thread = threading.get_ident()

    def count(module: torch.nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        nonlocal tensors, numbers
        if threading.get_ident() != thread or tensor is None:
            return
        tensors, numbers = tensors - 1, numbers - tensor.numel()
        if min(tensors, numbers) < 0:
            raise CannotOpen("its config.json describes a network that is far larger than its weights")

    handles = [
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_schedule(config: dict) -> None:
    """Check a scheduler's settings: some of its tensors have a number for each training step."""
    steps = config.get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or not 0 < steps <= MAX_TIMESTEPS:
        raise CannotOpen(f"expected a scheduler of 1 to {MAX_TIMESTEPS:,} training steps, got {str(steps)[:40]}")
