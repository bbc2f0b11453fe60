"""`record(into=…)`: Q and K go to the disk as they come, and a file is whole or not there."""

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from safetensors import safe_open
from safetensors.torch import load_file

from viz import record
from viz.recording import spool
from viz.trace import Trace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def network():
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    return UNet2DModel(16, block_out_channels=(8, 16), attention_head_dim=8, norm_num_groups=4, **blocks).eval()


@torch.no_grad()
def call(network, steps):
    for step in range(steps):
        network(torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(step)), 900 - step)


@pytest.fixture(params=["written anew", "written once"])
def way(request, monkeypatch):
    """Both ways to a file; a trace of this size is written anew."""
    if request.param == "written once":
        monkeypatch.setattr(spool, "SMALL", 0)
        monkeypatch.setattr(Trace, "save", lambda *_: pytest.fail("it was written again"))
    return request.param


def test_record_into_a_file_keeps_what_record_keeps(network, tmp_path, way):
    with record(network) as in_memory:
        call(network, 3)
    with record(network, into=tmp_path / "run.safetensors") as trace:
        call(network, 3)
        trace.recipe = {"caption": "a run"}
    loaded = Trace.load(tmp_path / "run.safetensors")
    for other in (trace, loaded):
        assert other.queries.keys() == in_memory.queries.keys() and other.proved == in_memory.proved
        for store in ("queries", "keys"):
            assert all(torch.equal(getattr(other, store)[key], t) for key, t in getattr(in_memory, store).items())
    assert loaded.recipe == {"caption": "a run"} and loaded.layers == in_memory.layers
    assert os.listdir(tmp_path) == ["run.safetensors"]
    assert (tmp_path / "run.safetensors").stat().st_mode & 0o777 == 0o644


def test_file_written_once_is_one_for_any_reader(network, tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "SMALL", 0)
    path = tmp_path / "run.safetensors"
    path.write_text("old")
    with record(network, into=path, dtype=torch.float16) as trace:
        call(network, 3)
        trace.picture = np.full((5, 7, 3), 9, np.uint8)
    tensors = load_file(path)
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert 8 + length == spool.ROOM
    assert path.stat().st_size == spool.ROOM + sum(tensor.nbytes for tensor in tensors.values())
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["trace"])["timesteps"] == [[0, 900.0], [1, 899.0], [2, 898.0]]
    assert tensors["picture"].shape == (5, 7, 3) and int(tensors["picture"].sum()) == 5 * 7 * 3 * 9
    (branch,) = trace.branches
    for (_, layer, step), query in trace.queries.items():
        assert torch.equal(tensors[f"{branch}/query/{layer}/{step}"], query)
    anew = Trace.load(path).save(tmp_path / "anew.safetensors")
    again = load_file(anew)
    assert again.keys() == tensors.keys() and all(torch.equal(again[name], tensors[name]) for name in tensors)


def cannot(*_, **__):
    raise OSError(18, "Invalid cross-device link")


@pytest.mark.parametrize(
    "reason", ["a step was left out", "no room", "no such files", "no such files on this disk", "no way to a name"]
)
def test_trace_is_written_anew_where_its_file_cannot_be_finished(network, tmp_path, monkeypatch, reason):
    monkeypatch.setattr(spool, "SMALL", 0)
    if reason == "no room":
        monkeypatch.setattr(spool, "ROOM", 64)
    elif reason == "no such files":
        monkeypatch.delattr(os, "O_TMPFILE")
        monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
    elif reason == "no such files on this disk":
        opened = os.open
        monkeypatch.setattr(
            os, "open", lambda path, flags, *more: cannot() if flags & (1 << 22) else opened(path, flags, *more)
        )
    elif reason == "no way to a name":
        monkeypatch.setattr(os, "link", cannot)
    saved, save = [], Trace.save
    monkeypatch.setattr(Trace, "save", lambda trace, path: saved.append(path) or save(trace, path))
    path = tmp_path / "run.safetensors"
    with record(network) as in_memory:
        call(network, 3)
    with record(network, into=path) as trace:
        call(network, 3)
        if reason == "a step was left out":
            with leaving_in_the_middle(network), pytest.raises(RuntimeError, match="in the middle"):
                call(network, 1)
    assert saved == [path] and os.listdir(tmp_path) == [path.name]
    assert trace.queries.keys() == in_memory.queries.keys()
    assert all(torch.equal(trace.queries[key], query) for key, query in in_memory.queries.items())


@contextmanager
def leaving_in_the_middle(network):
    """The network raises an exception at its end, when its layers have been recorded."""

    def fail(*_):
        raise RuntimeError("in the middle")

    hook = network.conv_out.register_forward_hook(fail)
    yield
    hook.remove()


def test_tensor_that_was_written_in_part_spoils_no_other(tmp_path, monkeypatch):
    tensors = spool.Spool(tmp_path)
    file = tensors._file

    class Full:
        def __getattr__(self, name):
            return getattr(file, name)

        def write(self, data):
            file.write(data[:5])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors, "_file", Full())
    with pytest.raises(OSError, match="No space"):
        tensors.append(torch.arange(100.0))
    monkeypatch.setattr(tensors, "_file", file)
    place = tensors.append(torch.arange(50.0) + 7)
    assert torch.equal(tensors.read(place), torch.arange(50.0) + 7)
    tensors.close()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_record_into_a_file_in_another_precision(network, tmp_path, dtype):
    with record(network, into=tmp_path / "run.safetensors", dtype=dtype) as trace:
        call(network, 1)
    with record(network, dtype=dtype) as in_memory:
        call(network, 1)
    assert all(torch.equal(trace.queries[key], q) and q.dtype == dtype for key, q in in_memory.queries.items())


