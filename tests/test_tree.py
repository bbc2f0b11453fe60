"""The tree's rules: imports go one way, no Gradio outside the page, nothing too long, no JavaScript in Python."""

from pathlib import Path

import pytest

from tests.support.tree import (
    Module,
    floor,
    import_circles,
    importers,
    long_functions,
    read_modules,
    scripts_in_strings,
    upward_imports,
)

ROOT = Path(__file__).parent.parent
MAX_FUNCTION, MAX_FILE = 60, 350
SOURCES = read_modules(ROOT, "app.py", "models", "viz")
TESTS = read_modules(ROOT, "tests")

# What breaks a rule today. Every entry must still be needed, so that the lists only shrink.
KNOWN: dict[str, set[str]] = {
    "circles": set(),
    "upward": set(),
    "gradio": set(),
    "tests": set(),
    "functions": set(),
    "files": set(),
    "scripts": set(),
}


def check(rule: str, culprits: set[str]) -> None:
    assert culprits - KNOWN[rule] == set(), f"new culprits ({rule})"
    assert KNOWN[rule] - culprits == set(), f"these keep the rule now: take them out of KNOWN[{rule!r}]"


def _code_files(place: Path) -> list[Path]:
    """Python and JavaScript that is written here: nothing vendored, nothing installed."""
    if place.is_file():
        return [place]
    paths = (path for path in place.rglob("*") if path.suffix in (".py", ".js", ".mjs"))
    return [path for path in paths if not {"vendor", "node_modules"} & set(path.parts)]


def toy(path: str, source: str) -> Module:
    return Module(Path(path), source)


def test_imports_form_no_circle():
    check("circles", import_circles(SOURCES))


def test_imports_never_go_up():
    check("upward", upward_imports(SOURCES))


def test_gradio_is_imported_by_the_page_and_what_starts_it():
    below = [module for module in SOURCES if floor(module.name) < floor("viz.page")]
    check("gradio", importers(below, r"gradio\b|gradio_"))


def test_test_modules_are_imported_by_no_other():
    check("tests", importers(TESTS, r"tests\.(\w+\.)*test_\w+"))


def test_functions_are_short():
    check("functions", long_functions([*SOURCES, *TESTS], MAX_FUNCTION))


def test_files_are_short():
    places = ("app.py", "models", "viz", "tests")
    paths = [path.relative_to(ROOT) for place in places for path in _code_files(ROOT / place)]
    assert len(paths) > 150
    check("files", {str(path) for path in paths if len((ROOT / path).read_text().splitlines()) > MAX_FILE})


def test_python_strings_hold_no_javascript():
    joining = ("viz/web/__init__.py", "viz/page/script.py")  # join the modules, and load what was joined
    check(
        "scripts",
        scripts_in_strings(module for module in SOURCES if not str(module.path).startswith(("models", *joining))),
    )


def test_every_module_stands_on_a_floor():
    floors = {floor(module.name) for module in SOURCES}
    assert len(floors) >= 7


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("from models import b", "from models.a import x"),
        ("import models.b", "def f():\n    from . import a"),
        ("import models.b", "from importlib import import_module\nimport_module('models.a')"),
    ],
)
def test_import_circles_names_its_modules(first, second):
    modules = [toy("models/a.py", first), toy("models/b.py", second), toy("models/c.py", "import models.a")]
    assert import_circles(modules) == {"models.a <-> models.b"}


def test_import_circles_ignores_imports_for_type_checkers():
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from models import a\nelse:\n    import os"
    assert import_circles([toy("models/a.py", "import models.b"), toy("models/b.py", typed)]) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import viz.page.runs",
        "from viz.page import runs",
        "from ..page.runs import stop",
        "def f():\n    if True:\n        from viz.page.runs import stop",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from viz.page.runs import Run",
    ],
)
def test_upward_imports_are_found_wherever_they_stand(source):
    modules = [toy("viz/lesson/panels.py", source), toy("viz/page/runs.py", "from viz.lesson import panels")]
    assert upward_imports(modules) == {"viz.lesson.panels -> viz.page.runs"}


def test_floor_goes_by_the_longest_prefix():
    order = ["models.opening.load", "viz.trace", "viz.recording.plan", "viz.lesson.file", "viz", "viz.page.runs"]
    order += ["viz.page.tabs.explore", "viz.__main__", "app"]
    assert [floor(name) for name in order] == sorted({floor(name) for name in order})


def test_long_functions_counts_lines():
    function = "async def f():\n" + "    pass\n" * MAX_FUNCTION
    assert long_functions([toy("a.py", function)], MAX_FUNCTION) == {"a.py::f"}
    assert long_functions([toy("a.py", function)], MAX_FUNCTION + 1) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('js = "() => 1"', True),
        ('js = f"{1}document.body"', True),
        ('js = "x.addEventListener()"', True),
        ('"""A docstring may say document.body => it."""\ntext = "a document. And more"', False),
    ],
)
def test_scripts_in_strings_skips_prose(source, found):
    assert scripts_in_strings([toy("a.py", source)]) == ({"a.py"} if found else set())
