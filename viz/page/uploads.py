"""Pictures from outside, opened safely: whatever comes, an upright RGB picture or one plain sentence."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_BYTES, MAX_PIXELS, MAX_SIDE = 50_000_000, 50_000_000, 30_000


class PictureError(ValueError):
    """A file is no picture that can be used; the message is one sentence for the person who sent it."""


def open_picture(path: str | Path) -> Image.Image:
    """An upright RGB picture; of an animation the first frame; what is transparent becomes white.

    Raises:
        PictureError: when it is too large, cut short, or no picture.
    """
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise PictureError(
            f"The picture has {path.stat().st_size / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} are read."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own warning about size: the limit here is lower, and an error
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size  # read from the header: nothing has been unpacked yet
                if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                    raise PictureError(f"The picture has {width:,}×{height:,} pixels; at most {MAX_PIXELS:,} are read.")
                image.seek(0)
                image.load()
                return to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise PictureError(f"This is no picture that can be read; it should be one of {', '.join(FORMATS)}.") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"The picture is too large; at most {MAX_PIXELS:,} pixels are read.") from error
    except PictureError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError, KeyError, IndexError) as error:
        raise PictureError("The picture is damaged: it ends too early, or is not what it says it is.") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow picture as RGB, on white where it is transparent."""
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits and more a pixel: Pillow's own conversion clips
        high = image.getextrema()[1]
        full = 65535 if image.mode != "F" and high > 255 else max(high, 1)
        return image.convert("F").point(lambda level: level * (255 / full)).convert("L").convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
