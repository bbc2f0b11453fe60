"""Links: a recipe and a view as the text of an address. They hold no file, secret or server state, so they stay valid.

    text = encode(recipe, view)       # "AQ…": letters, digits, "-" and "_"
    recipe, view = decode(text)       # LinkError, with a sentence for the visitor, when the link is damaged

The text is base64url of: the version (1 byte), the length of the rest (2), its CRC-32 (4), and the rest, deflated JSON.
The length distinguishes a truncated link from an altered one. Neither prevents forgery, so Recipe and View check every
value in a link.
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
    """A link cannot be followed; the message is one sentence for the visitor."""


def encode(recipe: Recipe, view: View) -> str:
    """The text of a link, mostly below 500 characters.

    Raises:
        LinkError: when it would exceed 16,000 characters, more than some browsers and servers accept.
    """
    document = json.dumps({"recipe": recipe.to_json(), "view": view.to_json()}, separators=(",", ":"))
    payload = zlib.compress(document.encode(), 9, wbits=-zlib.MAX_WBITS)
    message = _HEAD.pack(VERSION, len(payload), zlib.crc32(payload)) + payload
    text = base64.urlsafe_b64encode(message).decode().rstrip("=")
    if len(text) > MAX_LINK:
        raise LinkError("This view does not fit into a link: its painted regions are too intricate.")
    return text


def decode(text: object) -> tuple[Recipe, View]:
    """The recipe and the view of a link, checked.

    Raises:
        LinkError: when it is not a link, was truncated or altered, or holds values that no recipe or view may have.
    """
    document = _decompress(_unpack(text))
    if not isinstance(document, dict) or set(document) != {"recipe", "view"}:
        raise LinkError("This link cannot be opened: its content is not a recipe and a view.")
    try:
        return Recipe.from_json(document["recipe"]), View.from_json(document["view"])
    except (RecipeError, ViewError) as error:
        raise LinkError(f"This link cannot be followed. {error}") from error


def _unpack(text: object) -> bytes:
    """The payload of a link, checked against its length and checksum."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise LinkError("This link is damaged: it contains characters that no link has.")
    if len(text) > MAX_LINK:
        raise LinkError(f"This isn't a PixelGaze link: it has {len(text):,} characters.")
    message = base64.urlsafe_b64decode(text[: len(text) - (len(text) % 4 == 1)] + "=" * (-len(text) % 4 % 3))
    if len(message) < _HEAD.size:
        raise LinkError("This link was cut short: please copy all of it again.")
    version, length, checksum = _HEAD.unpack_from(message)
    payload = message[_HEAD.size :]
    # The last character has bits that belong to no byte, so the checksum does not cover them.
    unaltered = base64.urlsafe_b64encode(message).decode().rstrip("=") == text
    if version != VERSION:
        raise LinkError(
            f"This link is damaged, or was made by another version of PixelGaze: it says version {version}."
        )
    if len(payload) < length:
        raise LinkError("This link was cut short: please copy all of it again.")
    if len(payload) > length or zlib.crc32(payload) != checksum or not unaltered:
        raise LinkError("This link is damaged: please copy it again.")
    return payload


def _decompress(payload: bytes) -> object:
    """The JSON document in a link's payload. At most MAX_JSON bytes are decompressed, whatever the payload claims."""
    decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        document = decompressor.decompress(payload, MAX_JSON)
        if decompressor.eof and not decompressor.unused_data:
            return json.loads(document)
    except (zlib.error, ValueError, RecursionError) as error:
        raise LinkError("This link cannot be opened: its content is not a recipe and a view.") from error
    raise LinkError("This link cannot be opened: it holds more than a recipe and a view.")


def describe_differences(recipe: Recipe, revision: str, versions: dict[str, str]) -> str | None:
    """A sentence if a link was made with other weights or libraries than this server's, else None.

    Args:
        revision: of the weights used here (`Recipe.weights`).
        versions: of the libraries used here (`models.opening.revision.versions`).
    """
    there = {"the weights": recipe.revision, **recipe.versions}
    here = {"the weights": revision, **versions}
    differences = [
        f"{name} {there[name]} (here {here[name]})" for name in here if there.get(name) and there[name] != here[name]
    ]
    if not differences:
        return None
    return f"The link was made with {', '.join(differences)}, so the picture may differ from the original."
