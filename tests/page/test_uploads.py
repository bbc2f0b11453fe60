"""Uploaded pictures: ordinary ones, damaged ones, and malicious ones."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from viz.page.uploads import MAX_PIXELS, PictureError, open_picture

PHOTO = Image.new("RGB", (60, 40), "white")
ImageDraw.Draw(PHOTO).rectangle((0, 0, 29, 19), fill=(255, 0, 0))  # a red quarter, top left


def save(tmp_path, image, name, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_open_picture_reads_common_formats(tmp_path):
    for name in ("a.png", "a.jpg", "a.webp", "a.gif", "a.bmp", "a.tiff"):
        picture = open_picture(save(tmp_path, PHOTO, name))
        assert picture.mode == "RGB" and picture.size == (60, 40)
        red, green, _ = picture.getpixel((5, 5))
        assert red > 230 and green < 40
        assert min(picture.getpixel((50, 30))) > 240


def test_open_picture_converts_every_mode_to_rgb(tmp_path):
    cmyk = open_picture(save(tmp_path, PHOTO.convert("CMYK"), "cmyk.jpg", quality=95))
    assert cmyk.getpixel((5, 5))[0] > 200 > 80 > cmyk.getpixel((5, 5))[1]
    alpha = PHOTO.convert("RGBA")
    alpha.putalpha(Image.new("L", PHOTO.size, 0))
    assert open_picture(save(tmp_path, alpha, "alpha.png")).getpixel((5, 5)) == (255, 255, 255)
    palette = PHOTO.quantize(4)
    assert open_picture(save(tmp_path, palette, "palette.png", transparency=0)).mode == "RGB"
    deep = Image.fromarray(np.full((4, 4), 32768, np.uint16))
    assert abs(open_picture(save(tmp_path, deep, "deep.png")).getpixel((0, 0))[0] - 128) <= 1
    assert open_picture(save(tmp_path, PHOTO.convert("1"), "one.png")).getpixel((50, 30)) == (255, 255, 255)
    assert open_picture(save(tmp_path, PHOTO.convert("LAB"), "lab.tiff")).mode == "RGB"


def test_open_picture_applies_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° clockwise
    picture = open_picture(save(tmp_path, PHOTO, "rotated.jpg", exif=exif, quality=95))
    assert picture.size == (40, 60) and picture.getpixel((35, 5))[1] < 60  # the red corner is now top right


def test_open_picture_takes_first_frame_of_an_animation(tmp_path):
    other = Image.new("RGB", PHOTO.size, "blue")
    for name in ("a.gif", "a.webp", "a.png"):
        path = save(tmp_path, PHOTO, name, save_all=True, append_images=[other, other], duration=50)
        assert open_picture(path).getpixel((5, 5))[0] > 200


def png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (200_000, 200_000), (2_000_000, 1)])
def test_open_picture_refuses_decompression_bombs_unread(tmp_path, width, height):
    (tmp_path / "bomb.png").write_bytes(png(width, height, zlib.compress(bytes(1_000_000))))
    with pytest.raises(PictureError, match=r"the limit is") as raised:
        open_picture(tmp_path / "bomb.png")
    assert f"{MAX_PIXELS:,}" in str(raised.value)


def test_open_picture_says_in_one_sentence_that_a_file_is_damaged(tmp_path):
    whole = {}
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"):
        file = io.BytesIO()
        Image.effect_noise((64, 64), 50).convert("RGB").save(file, kind)
        whole[kind] = file.getvalue()
    for content in whole.values():
        for length in (len(content) // 2, 40, 11):
            (tmp_path / "cut").write_bytes(content[:length])
            with pytest.raises(PictureError, match=r"damaged|can't be read"):
                open_picture(tmp_path / "cut")
    for content in (b"", b"<svg onload=alert(1)>", b"%PDF-1.4", bytes(range(256)) * 20):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(PictureError, match="can't be read as an image"):
            open_picture(tmp_path / "odd")
    (tmp_path / "text.png").write_bytes(png(4, 4, b"not compressed"))
    with pytest.raises(PictureError, match="damaged"):
        open_picture(tmp_path / "text.png")


def test_open_picture_refuses_large_file(tmp_path):
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(60_000_000)
    with pytest.raises(PictureError, match="has 60 MB; the limit is 50 MB"):
        open_picture(tmp_path / "large.png")


def test_open_picture_refuses_a_few_bytes_that_claim_many_pixels(tmp_path):
    """Flat pictures compress without end; opened, each pixel takes ten bytes and more."""
    Image.new("1", (7000, 7000)).save(tmp_path / "flat.webp", lossless=True)
    assert (tmp_path / "flat.webp").stat().st_size < 10_000
    with pytest.raises(PictureError, match="far more than its file holds"):
        open_picture(tmp_path / "flat.webp")
    Image.new("1", (4000, 3000)).save(tmp_path / "mask.png")
    assert open_picture(tmp_path / "mask.png").size == (4000, 3000)
