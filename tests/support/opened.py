"""A trace that Python wrote, opened by viz/web/core in Node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.node import evaluate
from viz.view import Query
from viz.web import WEB


def opened(path: Path, expression: str, *, remote: str = "null") -> Any:
    """The value of an expression of `trace`, the trace in a file, and `core`, what the modules export."""
    modules = (
        "trace",
        "compact",
        "answers",
        "words",
        "proof",
        "query",
        "captions",
        "shares",
        "sides",
        "word_sentences",
    )
    imports = "".join(f"import * as {name} from {json.dumps(str(WEB / 'core' / f'{name}.js'))};\n" for name in modules)
    core = ", ".join(f"...{name}" for name in modules)
    read = f"new Uint8Array(readFileSync({json.dumps(str(path))})).buffer"
    return evaluate(
        f'import {{ readFileSync }} from "node:fs";\n{imports}const core = {{ {core} }};\n'
        f"const opened = core.openTrace({read}, {remote});\n"
        f"answer((({{ trace, core }}) => {expression})({{ trace: opened, core }}));"
    )


def map_of(layer: int, step: int, head: int, query: Query, mode: str, special: bool, **options: str) -> str:
    """An expression of a map, read as the viewer reads it.

    Args:
        layer: an index into `trace.layers` of a pixel's query, into `trace.all` of a word's.
        options: the reading and the branch.
    """
    choices = {"mode": mode, "special": special, "reading": "spent", **options}
    values = ", ".join(json.dumps(value) for value in (query.to_json(), layer, step, head, choices))
    return f"""((query, layer, step, head, options) => {{
        const spec = (query.kind === "word" ? trace.all : trace.layers)[layer];
        const out = new Float32Array(core.mapGrid(spec, core.modeOf(query, options)).tokens);
        new core.Answers(trace, () => {{}}).read(query, spec, step, head, options, out, true);
        return [...out];
    }})({values})"""