def test_trace_can_be_read_while_it_goes_to_the_disk(network, tmp_path):
    with record(network, into=tmp_path / "run.safetensors") as trace:
        call(network, 2)
        name = next(iter(trace.layers))
        row = trace.rows(name, step=1, query=(0, 0))
    assert torch.equal(row, trace.rows(name, step=1, query=(0, 0)))


def test_record_leaves_no_file_when_the_run_fails(network, tmp_path):
    with pytest.raises(RuntimeError, match="the run"), record(network, into=tmp_path / "run.safetensors"):
        call(network, 1)
        raise RuntimeError("the run")
    assert os.listdir(tmp_path) == []


def test_record_leaves_the_old_file_when_no_layer_is_recorded(network, tmp_path):
    (tmp_path / "run.safetensors").write_text("old")
    with pytest.raises(ValueError, match="was not called"), record(network, into=tmp_path / "run.safetensors"):
        pass
    assert (tmp_path / "run.safetensors").read_text() == "old"


def test_record_refuses_a_missing_folder_before_the_network_runs(network, tmp_path):
    with pytest.raises(FileNotFoundError), record(network, into=tmp_path / "none" / "run.safetensors"):
        pytest.fail("the block ran")


def test_full_disk_names_the_layers_and_does_not_stop_the_run(network, tmp_path, monkeypatch):
    append, written = spool.Spool.append, []

    def fill(self, tensor):
        if len(written) >= 4:
            raise OSError(28, "No space left on device")
        written.append(tensor)
        return append(self, tensor)

    monkeypatch.setattr(spool.Spool, "append", fill)
    with record(network, into=tmp_path / "run.safetensors") as trace:
        call(network, 3)
    assert trace.layers and set(trace.skipped.values()) == {
        "it could not be written to the disk: No space left on device"
    }
    assert all(len(trace.steps_of(name)) == 1 for name in trace.layers)


GROWTH = """
import sys, torch
from tests.support.memory import resident
from tests.support.level import Wide
from viz import record
network = Wide()
with record(network, into=sys.argv[1] if len(sys.argv) > 1 else None) as trace:
    for step in range(20):
        network.call(step)
        if step == 4:
            before, kept = resident(), trace.kept_bytes
    print(resident() - before, trace.kept_bytes - kept)
"""


def growth(*arguments: Path) -> tuple[int, int]:
    """How many bytes of memory, and of Q and K, 15 more steps add to 5, in a process of their own."""
    command = [sys.executable, "-c", GROWTH, *map(str, arguments)]
    memory, kept = subprocess.check_output(command, cwd=ROOT, text=True).split()
    return int(memory), int(kept)


def test_memory_stays_level_over_the_steps(tmp_path):
    memory, kept = growth()
    assert kept > 100e6 and memory > 0.8 * kept  # in memory it grows
    memory, written = growth(tmp_path / "run.safetensors")
    assert written == kept and memory < 0.2 * kept  # the heap keeps up to a tenth, on a busy machine
    assert len(Trace.load(tmp_path / "run.safetensors").steps) == 20


@pytest.mark.parametrize("after", [False, True], ids=["before the header", "after it"])
def test_disk_that_is_full_at_the_end_leaves_the_old_file(network, tmp_path, monkeypatch, after):
    monkeypatch.setattr(spool, "SMALL", 0)
    (tmp_path / "run.safetensors").write_text("old")
    full = OSError(28, "No space left on device")

    def fill(*_):
        raise full

    with pytest.raises(OSError, match="No space"), record(network, into=tmp_path / "run.safetensors"):
        call(network, 1)
        if after:
            monkeypatch.setattr(os, "fsync", fill)
        else:
            monkeypatch.setattr(spool.Spool, "append", fill)
    assert os.listdir(tmp_path) == ["run.safetensors"] and (tmp_path / "run.safetensors").read_text() == "old"


KILLED = """
import os, sys, time, torch
from tests.recording.test_spool import call
from diffusers import UNet2DModel
from viz import record
from viz.recording import spool
spool.SMALL = 0
os.fsync = lambda _: os.kill(os.getpid(), 9)
network = UNet2DModel(16, block_out_channels=(8, 16), attention_head_dim=8, norm_num_groups=4,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D")).eval()
with record(network, into=sys.argv[1]) as trace:
    call(network, 3)
    print("recorded", flush=True)
    if sys.argv[2] == "waits":
        time.sleep(60)
"""


@pytest.mark.parametrize("then", ["waits", "ends"])
def test_kill_in_the_middle_of_a_run_or_at_its_end_leaves_nothing(tmp_path, then):
    """At its end the process kills itself when everything is written but has no name."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "run.safetensors"), then],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and "recorded" in process.stdout.readline()
    if then == "waits":
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    time.sleep(0.1)
    assert os.listdir(tmp_path) == []
