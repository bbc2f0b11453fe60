"""A photo as the input, on every kind of model; and pictures that mean harm."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from models import load
from tests.support.pipelines import PIPELINES, conditional
from viz import Trace
from viz.page.uploads import MAX_PIXELS, PictureError, fitted, open_picture
from viz.recording.photo import look_at, noised
from viz.recording.plan import OverBudget

PHOTO = Image.new("RGB", (60, 40), "white")
ImageDraw.Draw(PHOTO).rectangle((0, 0, 29, 19), fill=(255, 0, 0))  # a red quarter, top left


@pytest.mark.parametrize("name", PIPELINES)
def test_every_model_looks_at_a_photo(tmp_path, name):
    pipeline = PIPELINES[name](tmp_path)
    seen = []
    trace = look_at(
        pipeline, PHOTO, prompt="a red monster", steps=3, size=(16, 24), on_step=lambda step, _: seen.append(step)
    )
    assert seen == trace.steps == [0, 1, 2] and trace.picture.shape == (16, 24, 3)
    times = list(trace.timesteps.values())
    assert times == sorted(times, reverse=True) and len(set(times)) == 3
    assert not trace.skipped and max(trace.verify().values()) < 1e-5
    again = Trace.load(trace.save(tmp_path / "t.safetensors"))
    assert again.recipe == trace.recipe and len(again.recipe["photo"]) == 64


def test_the_bundled_model_looks_at_a_photo():
    trace = look_at(load("critters"), PHOTO, prompt="a red monster", steps=2)
    assert trace.size == (64, 64) and trace.previews[1].shape == (64, 64, 3)
    # At the last timestep there is little noise: the network's own guess at the clean picture is the photo.
    assert np.abs(trace.previews[1].astype(float) - trace.picture).mean() < 25


def test_a_bare_unet_of_latents_looks_at_no_photo_but_a_pixel_one_does(tmp_path):
    conditional(3, out_channels=3).save_pretrained(tmp_path)
    assert look_at(load(tmp_path), PHOTO, steps=2).size == (8, 8)
    conditional(4).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="came without its autoencoder"):
        look_at(load(tmp_path), PHOTO, steps=2)


def test_the_noise_is_the_forward_process():
    pipeline = load("critters")
    clean, noise = torch.ones(1, 3, 64, 64), torch.full((1, 3, 64, 64), 2.0)
    for timestep in (0, 400, 999):
        expected = pipeline.scheduler.add_noise(clean, noise, torch.tensor([timestep]))
        assert torch.allclose(noised(pipeline, clean, noise, timestep), expected, atol=1e-6)


def test_a_photo_that_would_take_too_much_memory(tmp_path):
    with pytest.raises(OverBudget, match="may take 1 kB"):
        look_at(PIPELINES["DDPM"](tmp_path), PHOTO, steps=3, budget=1000)


# -- pictures from outside -------------------------------------------------------------------------------------------


def saved(tmp_path, image, name, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_ordinary_pictures(tmp_path):
    for name in ("a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff"):
        opened = open_picture(saved(tmp_path, PHOTO, name))
        assert opened.mode == "RGB" and opened.size == (60, 40)
        red, green, _ = opened.getpixel((5, 5))
        assert red > 230 and green < 40
        assert min(opened.getpixel((50, 30))) > 240


def test_modes_are_brought_to_rgb(tmp_path):
    cmyk = open_picture(saved(tmp_path, PHOTO.convert("CMYK"), "cmyk.jpg", quality=95))
    assert cmyk.getpixel((5, 5))[0] > 200 > 80 > cmyk.getpixel((5, 5))[1]
    alpha = PHOTO.convert("RGBA")
    alpha.putalpha(Image.new("L", PHOTO.size, 0))
    assert open_picture(saved(tmp_path, alpha, "alpha.png")).getpixel((5, 5)) == (255, 255, 255)
    palette = PHOTO.quantize(4)
    assert open_picture(saved(tmp_path, palette, "palette.png", transparency=0)).mode == "RGB"
    deep = Image.fromarray(np.full((4, 4), 32768, np.uint16))
    assert abs(open_picture(saved(tmp_path, deep, "deep.png")).getpixel((0, 0))[0] - 128) <= 1
    assert open_picture(saved(tmp_path, PHOTO.convert("1"), "one.png")).getpixel((50, 30)) == (255, 255, 255)
    assert open_picture(saved(tmp_path, PHOTO.convert("LAB"), "lab.tiff")).mode == "RGB"


def test_a_photo_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    opened = open_picture(saved(tmp_path, PHOTO, "turned.jpg", exif=exif, quality=95))
    assert opened.size == (40, 60) and opened.getpixel((35, 5))[1] < 60  # the red corner is now top right


def test_of_an_animation_the_first_frame(tmp_path):
    other = Image.new("RGB", PHOTO.size, "blue")
    for name in ("a.gif", "a.webp", "a.png"):
        path = saved(tmp_path, PHOTO, name, save_all=True, append_images=[other, other], duration=50)
        assert open_picture(path).getpixel((5, 5))[0] > 200


def png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (200_000, 200_000), (2_000_000, 1)])
def test_decompression_bombs_are_refused_before_they_are_unpacked(tmp_path, width, height):
    (tmp_path / "bomb.png").write_bytes(png(width, height, zlib.compress(bytes(1_000_000))))
    with pytest.raises(PictureError, match=r"at most|too large") as caught:
        open_picture(tmp_path / "bomb.png")
    assert f"{MAX_PIXELS:,}" in str(caught.value)


def test_damaged_files_are_one_sentence(tmp_path):
    whole = {}
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        file = io.BytesIO()
        Image.effect_noise((64, 64), 50).convert("RGB").save(file, kind)
        whole[kind] = file.getvalue()
    for content in whole.values():
        for length in (len(content) // 2, 40, 11):
            (tmp_path / "cut").write_bytes(content[:length])
            with pytest.raises(PictureError, match=r"damaged|no picture"):
                open_picture(tmp_path / "cut")
    for content in (b"", b"<svg onload=alert(1)>", b"%PDF-1.4", bytes(range(256)) * 20):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(PictureError, match="no picture that can be read"):
            open_picture(tmp_path / "odd")
    (tmp_path / "text.png").write_bytes(png(4, 4, b"not compressed"))
    with pytest.raises(PictureError, match="damaged"):
        open_picture(tmp_path / "text.png")


def test_a_file_that_is_too_large(tmp_path):
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(60_000_000)
    with pytest.raises(PictureError, match="has 60 MB; at most 50"):
        open_picture(tmp_path / "large.png")


def test_proportions_are_kept():
    square = fitted(PHOTO, (40, 40))
    assert square.size == (40, 40) and square.getpixel((5, 5)) == (255, 0, 0) and min(square.getpixel((30, 5))) == 255
