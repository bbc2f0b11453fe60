"""Damaged files by the hundred: bytes of small real ones changed, cut out, or put in. Each opens or gets a sentence.

$PIXELGAZE_FUZZ is how many there are of each kind; 200 by default.
"""

import io
import os
import random
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models import load
from models.opening.errors import CannotOpen
from tests.support.pipelines import PIPELINES
from tests.support.traces import trace_with_everything
from viz import Trace
from viz.page.uploads import FORMATS, PictureError, open_picture
from viz.trace_file import TraceFileError
from viz.trace_header import check_header, read_description

fuzz = settings(
    max_examples=int(os.environ.get("PIXELGAZE_FUZZ", 200)),
    deadline=timedelta(seconds=30),  # nothing hangs
    suppress_health_check=list(HealthCheck),
)


@st.composite
def damages(draw, front: int = 4096):
    """A function of bytes: some of them replaced, cut out or doubled, more often in front, where headers are."""
    seed, count = draw(st.integers(0, 2**32)), draw(st.integers(1, 6))
    kinds = draw(st.lists(st.sampled_from(["replace", "replace", "cut", "double", "end", "digit"]), min_size=count))

    def damage(content: bytes) -> bytes:
        chance, data = random.Random(seed), bytearray(content)
        for kind in kinds:
            if not data:
                break
            reach = min(len(data), front) if chance.random() < 0.8 else len(data)
            at, length = chance.randrange(reach), chance.choice([1, 1, 4, 60])
            if kind == "replace":
                data[at] = chance.choice([0, 0xFF, 0x7B, chance.randrange(256)])
            elif kind == "cut":
                del data[at : at + length]
            elif kind == "double":
                data[at:at] = data[at : at + length]
            elif kind == "digit":  # other numbers, in JSON that can still be read
                places = [place for place in range(reach) if 0x30 <= data[place] <= 0x39]
                if places:
                    data[chance.choice(places)] = chance.randrange(0x30, 0x3A)
            else:
                del data[chance.randrange(len(data)) :]
        return bytes(data)

    return damage


def is_sentence(error: Exception, folder: Path) -> bool:
    text = str(error.args[0] if error.args else "")
    return len(text.split()) >= 3 and "Traceback" not in text and "\n" not in text.strip() and len(text) < 3_000


@pytest.fixture(scope="module")
def trace(tmp_path_factory) -> Path:
    return trace_with_everything().save(tmp_path_factory.mktemp("whole") / "trace.safetensors")


@fuzz
@given(damage=damages())
def test_a_damaged_trace_opens_or_says_why_not(trace, tmp_path, damage):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damage(trace.read_bytes()))
    try:
        check_header(path)
        read_description(path)
        opened = Trace.load(path)
    except TraceFileError as error:
        assert is_sentence(error, tmp_path), error
    except ValueError as error:  # what the header's check raises, before torch is imported
        assert is_sentence(error, tmp_path), error
    else:
        for layer in opened:  # whatever it says of itself is true of its numbers
            for step in opened.steps_of(layer.name)[:1]:
                assert opened.keys[(opened.branches[0], layer.name, step)].shape[-2] == layer.key_count


def pictures() -> dict[str, bytes]:
    colors = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    files = {}
    for kind in FORMATS:
        Image.fromarray(colors).save(file := io.BytesIO(), kind)
        files[kind] = file.getvalue()
    return files


@fuzz
@given(kind=st.sampled_from(FORMATS), damage=damages(front=200))
def test_a_damaged_picture_opens_or_says_why_not(tmp_path, kind, damage):
    path = tmp_path / "picture"
    path.write_bytes(damage(PICTURES[kind]))
    try:
        picture = open_picture(path)
    except PictureError as error:
        assert is_sentence(error, tmp_path), error
    else:
        assert picture.mode == "RGB" and picture.width * picture.height < 50_000_000


PICTURES = pictures()
PARTS = ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json")
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "DDPM"
    PIPELINES["DDPM"](folder.parent / "words").save_pretrained(folder)
    assert all((folder / name).is_file() for name in (*PARTS, WEIGHTS))
    return folder


@fuzz
@given(name=st.sampled_from([*PARTS, WEIGHTS]), damage=damages())
def test_a_damaged_model_opens_or_says_why_not(model, tmp_path, name, damage):
    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder)
    (folder / name).write_bytes(damage((model / name).read_bytes()))
    try:
        pipeline = load(folder)
    except (CannotOpen, ValueError) as error:
        assert is_sentence(error, tmp_path), error
    else:
        assert pipeline.unet.config is not None
