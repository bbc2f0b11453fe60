"""The browser's modules: each is one by itself, and joined they behave as they do apart."""

import re
from pathlib import Path

import pytest

from tests.support.node import NODE, evaluate, run_node
from viz import web
from viz.web import WEB, ModuleError, joined
from viz.web.assemble import SOURCES, assembled, module_of

MODULES = sorted(path.relative_to(WEB).as_posix() for path in WEB.rglob("*.js") if "vendor" not in path.parts)
ENTRIES = ["hosts/page.js", "hosts/early.js", "hosts/english.js", "hosts/shelf.js", "standalone.js"]
PROBE = """
const { layerLabel, toFloats } = trace;
const { checkQuery, coverage, decodeMask, encodeMask } = query;
const keys = { firstKey: 1, keyCount: 5 };
const keyGrid = { height: 2, width: 2, tokens: 4 };
const layer = { tokens: 4, heads: 2, headDim: 2, scale: 0.7, firstQuery: 0, queryCount: 4, keyGrid, ...keys };
const [q, k] = [16, 20].map((count) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * i)));
const mask = Uint8Array.from({ length: 15 }, (_, i) => i % 4 === 0);
const region = encodeMask(mask, [3, 5]);
answer([
  layerLabel("up_blocks.2.attentions.1.transformer_blocks.0.attn1"),
  [...toFloats({ dtype: "F16", bytes: Uint8Array.of(0, 60, 0, 192) })],
  [...attention.answerAllHeads(layer, q, k, { tokens: [1, 2], weights: [0.5, 0.5] }, null)],
  [...decodeMask(checkQuery(region))],
  [...coverage(region, { height: 4, width: 4 })],
  [...files.npz({ a: [Float32Array.of(1, 2), [2]] })].slice(0, 4),
]);
"""
PROBED = {
    "trace": "core/trace.js",
    "query": "core/query.js",
    "attention": "core/attention.js",
    "files": "export/files.js",
}


@pytest.mark.parametrize("path", MODULES)
def test_module_parses_alone_in_strict_mode(path):
    """Node takes a file of viz/web as an ES module, which is always strict."""
    run_node("--check", str(WEB / path))
    assert re.search(r"^(import|export) ", (WEB / path).read_text(), re.MULTILINE), f"{path} is a script, not a module"


def test_node_check_refuses_what_strict_mode_forbids(tmp_path):
    """The check above can fail."""
    (tmp_path / "package.json").write_text((WEB / "package.json").read_text())
    (tmp_path / "loose.js").write_text("export const a = 1;\nwith (a) {}\n")
    with pytest.raises(RuntimeError, match="Strict mode code may not include a with statement"):
        run_node("--check", str(tmp_path / "loose.js"))


def test_every_module_is_part_of_a_script():
    texts = [joined(entry) for entry in ENTRIES]
    assert [path for path in MODULES if not any(f'modules["{path}"] = ' in text for text in texts)] == []


def test_modules_run_natively_and_export_the_same_joined():
    """Every import names something that exists, for Node's own loader; and no top level needs a DOM."""
    paths = [path for path in MODULES if path != "standalone.js"]  # which starts when it is imported, and needs a page
    native = "".join(f"import * as native{i} from {str(WEB / path)!r};\n" for i, path in enumerate(paths))
    pairs = "".join(
        f"[Object.keys(native{i}).sort(), Object.keys({joined(path)}).sort()],\n" for i, path in enumerate(paths)
    )
    for path, (apart, together) in zip(paths, evaluate(f"{native}answer([{pairs}]);"), strict=True):
        assert apart and apart == together, path


def test_joined_modules_compute_what_they_compute_apart():
    apart = "".join(f"import * as {name} from {str(WEB / path)!r};\n" for name, path in PROBED.items())
    together = "".join(f"const {name} = {joined(path)};\n" for name, path in PROBED.items())
    assert evaluate(apart + PROBE) == evaluate(together + PROBE)
    assert evaluate(apart + PROBE)[3] == [int(i % 4 == 0) for i in range(15)]


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Write modules in place of those of viz/web."""
    monkeypatch.setattr(web, "WEB", tmp_path)

    def write(**texts: str) -> Path:
        for name, text in texts.items():
            path = tmp_path / f"{name}.js"
            path.write_text(text)
        return tmp_path

    return write


def test_joined_runs_a_module_once_and_after_what_it_imports(modules):
    modules(
        a='import { b, counted } from "./b.js";\nimport { c } from "./c.js";\n'
        "export const a = [b, c.length, c === counted];\n",
        b='import { c } from "./c.js";\nexport { d } from "./c.js";\nc.push(1);\n'
        "export const b = c.length;\nexport const counted = c;\n",
        c="export const c = [];\nexport const d = 1;\n",
    )
    assert evaluate(f"answer({joined('a.js')}.a);") == [1, 1, True]


def test_joined_refuses_a_circle(modules):
    modules(
        a='import { b } from "./b.js";\nexport const a = 1;\n', b='import { a } from "./a.js";\nexport const b = 1;\n'
    )
    with pytest.raises(ModuleError, match=r"in a circle: a\.js → b\.js → a\.js"):
        joined("a.js")


def test_joined_refuses_a_name_that_is_not_exported(modules):
    modules(a='import { b, d } from "./b.js";\n', b="export const b = 1;\nconst d = 2;\n")
    with pytest.raises(ModuleError, match=r"a\.js imports d, which b\.js does not export"):
        joined("a.js")


@pytest.mark.parametrize(
    "line",
    [
        'import * as b from "./b.js";',
        'import { b as c } from "./b.js";',
        "export default 1;",
        'import "./b.js";',
        'export * from "./b.js";',
    ],
)
def test_joined_refuses_forms_it_does_not_know(modules, line):
    modules(a=f"{line}\n", b="export const b = 1;\n")
    with pytest.raises(ModuleError, match=r"a\.js"):
        joined("a.js")


def test_node_is_the_one_of_playwright():
    assert NODE.exists() and run_node("--version").startswith("v")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_webassembly_is_what_its_source_assembles_to(source):
    assert module_of(source).read_text() == assembled(source)
