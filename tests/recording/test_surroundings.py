"""Following a layer to its source must not keep more of a network's memory than it needs, nor longer."""

from torch.multiprocessing.reductions import StorageWeakRef

from tests.support.faults import DOWN, calls, unet
from viz import record


def memory_at(path: str, layers) -> dict[str, bool]:
    """Which outputs of the parts of a block are still in memory when the part at `path` runs, in a recorded call."""
    network, seen, alive = unet(), {}, {}
    for name in ("norm1", "norm2"):
        network.get_submodule(f"{DOWN}.{name}").register_forward_hook(
            lambda module, args, output, name=name: seen.update({name: StorageWeakRef(output.untyped_storage())})
        )
    network.get_submodule(f"{DOWN}.{path}").register_forward_pre_hook(
        lambda module, args: alive.update({name: not memory.expired() for name, memory in seen.items()})
    )
    with record(network, layers=layers, guided=True) as trace:
        calls(steps=1)(network)
    assert trace.layers and not trace.gaps
    return alive


def test_what_no_layer_waits_for_is_let_go():
    assert memory_at("ff", lambda name: name.endswith("attn1")) == {"norm1": False, "norm2": False}
    assert memory_at("ff", None) == {"norm1": False, "norm2": False}


def test_what_a_later_layer_may_be_made_of_is_kept():
    assert memory_at("attn2", None) == {"norm1": True, "norm2": True}


def test_nothing_is_kept_once_the_last_layer_is_followed():
    network = unet()
    outputs: list[StorageWeakRef] = []
    kept: list[int] = []

    def note(module, args, output):
        outputs.append(StorageWeakRef(output.untyped_storage()))

    for name, module in network.named_modules():
        if "attentions" in name and name.endswith(("norm1", "norm3", "proj_in")):
            module.register_forward_hook(note)
    network.conv_out.register_forward_pre_hook(
        lambda module, args: kept.append(sum(not memory.expired() for memory in outputs))
    )
    with record(network, guided=True):
        calls(steps=1)(network)
    assert len(outputs) > 3 and kept == [0]
