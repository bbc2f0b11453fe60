"""A figure as a PDF of one page, with real text in Helvetica or Times and its pictures as they are.

After ISO 32000-1, which makes every reader know these fonts (9.6.2.2).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from viz.figure_files import enlarged
from viz.figure_items import DOTS, Box, Dot, Image, Item, Lines, Sheet, Text, hundredths, width_of

FONTS = {"sans": ("Helvetica", "Helvetica-Bold"), "serif": ("Times-Roman", "Times-Bold")}
ROUND = 0.5523  # of the radius: from a quarter circle's ends to the control points of its Bézier curve
# These fonts have no glyphs for what is written on the left.
INSTEAD = {"−": "–", "₂": "2", "→": "to", "≥": ">=", "≤": "<="}


def to_pdf(sheet: Sheet) -> bytes:
    """The bytes of the file. Characters that the fonts lack become "?"."""
    scale = 72 / DOTS
    images = [item for item in sheet.items if isinstance(item, Image)]
    size = f"[0 0 {_number(sheet.width * scale)} {_number(sheet.height * scale)}]"
    named = " ".join(f"/I{i} {i + 7} 0 R" for i in range(len(images)))
    fonts = [f"<</Type/Font/Subtype/Type1/BaseFont/{name}/Encoding/WinAnsiEncoding>>" for name in FONTS[sheet.font]]
    drawn = f"{scale:g} 0 0 -{scale:g} 0 {_number(sheet.height * scale)} cm\n" + "\n".join(
        _operators(sheet.items, sheet.font)
    )
    resources = f"<</Font<</F0 5 0 R/F1 6 0 R>>/XObject<<{named}>>>>"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox{size}/Resources{resources}/Contents 4 0 R>>".encode(),
        _stream("", drawn.encode("cp1252")),
        *(font.encode() for font in fonts),
        *map(_picture, images),
    ]
    title = sheet.title.encode("utf-16-be", "replace").hex()
    return _joined([*objects, f"<</Title<feff{title}>/Creator(PixelGaze)>>".encode()])


def _joined(objects: list[bytes]) -> bytes:
    """The file of some objects, the first of which is the catalog and the last the document's information."""
    file, places = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    count = len(objects) + 1
    tail = f"trailer\n<</Size {count}/Root 1 0 R/Info {count - 1} 0 R>>\nstartxref\n{len(file)}\n%%EOF\n"
    return file + f"xref\n0 {count}\n0000000000 65535 f \n{table}{tail}".encode()


def _stream(entries: str, content: bytes) -> bytes:
    packed = zlib.compress(content, 9)
    return f"<<{entries}/Filter/FlateDecode/Length {len(packed)}>>\nstream\n".encode() + packed + b"\nendstream"


def _picture(image: Image) -> bytes:
    pixels = enlarged(image)
    shape = f"/Type/XObject/Subtype/Image/Width {pixels.shape[1]}/Height {pixels.shape[0]}"
    return _stream(f"{shape}/ColorSpace/DeviceRGB/BitsPerComponent 8", pixels.tobytes())


def _operators(items: Iterable[Item], font: str) -> Iterable[str]:
    count = 0
    for item in items:
        match item:
            case Image(x, y, width, height):
                yield f"q {width} 0 0 {-height} {x} {y + height} cm /I{count} Do Q"
                count += 1
            case Box(x, y, width, height, fill):
                yield f"{_color(fill)} rg {x} {y} {width} {height} re f"
            case Lines(strokes, stroke, thick):
                path = " ".join(f"{a} {b} m {c} {d} l" for a, b, c, d in strokes)
                yield f"{_color(stroke)} RG {thick} w 2 J {path} S"
            case Dot(x, y, radius, fill):
                yield f"{_color(fill)} rg {_circle(x, y, radius)} f"
            case Text(x, y, text, size, fill, bold, anchor):
                before = {"start": 0, "middle": 0.5, "end": 1}[anchor] * width_of(text, size, font)
                style = f"{_color(fill)} rg /F{int(bold)} {size:g} Tf"
                yield f"BT {style} 1 0 0 -1 {_number(x - before)} {y} Tm ({_string(text)}) Tj ET"


def _circle(x: int, y: int, r: int) -> str:
    c = r * ROUND
    curves = [
        (x + r, y + c, x + c, y + r, x, y + r),
        (x - c, y + r, x - r, y + c, x - r, y),
        (x - r, y - c, x - c, y - r, x, y - r),
        (x + c, y - r, x + r, y - c, x + r, y),
    ]
    return f"{x + r} {y} m " + " ".join(" ".join(map(_number, curve)) + " c" for curve in curves)


def _number(value: float) -> str:
    return f"{hundredths(value):.2f}".rstrip("0").rstrip(".")


def _color(fill: str) -> str:
    return " ".join(_number(int(fill[i : i + 2], 16) / 255) for i in (1, 3, 5))


def _string(text: str) -> str:
    """A text between parentheses, in the characters of WinAnsi."""
    clean = "".join(INSTEAD.get(each, each) for each in text).encode("cp1252", "replace").decode("cp1252")
    printable = "".join(each if each >= " " else " " for each in clean)
    return printable.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
