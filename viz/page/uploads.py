"""Opening uploaded pictures safely: the result is an upright RGB picture or an error of one plain sentence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import cast

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_BYTES, MAX_PIXELS, MAX_SIDE = 50_000_000, 50_000_000, 30_000

# A file may have so many pixels, and so many more for each of its bytes: a few bytes can claim a picture of gigabytes.
FREE_PIXELS, DENSEST = 16_000_000, 1_000


class PictureError(ValueError):
    """A file cannot be used as a picture; the message is one sentence for the visitor who uploaded it."""


def open_picture(path: str | Path) -> Image.Image:
    """Open an image file as an upright RGB picture: an animation's first frame, with transparency turned white.

    Raises:
        PictureError: when it is too large, damaged, or not an image.
    """
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        size, limit = path.stat().st_size / 1e6, MAX_BYTES / 1e6
        raise PictureError(f"The picture has {size:.0f} MB; the limit is {limit:.0f} MB.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about large pictures; the limit below is lower
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size  # from the header; nothing has been decompressed yet
                if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                    raise PictureError(f"The picture has {width:,}×{height:,} pixels; the limit is {MAX_PIXELS:,}.")
                if width * height > FREE_PIXELS + DENSEST * path.stat().st_size:
                    raise PictureError(f"The picture claims {width:,}×{height:,} pixels, far more than its file holds.")
                image.seek(0)
                image.load()
                return to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        formats = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise PictureError(f"This file can't be read as an image. Use {formats}.") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"The picture is too large; the limit is {MAX_PIXELS:,} pixels.") from error
    except PictureError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError, KeyError, IndexError) as error:
        raise PictureError("The picture is damaged: it ends too early or does not match its format.") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow image to RGB, on a white background."""
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits per pixel or more; Pillow's own conversion clips
        _, high = cast("tuple[float, float]", image.getextrema())
        full = 65535 if image.mode != "F" and high > 255 else max(high, 1)
        return image.convert("F").point(lambda level: level * (255 / full)).convert("L").convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
