"""Weights that are not what a model's settings describe: refused in a sentence, and before they cost anything."""

import json
import shutil
import threading
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import load
from models.opening import networks
from models.opening.errors import CannotOpen
from models.opening.folders import read_json
from tests.support import single_file
from tests.support.memory import Peak
from tests.support.pipelines import PIPELINES, stable_diffusion, unconditional

NETWORKS = ("unet", "vae", "text_encoder")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    root = tmp_path_factory.mktemp("saved")
    PIPELINES["Stable Diffusion"](root / "words").save_pretrained(root / "model")
    return root / "model"


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


@pytest.fixture
def unet(tmp_path):
    """The folder of a U-Net alone."""
    unconditional().save_pretrained(tmp_path / "unet")
    return tmp_path / "unet"


def weights_in(folder):
    (path,) = folder.glob("*.safetensors")
    return path


def change_weights(folder, change) -> None:
    path = weights_in(folder)
    save_file(change(load_file(path)), path, {"format": "pt"})


def change_settings(folder, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("part", NETWORKS)
@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_load_refuses_networks_without_all_their_tensors(folder, part, kept):
    change_weights(folder / part, lambda tensors: dict(sorted(tensors.items())[: int(len(tensors) * kept)]))
    with pytest.raises(CannotOpen, match=rf"the weights in .*{part} lack \d+ of \d+ tensors .*such as "):
        load(folder)


@pytest.mark.parametrize("kept", [0, 1])
def test_load_refuses_a_single_unet_without_all_its_tensors(unet, kept):
    change_weights(unet, lambda tensors: dict(sorted(tensors.items())[:kept]))
    with pytest.raises(CannotOpen, match=r"the weights in .*unet lack \d+ of \d+ tensors"):
        load(unet)


def test_load_opens_whole_networks_with_a_tensor_too_many(unet):
    change_weights(unet, lambda tensors: tensors | {"more": torch.zeros(3)})
    assert load(unet).unet.conv_in.weight.isfinite().all()


@pytest.mark.parametrize("part", NETWORKS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_load_refuses_weights_that_are_not_finite(folder, part, value):
    def change(tensors):
        name = sorted(name for name, tensor in tensors.items() if tensor.ndim > 1)[-1]
        tensors[name].view(-1)[-1] = value
        return tensors

    change_weights(folder / part, change)
    with pytest.raises(CannotOpen, match=rf" of its {part} holds an infinity or a NaN: the weights are damaged"):
        load(folder)


@pytest.mark.parametrize("shard", ["w.bin", "w.txt", "w", "w.safetensors.bin", "../w.safetensors", "/w.safetensors"])
def test_load_refuses_an_index_that_names_other_files(folder, tmp_path, shard):
    """Diffusers opens whatever an index names; a file that is not safetensors it unpickles."""
    path = weights_in(folder / "unet")
    for place in (folder / "unet", tmp_path):
        (place / "w.bin").write_bytes(b"a pickle")
        (place / "w.txt").write_bytes(b"a pickle")
        shutil.copy(path, place / "w.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(load_file(path), shard)}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CannotOpen, match=r"the index in .* names .* as weights: pickled weights can run any program"):
        load(folder)


@pytest.mark.parametrize("weight_map", [None, [], "w.safetensors", 3])
def test_load_refuses_an_index_without_a_map(folder, weight_map):
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    with pytest.raises(CannotOpen, match="has no weight_map"):
        load(folder)


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        ("unet", {"layers_per_block": 100_000}),
        ("unet", {"block_out_channels": [40_000, 80_000]}),
        ("unet", {"cross_attention_dim": 2**33}),
        ("unet", {"transformer_layers_per_block": 10**9}),
        ("vae", {"layers_per_block": 100_000}),
        ("vae", {"block_out_channels": [80_000, 80_000]}),
        ("text_encoder", {"num_hidden_layers": 100_000}),
        ("text_encoder", {"vocab_size": 10**10}),
        ("text_encoder", {"max_position_embeddings": 10**11}),
    ],
)
def test_load_builds_no_network_that_is_larger_than_its_weights(folder, part, settings):
    change_settings(folder / part, **settings)
    with Peak() as peak:
        before, began = peak.most, time.monotonic()
        with pytest.raises(CannotOpen, match="far larger than its weights"):
            load(folder)
    assert peak.most - before < 100_000_000 and time.monotonic() - began < 20


def test_load_refuses_a_schedule_of_billions_of_steps(folder):
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_train_timesteps": 10**10}))
    with pytest.raises(CannotOpen, match="expected a scheduler of 1 to 1,000,000 training steps, got 10000000000"):
        load(folder)


@pytest.mark.parametrize("entry", [["diffusers", "UNet2DModel"], ["transformers", "CLIPTextModel"]])
@pytest.mark.parametrize("name", ["scheduler", "tokenizer"])
def test_load_refuses_networks_under_names_that_have_no_weights(folder, name, entry):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: entry}))
    with pytest.raises(CannotOpen, match=f"its {name} is a {entry[1]}; expected a "):
        load(folder)


