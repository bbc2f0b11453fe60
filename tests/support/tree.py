"""Reads the repository's modules without running them: what they import, how long they are, what they contain."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# Later floors may import earlier ones and their own, never the other way round. The longest prefix decides.
FLOORS = (
    ("models",),
    ("viz.*", "viz.probes", "viz.web"),
    ("viz.recording",),
    ("viz.lesson",),
    ("viz",),  # viz/__init__.py, which re-exports the floors below it
    ("viz.page",),
    ("viz.page.tabs",),
    ("viz.__main__",),
    ("app",),
)
_FLOOR = {prefix: number for number, prefixes in enumerate(FLOORS) for prefix in prefixes}
_SCRIPT = re.compile(r"addEventListener|querySelector|\bdocument\.[a-zA-Z]|\bfunction\s*\w*\(|=>")


@dataclass(frozen=True)
class Import:
    """One import: the dotted name of the module, or of the module and what is taken from it."""

    name: str
    type_checking: bool


@dataclass(frozen=True)
class Module:
    """One Python file. `path` is relative to the repository's root."""

    path: Path
    source: str

    @property
    def name(self) -> str:
        return ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")

    @cached_property
    def syntax(self) -> ast.Module:
        return ast.parse(self.source, str(self.path))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """All of them: at the top, inside functions, for type checkers only, through `import_module`."""
        return tuple(self._imports(self.syntax, type_checking=False))

    def _imports(self, node: ast.AST, *, type_checking: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, type_checking) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = self._package(node.level)
            source = ".".join(filter(None, (package, node.module)))
            yield from (Import(f"{source}.{alias.name}", type_checking) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (
                Import(argument.value, type_checking)
                for argument in node.args[:1]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            )
        guarded: list[ast.stmt] = []
        if isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING":
            guarded = node.body
        for child in ast.iter_child_nodes(node):
            yield from self._imports(child, type_checking=type_checking or child in guarded)

    def _package(self, level: int) -> str:
        """The package that a relative import of this level starts from; "" for an absolute one."""
        return ".".join(self.path.parts[: len(self.path.parts) - level]) if level else ""


def read_modules(root: Path, *places: str) -> list[Module]:
    """The Python files of some folders or files of `root`."""
    paths = [path for place in places for path in _python_files(root / place)]
    return [Module(path.relative_to(root), path.read_text()) for path in paths]


def _python_files(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def import_graph(modules: Iterable[Module], *, type_checking: bool) -> dict[str, set[str]]:
    """Each module's name to those of the given modules that it imports.

    Args:
        type_checking: whether imports under `if TYPE_CHECKING` count.
    """
    modules = list(modules)
    names = {module.name for module in modules}
    graph: dict[str, set[str]] = {name: set() for name in sorted(names)}
    for module in modules:
        for item in module.imports:
            target = item.name if item.name in names else item.name.rpartition(".")[0]
            if target in names and target != module.name and (type_checking or not item.type_checking):
                graph[module.name].add(target)
    return graph


def import_circles(modules: Iterable[Module]) -> set[str]:
    """The groups of modules that import each other, directly or through others, each as "a <-> b"."""
    graph = import_graph(modules, type_checking=False)
    graph.pop("viz", None)  # viz/__init__.py imports when a name is first used, not when it is loaded
    reached = {name: _reachable(graph, name) for name in graph}
    groups = ({other for other in graph if other in reached[name] and name in reached[other]} for name in graph)
    return {" <-> ".join(sorted(group)) for group in groups if group}


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that `start` imports, directly or through others; itself only where it stands in a circle."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name in graph and name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def upward_imports(modules: Iterable[Module]) -> set[str]:
    """Imports of a module that stands on a later floor, each as "importer -> imported"."""
    graph = import_graph(modules, type_checking=True)
    return {
        f"{name} -> {target}" for name, targets in graph.items() for target in targets if floor(name) < floor(target)
    }


def floor(name: str) -> int:
    """The number of the floor that a module stands on; KeyError for a module outside all floors."""
    parts = name.split(".")
    if parts[0] == "viz" and len(parts) == 2 and name not in _FLOOR:
        return _FLOOR["viz.*"]
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next(_FLOOR[prefix] for prefix in prefixes if prefix in _FLOOR)


def importers(modules: Iterable[Module], pattern: str) -> set[str]:
    """The imports whose dotted name matches a pattern from its beginning, each as "path -> name"."""
    return {f"{m.path} -> {item.name}" for m in modules for item in m.imports if re.match(pattern, item.name)}


def long_functions(modules: Iterable[Module], limit: int) -> set[str]:
    """Functions of more than `limit` lines, each as "path::name"."""
    return {
        f"{module.path}::{node.name}"
        for module in modules
        for node in ast.walk(module.syntax)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (node.end_lineno or 0) - node.lineno >= limit
    }


def scripts_in_strings(modules: Iterable[Module]) -> set[str]:
    """Paths of modules with a string, docstrings excepted, that reads as JavaScript."""
    return {str(module.path) for module in modules if any(_SCRIPT.search(text) for text in _strings(module.syntax))}


def _strings(syntax: ast.Module) -> Iterator[str]:
    docstrings = {
        id(node.value)
        for node in ast.walk(syntax)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(syntax):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
