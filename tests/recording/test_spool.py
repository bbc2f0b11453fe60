"""`record(into=…)`: Q and K go to the disk as they come, and a file is whole or not there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel

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


def test_record_into_a_file_keeps_what_record_keeps(network, tmp_path):
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
    assert written == kept and memory < 0.05 * kept
    assert len(Trace.load(tmp_path / "run.safetensors").steps) == 20


KILLED = """
import sys, time, torch
from tests.recording.test_spool import call
from diffusers import UNet2DModel
from viz import record
network = UNet2DModel(16, block_out_channels=(8, 16), attention_head_dim=8, norm_num_groups=4,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D")).eval()
with record(network, into=sys.argv[1]) as trace:
    call(network, 3)
    print("recorded", flush=True)
    time.sleep(60)
"""


def test_kill_in_the_middle_of_a_run_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "run.safetensors")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and "recorded" in process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    assert os.listdir(tmp_path) == []