@pytest.mark.parametrize(
    "entry", [["diffusers", "DDPMPipeline"], ["transformers", "CLIPTokenizer"], ["diffusers", "No"]]
)
def test_load_refuses_parts_that_are_no_networks(folder, entry):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unet": entry}))
    with pytest.raises(CannotOpen, match="its unet is a "):
        load(folder)


def test_read_json_refuses_large_and_deep_files(tmp_path):
    (tmp_path / "large.json").write_text('{"a": "' + "a" * 11_000_000 + '"}')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in ("large.json", "deep.json"):
        with pytest.raises(CannotOpen, match="cannot be read"):
            read_json(tmp_path / name)


def test_other_threads_build_what_they_like_meanwhile():
    built = []
    with networks._limited([]):
        thread = threading.Thread(target=lambda: built.append(torch.nn.Linear(2000, 2000, device="meta")))
        thread.start()
        thread.join()
        with pytest.raises(CannotOpen):
            torch.nn.Linear(2000, 2000, device="meta")
    assert len(built) == 1 and torch.nn.Linear(2000, 2000, device="meta")


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "first_stage_model.", "cond_stage_model."])
def test_load_refuses_a_checkpoint_without_all_its_tensors(saved, tmp_path, prefix):
    path = single_file.write(stable_diffusion(tmp_path), tmp_path / "whole.safetensors")
    assert load(path, config=saved)
    tensors = load_file(path)
    of_part = sorted(name for name in tensors if name.startswith(prefix))
    for name in of_part[len(of_part) // 2 :]:
        if "input_blocks.0.0" not in name:
            del tensors[name]
    save_file(tensors, path)
    with pytest.raises(CannotOpen, match=r"lacks|could not be opened"):
        load(path, config=saved)


def test_load_refuses_a_checkpoint_that_is_not_finite(saved, tmp_path):
    path = single_file.write(stable_diffusion(tmp_path), tmp_path / "whole.safetensors")
    tensors = load_file(path)
    tensors["model.diffusion_model.out.2.weight"][:] = float("nan")
    save_file(tensors, path)
    with pytest.raises(CannotOpen, match="of its unet holds an infinity or a NaN"):
        load(path, config=saved)


def test_load_from_the_hub_opens_no_local_path(saved, monkeypatch, tmp_path):
    """On the page, a name with a slash is a Hugging Face model ID, also where the server has such a folder or file."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(saved.parent)
    messages = set()
    for name in ("model/unet", "model/none"):
        assert not (saved.parent / name).is_dir() or load(name)
        with pytest.raises(CannotOpen) as caught:
            load(name, from_hub=True)
        messages.add(str(caught.value).replace(name, "NAME"))
    assert len(messages) == 1  # it does not tell which of them exists
    path = single_file.write(stable_diffusion(tmp_path), tmp_path / "whole.safetensors")
    with pytest.raises(CannotOpen, match="is not on this machine and the Hub cannot be reached"):
        load(path, config="model/unet", from_hub=True)
