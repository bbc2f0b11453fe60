"""Opening what people have: folders, bare U-Nets, single files, old names; and saying plainly what cannot be opened."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image
from safetensors.torch import load_file, save_file

from models import load
from models.opening.errors import CannotOpen
from models.opening.load import samplers, set_sampler
from models.sampling.geometry import geometry_of
from models.sampling.order import Order, draw_picture, timesteps
from tests.support import single_file
from tests.support.pipelines import PIPELINES, conditional, stable_diffusion, unconditional
from viz import record

ROOT = Path(__file__).parent.parent.parent

PICTURE = Image.new("RGB", (30, 20), (200, 40, 40))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every pipeline, saved; by name."""
    root = tmp_path_factory.mktemp("pipelines")
    for name, make in PIPELINES.items():
        make(root / "words").save_pretrained(root / name)
    return {name: root / name for name in PIPELINES}


@pytest.fixture
def broken(folders, tmp_path):
    """A copy of a saved Stable Diffusion to be broken."""
    return shutil.copytree(folders["Stable Diffusion"], tmp_path / "broken")


@pytest.mark.parametrize("name", PIPELINES)
def test_load_opens_pipelines_that_draw_and_record_oblong_pictures(folders, name):
    pipeline = load(folders[name])
    order = Order("a red monster", "green", seed=4, steps=3, guidance=3.0, size=(16, 24), image=PICTURE)
    plain = draw_picture(pipeline, order)
    called = []
    with record(pipeline.unet) as trace:
        watched = draw_picture(pipeline, order, called.append)
    assert plain.tobytes() == watched.tobytes() and watched.size == (24, 16)
    assert called == trace.steps and list(trace.timesteps.values()) == timesteps(pipeline, order)
    assert not trace.skipped and len(trace.layers) >= 4 and max(trace.verify().values()) < 1e-5
    assert (
        draw_picture(pipeline, Order("a red monster", steps=2, image=PICTURE)).size
        == geometry_of(pipeline).own_size[::-1]
    )


def test_load_writes_nothing_on_the_console(folders):
    names = ["critters", "critters-sagan", str(folders["Stable Diffusion"])]
    code = f"from models import load\nfor name in {names}: load(name)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_load_checks_precision_and_device(folders):
    pipeline = load(folders["DDPM"], dtype="bfloat16", device="cpu")
    assert pipeline.unet.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="dtype must be one of float32, float16, bfloat16; got 'int8'"):
        load(folders["DDPM"], dtype="int8")
    for device in ("cuda:7", "quantum"):
        with pytest.raises(ValueError, match=f"no device '{device}' here; there are .*cpu"):
            load(folders["DDPM"], device=device)


@pytest.mark.parametrize("name", ["DDPM", "latent, unconditional", "Stable Diffusion"])
def test_samplers_all_draw(folders, name):
    pipeline = load(folders[name])
    offered = samplers(pipeline)
    assert next(iter(offered)) == type(pipeline.scheduler).__name__ and len(offered) >= 4
    for sampler in offered:
        set_sampler(pipeline, sampler)
        order, seen = Order("a red monster", steps=3), []
        draw_picture(pipeline, order, seen.append)
        assert len(seen) == len(timesteps(pipeline, order)), sampler
    with pytest.raises(ValueError, match="no sampler 'Magic' fits"):
        load(folders[name], sampler="Magic")


def test_load_opens_a_single_unet_that_draws_and_records(tmp_path):
    for i, unet in enumerate((unconditional(), conditional(), conditional(3))):
        unet.save_pretrained(tmp_path / str(i))
        pipeline = load(tmp_path / str(i))
        with record(pipeline.unet) as trace:
            image = draw_picture(pipeline, Order(steps=2, size=None))
        assert image.size == geometry_of(pipeline).own_size[::-1] and len(trace.steps) == 2


def test_load_opens_attention_saved_under_old_names(tmp_path):
    torch.manual_seed(1)
    new = unconditional()
    new.save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in load_file(file).items():
        for now, then in names.items():
            name = name.replace(f".{now}.", f".{then}.")
        old[name] = tensor
    assert sum("proj_attn" in name for name in old) == 8 and not any("to_q" in name for name in old)
    save_file(old, file, {"format": "pt"})
    opened = load(tmp_path).unet
    assert isinstance(opened, UNet2DModel)
    sample = torch.randn(1, 3, 16, 16)
    traces = []
    for network in (new, opened):
        with torch.no_grad(), record(network) as trace:
            network(sample, 30)
        traces.append(trace)
    assert traces[0].queries.keys() == traces[1].queries.keys()
    for where, q in traces[0].queries.items():  # weights read from a file lie elsewhere in memory: other roundings
        assert (q - traces[1].queries[where]).abs().max() < 1e-5


# -- one file --------------------------------------------------------------------------------------------------------


def test_load_opens_a_single_file_as_the_same_model(tmp_path):
    pipeline = stable_diffusion(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(tmp_path / "folder")
    opened = load(single_file.write(pipeline, tmp_path / "one.safetensors"), config=tmp_path / "folder")
    order = Order("a red monster", steps=2, guidance=4.0)
    with record(opened.unet) as trace:
        assert draw_picture(opened, order).tobytes() == draw_picture(pipeline, order).tobytes()
    assert len(trace.layers) == 8


def test_load_says_where_a_single_files_tokenizer_comes_from(tmp_path, monkeypatch):
    from huggingface_hub import constants

    path = single_file.write(stable_diffusion(tmp_path), tmp_path / "one.safetensors")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CannotOpen, match=r"configuration and tokenizer are not in the file .* config="):
        load(path)


