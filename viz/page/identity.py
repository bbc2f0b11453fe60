"""What the page is to browsers and to other sites: icon, font, title, description, and a shared link's picture.

Gradio writes its own name and picture into the tags that social sites read.
"""

from __future__ import annotations

import hashlib
import html
import re
from functools import cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from models.assets import ASSETS

TITLE = "PixelGaze: where a pixel looks"
DESCRIPTION = "Point at a pixel of a picture that a diffusion U-Net is drawing, and see where that pixel looks."
SOCIAL_SIZE = (1200, 630)  # width and height of social.jpg; `make screenshots` takes it

_TYPES = {"svg": "image/svg+xml", "jpg": "image/jpeg", "woff2": "font/woff2"}
_ICON, _SOCIAL, _FONT = "icon.svg", "social.jpg", "inter.woff2"
# All weights in one file, of Latin letters; where a sign is missing, the next font has it.
_FACE = (
    "@font-face {{ font-family: Inter; font-weight: 100 900; font-display: swap; src: url({font}) format('woff2') }}"
)
_GRADIOS = re.compile(rb"""<meta\s+(?:property|name)="(?:og|twitter):[^>]*>\s*""")


@cache
def _served(name: str) -> tuple[str, bytes]:
    """The address of a file of assets/page, which holds its hash, without a slash in front; and its content."""
    content = (ASSETS / "page" / name).read_bytes()
    stem, _, suffix = name.partition(".")
    return f"pixelgaze-{stem}-{hashlib.sha256(content).hexdigest()[:16]}.{suffix}", content


def identity_routes() -> list[Route]:
    """Routes for the page's own files; for `launch(app_kwargs={"routes": [...]})`. Browsers may cache them forever."""
    return [_route(name) for name in (_ICON, _SOCIAL, _FONT)]


def _route(name: str) -> Route:
    address, content = _served(name)
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    media_type = _TYPES[name.partition(".")[2]]

    def respond(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=headers)

    return Route(f"/{address}", respond)


def introduce(page: bytes, origin: str) -> bytes:
    """The page's HTML with its own description in place of Gradio's tags.

    Args:
        origin: where the reader has it from, such as "https://host"; social sites want whole addresses.
    """
    return _GRADIOS.sub(b"", page).replace(b"</head>", _tags(origin).encode() + b"</head>", 1)


def _tags(origin: str) -> str:
    width, height = SOCIAL_SIZE
    named = {"description": DESCRIPTION, "twitter:card": "summary_large_image", "color-scheme": "light dark"}
    properties = {
        "og:type": "website",
        "og:site_name": "PixelGaze",
        "og:title": TITLE,
        "og:description": DESCRIPTION,
        "og:url": f"{origin}/",
        "og:image": f"{origin}/{_served(_SOCIAL)[0]}",
        "og:image:width": str(width),
        "og:image:height": str(height),
        "og:image:alt": "A critter, the map of one of its pixels, and the atlas of that pixel's maps",
    }
    metas = [("name", *item) for item in named.items()] + [("property", *item) for item in properties.items()]
    lines = [f'<meta {kind}="{key}" content="{html.escape(value)}">' for kind, key, value in metas]
    icon = f'<link rel="icon" type="image/svg+xml" href="./{_served(_ICON)[0]}">'
    font = f"./{_served(_FONT)[0]}"
    lines.append(f'<link rel="preload" as="font" type="font/woff2" href="{font}" crossorigin>')
    lines.append(f"<style>{_FACE.format(font=font)}</style>")
    lines.append(f"<title>{html.escape(TITLE)}</title>")
    return "".join([*lines, icon])


def origin_of(scope: Scope) -> str:
    """Where a request for the page went: scheme, host and, behind a proxy, the path in front of it."""
    root = scope.get("root_path", "").rstrip("/")
    if root.startswith(("http://", "https://")):
        return root
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host"), "")
    return f"{scope['scheme']}://{host}{root}"
