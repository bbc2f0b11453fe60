import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

import models
from models import load
from models.opening import load as zoo


@pytest.fixture
def ddpm() -> DDPMPipeline:
    unet = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
    )
    return DDPMPipeline(unet, DDPMScheduler())


def test_load_opens_a_folder_of_any_diffusers_pipeline(ddpm, tmp_path):
    ddpm.save_pretrained(tmp_path, safe_serialization=True)
    opened = load(str(tmp_path), dtype=torch.float16)
    assert type(opened) is DDPMPipeline and opened.unet.dtype == torch.float16
    weights, saved = opened.unet.state_dict(), ddpm.unet.state_dict()
    assert all(torch.equal(weights[name], saved[name].half()) for name in saved)
    assert opened(num_inference_steps=2).images[0].size == (16, 16)


def test_load_opens_our_own_pipeline_from_a_folder(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path, safe_serialization=True)
    opened = load(tmp_path)
    assert type(opened) is type(tiny_pipeline) and isinstance(opened.scheduler, DDIMScheduler)
    assert opened.encoder.index == tiny_pipeline.encoder.index


def test_load_opens_the_bundled_folder_as_critters(tiny_pipeline, tmp_path, monkeypatch):
    tiny_pipeline.save_pretrained(tmp_path / "critters", safe_serialization=True)
    assert zoo.BUNDLED["critters"].parts[-2:] == ("assets", "critters")
    monkeypatch.setitem(zoo.BUNDLED, "critters", tmp_path / "critters")
    assert type(load()) is type(tiny_pipeline)


def test_load_refuses_a_folder_without_a_pipeline(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a diffusers pipeline in .*, found no model_index\.json"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "not a name!", "a/b/c"])
def test_load_refuses_a_name_that_is_neither_folder_nor_hub_id(name):
    with pytest.raises(
        FileNotFoundError, match=r"expected 'critters', a pipeline's folder .* or a Hugging Face model ID"
    ) as caught:
        load(name)
    assert repr(name) in str(caught.value)


def test_load_refuses_weights_that_are_not_safetensors(ddpm, tmp_path):
    ddpm.save_pretrained(tmp_path, safe_serialization=False)
    assert list(tmp_path.rglob("*.bin"))
    with pytest.raises(FileNotFoundError, match="safetensors weights"):
        load(tmp_path)


def test_models_names_load_for_an_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'open'; it has 'load'"):
        _ = models.open