@pytest.mark.parametrize(
    ("names", "held"),
    [
        (["lora_unet_down.lora_up.weight"], "a LoRA"),
        (["control_model.input_blocks.0.0.weight"], "a ControlNet"),
        (["first_stage_model.decoder.conv_in.weight"], "an autoencoder"),
        (["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"], "a transformer, not a U-Net,"),
        (["down_blocks.0.resnets.0.conv1.weight"], "a U-Net on its own"),
        (["model.layers.0.mlp.weight"], "something else"),
    ],
)
def test_load_names_what_another_checkpoint_holds(tmp_path, names, held):
    save_file({name: torch.zeros(2) for name in names}, tmp_path / "x.safetensors")
    with pytest.raises(CannotOpen, match=f"x.safetensors holds {held}.*expected a Stable Diffusion checkpoint"):
        load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["sd.ckpt", "sd.pt", "sd.bin"])
def test_load_refuses_a_pickle_with_the_reason(tmp_path, name):
    torch.save({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(CannotOpen, match=f"{name} was refused: pickled weights can run any program"):
        load(tmp_path / name)


def with_header(header: object, body: bytes = b"") -> bytes:
    """A safetensors file of that header."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08\x00\x00",
        b"\xff" * 200,
        (2**40).to_bytes(8, "little") + b"{}",
        bytes(8) + b"{}",
        with_header(["a list"]),
        with_header({"a": "text"}),
        with_header({"a": {"dtype": "F32", "shape": [1]}}),
        with_header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
        with_header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, bytes(4)),
        with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(3)),
        with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(5)),
        with_header({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}, bytes(4)),
    ],
)
def test_tensor_shapes_refuses_a_file_whose_header_does_not_fit(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CannotOpen, match=r"x.safetensors isn't a complete .safetensors file \(.+\); download it again"):
        load(tmp_path / "x.safetensors")


def test_load_refuses_a_checkpoint_whose_first_convolution_has_one_dimension(tmp_path):
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    (tmp_path / "config").mkdir()
    with pytest.raises(
        CannotOpen, match=r"x.safetensors is a checkpoint for StableDiffusionPipeline, but it could not"
    ):
        load(tmp_path / "x.safetensors", config=tmp_path / "config")


def test_load_refuses_a_file_with_another_ending(tmp_path):
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    with pytest.raises(CannotOpen, match=r"expected a \.safetensors checkpoint or a folder, got x.png"):
        load(tmp_path / "x.png")


# -- folders that are not whole --------------------------------------------------------------------------------------


def test_load_says_what_a_half_downloaded_folder_lacks(broken):
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        CannotOpen, match=r"safetensors isn't a complete .safetensors file \(.*not fully covered\); download it again"
    ):
        load(broken)
    weights.unlink()
    with pytest.raises(CannotOpen, match="holds no safetensors weights; was the download interrupted"):
        load(broken)
    (broken / "unet" / "config.json").rename(broken / "unet" / "config")
    with pytest.raises(CannotOpen, match=r"unet/config.json is missing"):
        load(broken)
    shutil.rmtree(broken / "unet")
    with pytest.raises(CannotOpen, match="its unet is missing"):
        load(broken)
    (broken / "model_index.json").write_text('{"_class_name": "Sta')
    with pytest.raises(CannotOpen, match=r"model_index.json in .* cannot be read"):
        load(broken)


def test_load_names_a_missing_shard(broken):
    index = broken / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "diffusion_pytorch_model-00002-of-00002.safetensors"}}))
    with pytest.raises(CannotOpen, match=r"00002-of-00002.safetensors is missing"):
        load(broken)


def test_load_explains_weights_of_another_shape(broken):
    config = broken / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"block_out_channels": [16, 32]}))
    with pytest.raises(CannotOpen, match=r"the model in .* could not be opened"):
        load(broken)


def test_load_never_runs_code_from_a_folder(broken):
    (broken / "evil.py").write_text("raise SystemExit('ran')")
    index = json.loads((broken / "model_index.json").read_text())
    for change in ({"unet": ["evil", "Evil"]}, {"_class_name": ["evil", "Evil"]}):
        (broken / "model_index.json").write_text(json.dumps(index | change))
        with pytest.raises(CannotOpen, match=r"code that comes with the model .*which is never run"):
            load(broken)


def test_load_refuses_a_folder_of_another_network(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(CannotOpen, match=r"expected a U-Net .* found AutoencoderKL"):
        load(tmp_path)


def test_draw_picture_refuses_wrong_sizes_and_missing_pictures(folders):
    with pytest.raises(ValueError, match="multiples of 2 for this model; 15×16 isn't"):
        draw_picture(load(folders["DDPM"]), Order(steps=1, size=(15, 16)))
    with pytest.raises(ValueError, match="starts from a picture"):
        draw_picture(load(folders["image to image"]), Order("a monster", steps=1))
