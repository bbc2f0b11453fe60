"""Assemble the WebAssembly of the front end: `python -m viz.web.assemble` writes it as JavaScript modules.

The modules are joined into one script that needs no second file, so the code is a constant in each. It is
committed, and nothing but a change of its source needs the assembler, the package `wasmtime`.
"""

from __future__ import annotations

import base64
from pathlib import Path

from viz.web import WEB

SOURCES = (WEB / "core" / "attention.wat", WEB / "core" / "painting.wat")


def module_of(source: Path) -> Path:
    """Where the assembled source is: painting.wat in painting_wasm.js."""
    return source.with_name(f"{source.stem}_wasm.js")


def assembled(source: Path) -> str:
    """The text of the JavaScript module that holds the assembled source."""
    from wasmtime import wat2wasm  # a development requirement

    code, name = base64.b64encode(wat2wasm(source.read_text())).decode(), f"{source.stem.upper()}_WASM"
    return f'// Made from {source.name} by `python -m viz.web.assemble`.\nexport const {name} = "{code}";\n'


if __name__ == "__main__":
    for source in SOURCES:
        module_of(source).write_text(assembled(source))
