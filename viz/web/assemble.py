"""Assemble the WebAssembly of the front end: `python -m viz.web.assemble` writes it as a JavaScript module.

The modules are joined into one script that needs no second file, so the code is a constant in one of them. It is
committed, and nothing but a change of its source needs the assembler, the package `wasmtime`.
"""

from __future__ import annotations

import base64

from viz.web import WEB

SOURCE, MODULE = WEB / "core" / "attention.wat", WEB / "core" / "attention_wasm.js"


def assembled() -> str:
    """The text of the JavaScript module that holds the assembled source."""
    from wasmtime import wat2wasm  # a development requirement

    code = base64.b64encode(wat2wasm(SOURCE.read_text())).decode()
    return f'// Made from attention.wat by `python -m viz.web.assemble`.\nexport const ATTENTION_WASM = "{code}";\n'


if __name__ == "__main__":
    MODULE.write_text(assembled())
