"""Opening from the Hub, on a Hub of this machine: what is fetched, and what is said when it cannot be."""

import json
import os
import shutil

import pytest
import torch

from models import load
from models.opening.errors import CannotOpen
from models.opening.load import BUNDLED
from tests.support.hub import hub
from tests.support.pipelines import PIPELINES, unconditional


@pytest.fixture
def at_hub(tmp_path, monkeypatch):
    """A Hub that serves {name: folder}, and a cache of its own."""
    from huggingface_hub import constants

    models = {}
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with hub(models) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        server.served = models
        yield server


@pytest.fixture
def sd(tmp_path):
    folder = tmp_path / "sd"
    PIPELINES["Stable Diffusion"](tmp_path).save_pretrained(folder)
    return folder


def test_fetch_downloads_only_needed_files_and_reports_progress(at_hub, sd, tmp_path):
    (sd / "v1-5-pruned.ckpt").write_bytes(b"never asked for")
    (sd / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"never asked for")
    (sd / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"never asked for")
    at_hub.served["someone/small"] = sd
    said = []
    opened = load("someone/small", progress=lambda done, words: said.append((done, words)))
    assert type(opened).__name__ == "StableDiffusionPipeline"
    fetched = [path for path in at_hub.asked if "/resolve/" in path]
    assert any(path.endswith("unet/diffusion_pytorch_model.safetensors") for path in fetched)
    assert not any(path.endswith((".ckpt", ".bin", "fp16.safetensors")) for path in fetched)
    assert any(done == 1.0 for done, _ in said) and said[0] == (None, "Asking the Hub for someone/small")
    assert said[-1][1] == "Loading the networks"


def test_fetch_needs_no_network_for_a_cached_model(at_hub, sd, monkeypatch):
    from huggingface_hub import constants

    at_hub.served["someone/small"] = sd
    load("someone/small")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert type(load("someone/small")).__name__ == "StableDiffusionPipeline"


def test_fetch_downloads_a_single_unet(at_hub, tmp_path):
    unet = unconditional()
    unet.save_pretrained(tmp_path / "unet")
    at_hub.served["someone/unet"] = tmp_path / "unet"
    opened = load("someone/unet")
    assert torch.equal(opened.unet.conv_in.weight, unet.conv_in.weight)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nobody/nothing", "there is no model 'nobody/nothing' on the Hub"),
        ("someone/gated", "'someone/gated' is gated"),
        ("someone/broken", "'someone/broken' could not be fetched"),
    ],
)
def test_fetch_explains_what_the_hub_refuses(at_hub, name, sentence):
    with pytest.raises(CannotOpen, match=sentence):
        load(name)


def test_fetch_says_that_the_hub_cannot_be_reached(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        CannotOpen, match="'google/ddpm-cifar10-32' is not on this machine and the Hub cannot be reached"
    ):
        load("google/ddpm-cifar10-32")


def test_fetch_refuses_pickles_before_downloading_them(at_hub, sd):
    weights = sd / "unet" / "diffusion_pytorch_model.safetensors"
    os.rename(weights, weights.with_suffix(".bin"))
    at_hub.served["someone/pickled"] = sd
    with pytest.raises(CannotOpen, match="its unet has no safetensors weights: pickled weights can run any program"):
        load("someone/pickled")
    assert not any(path.endswith(".bin") for path in at_hub.asked)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"unet": ["my_unet", "MyUNet"]}, "its unet is code that comes with the model"),
        ({"_class_name": ["pipeline", "MyPipeline"]}, "its pipeline is code that comes with the model"),
        ({"unet": [None, None]}, "has no U-Net"),
    ],
)
def test_fetch_refuses_remote_code_and_models_without_unet(at_hub, sd, change, sentence):
    index = sd / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | change))
    at_hub.served["someone/odd"] = sd
    with pytest.raises(CannotOpen, match=sentence):
        load("someone/odd")
    assert not any(path.endswith(".safetensors") for path in at_hub.asked)


def test_fetch_refuses_a_model_that_diffusers_did_not_write(at_hub, tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    at_hub.served["someone/bert"] = tmp_path
    with pytest.raises(CannotOpen, match="a model that diffusers did not write"):
        load("someone/bert")
    assert "critters" in BUNDLED


def test_fetch_refuses_large_models_before_downloading_them(at_hub, sd):
    at_hub.served["someone/small"] = sd
    with pytest.raises(CannotOpen, match=r"its files have 0\.\d\d GB; the limit here is 0\.00 GB"):
        load("someone/small", download_limit=10_000)
    assert not any(path.endswith(".safetensors") for path in at_hub.asked if "/resolve/" in path)
    assert load("someone/small", download_limit=10**9)


def test_fetch_refuses_what_the_disk_has_no_room_for(at_hub, sd, monkeypatch):
    at_hub.served["someone/small"] = sd
    monkeypatch.setattr("models.opening.hub.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 5000))
    with pytest.raises(CannotOpen, match=r"the disk has room for 0\.00 GB"):
        load("someone/small")
    assert not any(path.endswith(".safetensors") for path in at_hub.asked if "/resolve/" in path)
