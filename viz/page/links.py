"""Links: a recipe and a view as text for an address. No file, no secret, no state of the server: it survives them all.

    text = encode(recipe, view)       # "AQ…", letters, digits, "-" and "_"
    recipe, view = decode(text)       # LinkError, with a sentence for the reader, for what is not a whole link

The text is base64url of: the version (1 byte), the length of the rest (2), its CRC-32 (4), and the rest, deflated JSON.
The length tells a link that was cut short from one that was changed; neither protects from forgery, which is why Recipe
and View check all that a link says.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib

from viz.recipe import Recipe, RecipeError
from viz.view import View, ViewError

VERSION = 1
MAX_LINK, MAX_JSON = 16_000, 65_536
_HEAD = struct.Struct(">BHI")


class LinkError(ValueError):
    """A link cannot be followed; the message is one sentence for the reader."""


def encode(recipe: Recipe, view: View) -> str:
    """The text of a link, mostly below 500 letters.

    Raises:
        LinkError: when it would have more than 16,000, which are more than every browser and server on its way take.
    """
    said = json.dumps({"recipe": recipe.to_json(), "view": view.to_json()}, separators=(",", ":"))
    packed = zlib.compress(said.encode(), 9, wbits=-zlib.MAX_WBITS)
    whole = _HEAD.pack(VERSION, len(packed), zlib.crc32(packed)) + packed
    text = base64.urlsafe_b64encode(whole).decode().rstrip("=")
    if len(text) > MAX_LINK:
        raise LinkError("This view does not fit into a link: its painted regions are too intricate.")
    return text


def decode(text: object) -> tuple[Recipe, View]:
    """What a link says, checked.

    Raises:
        LinkError: when it is no link, was cut short or changed, or says what no recipe or view may say.
    """
    packed = _opened(text)
    try:
        unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        raw = unpacker.decompress(packed, MAX_JSON)  # never more, whatever it claims to hold
        if not unpacker.eof or unpacker.unused_data:
            raise LinkError("This link cannot be opened: it holds more than a recipe and a view.")
        said = json.loads(raw)
    except (zlib.error, ValueError, RecursionError) as error:
        if isinstance(error, LinkError):
            raise
        raise LinkError("This link cannot be opened: what is in it is not a recipe and a view.") from error
    if not isinstance(said, dict) or set(said) != {"recipe", "view"}:
        raise LinkError("This link cannot be opened: what is in it is not a recipe and a view.")
    try:
        return Recipe.from_json(said["recipe"]), View.from_json(said["view"])
    except (RecipeError, ViewError) as error:
        raise LinkError(f"This link cannot be followed. {error}") from error


def _opened(text: object) -> bytes:
    """The part of a link that its checksum is for, checked."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise LinkError("This link was changed on its way: it holds signs that no link has.")
    if len(text) > MAX_LINK:
        raise LinkError(f"This is no link of PixelGaze: it has {len(text):,} letters.")
    whole = base64.urlsafe_b64decode(text[: len(text) - (len(text) % 4 == 1)] + "=" * (-len(text) % 4 % 3))
    if len(whole) < _HEAD.size:
        raise LinkError("This link was cut short: please copy it again, whole.")
    version, length, checksum = _HEAD.unpack_from(whole)
    packed = whole[_HEAD.size :]
    unchanged = base64.urlsafe_b64encode(whole).decode().rstrip("=") == text  # bits that no byte is made of, too
    if version != VERSION:
        raise LinkError(f"This link was changed on its way, or made by another PixelGaze: its version is {version}.")
    if len(packed) < length:
        raise LinkError("This link was cut short: please copy it again, whole.")
    if len(packed) > length or zlib.crc32(packed) != checksum or not unchanged:
        raise LinkError("This link was changed on its way: please copy it again.")
    return packed


def differences(recipe: Recipe, revision: str, versions: dict[str, str]) -> str | None:
    """A sentence where a link's recipe was followed with other weights or libraries than those that are here.

    Args:
        revision, versions: what it is followed with here (`Recipe.weights`, `models.opening.revision`).
    """
    there = {"the weights": recipe.revision, **recipe.versions}
    here = {"the weights": revision, **versions}
    other = [
        f"{name} {there[name]} (here {here[name]})" for name in here if there.get(name) and there[name] != here[name]
    ]
    if not other:
        return None
    return f"The link was made with {', '.join(other)}: the picture may differ from the one it was made for."
