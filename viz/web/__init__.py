"""The front end: ES modules, styles and JavaScript libraries, joined into one script without a build step.

Node and browsers can run the module files as they are. `joined` writes them one after another, each as a function that
is called once and returns its exports, so that a single script or HTML file contains them all.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

WEB = Path(__file__).parent

_IMPORT = re.compile(r'^(import|export) (?:\{([^}]*)\}|(\w+)) from "([^"]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) (\w+))", re.MULTILINE)
_MODULE = 'modules["{path}"] = (() => {{\n{body}return {{ {exports} }};\n}})();\n'
# Libraries are CommonJS; as in Node, `import library from` gives the object of their exports.
_LIBRARY = (
    'modules["{path}"] = (() => {{\nconst module = {{ exports: {{}} }}, {{ exports }} = module;\n{body}\n'
    "return {{ default: module.exports }};\n}})();\n"
)


class ModuleError(ValueError):
    """These modules cannot be joined."""


def joined(entry: str) -> str:
    """Return a JavaScript expression that runs the module at `entry`, a path below `WEB`; its value is the exports.

    Raises:
        ModuleError: for circular imports; for an imported name that is not exported; for any form other than
            `import { a } from`, `import library from`, `export { a } from` and `export function`, `class` or `const`.
    """
    modules: dict[str, tuple[str, list[str]]] = {}  # {path: (text, exports)}, in the order in which they must run
    _add(entry, [], modules)
    return f'(() => {{\n"use strict";\nconst modules = {{}};\n{"".join(text for text, _ in modules.values())}' + (
        f'return modules["{entry}"];\n}})()'
    )


def _add(path: str, importers: list[str], modules: dict[str, tuple[str, list[str]]]) -> None:
    """Add a module after those it imports; `importers` is the chain of imports that led to it."""
    if path in importers:
        raise ModuleError(f"modules import each other in a circle: {' → '.join([*importers, path])}")
    if path in modules:
        return
    body = (WEB / path).read_text()
    exports: list[str] = []
    if path.startswith("vendor/"):
        modules[path] = _LIBRARY.format(path=path, body=body), ["default"]
        return

    def join_import(match: re.Match[str]) -> str:
        kind, names, library, source = match.groups()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), source))
        _add(target, [*importers, path], modules)
        imported = re.findall(r"\w+", names) if names else ["default"]
        if missing := set(imported) - set(modules[target][1]):
            raise ModuleError(f"{path} imports {', '.join(sorted(missing))}, which {target} does not export")
        exports.extend(imported if kind == "export" else [])
        return f'const {{ {f"default: {library}" if library else ", ".join(imported)} }} = modules["{target}"];'

    body = _IMPORT.sub(join_import, body)
    exports += _EXPORT.findall(body)
    body = _EXPORT.sub("", body)
    if unknown := re.search(r"^(import|export)\b.*", body, re.MULTILINE):
        raise ModuleError(f"{path}: this form of import or export cannot be joined: {unknown.group()}")
    modules[path] = _MODULE.format(path=path, body=body, exports=", ".join(exports)), exports


def styles(*names: str) -> str:
    """Return the text of these style sheets, one after another."""
    return "\n".join((WEB / "styles" / f"{name}.css").read_text() for name in names)
