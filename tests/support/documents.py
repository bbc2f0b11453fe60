"""Views and links that tests share."""

import base64
import struct
import zlib

from viz.view import Box, Pixel, Region, View, WordQuery

PINS = (
    Pixel((0.25, 0.5)),
    Box((0.1, 0.2), (0.5, 0.9)),
    Region((3, 5), b"\x80\x02"),
    WordQuery("“red”", 1, "word", 2),
)
FULL = View(
    (0.5, 0.25),
    "mid_block.attentions.0",
    16,
    2,
    PINS,
    1,
    mode="column",
    special=True,
    range="own",
    log=False,
    smooth=True,
    base="preview",
    heads=True,
    reading="used",
    branch="difference",
    winner=True,
    bars="grid",
    opacity=0.25,
)


def forged(raw: bytes, version: int = 1) -> str:
    """A link whose length and checksum are right, whatever is in it."""
    packed = raw if raw[:1] == b"\0" else zlib.compress(raw, 9, wbits=-15)
    head = struct.pack(">BHI", version, len(packed), zlib.crc32(packed))
    return base64.urlsafe_b64encode(head + packed).decode().rstrip("=")
