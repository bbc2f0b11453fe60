"""What the README shows is what happens."""

import re
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["image"].size == (64, 64)
    assert names["looks_at"].shape == names["looked_at_by"].shape == (4, 32, 32)
    assert (tmp_path / "run.safetensors").is_file()


def test_the_space_runs_the_gradio_that_is_pinned():
    pinned = re.search(r"^gradio==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE).group(1)
    assert f"\nsdk_version: {pinned}\n" in README
    assert len(re.search(r"^short_description: (.*)$", README, re.MULTILINE).group(1)) <= 60


def test_every_requirement_is_pinned_and_imported():
    code = "\n".join(path.read_text() for room in ("models", "viz") for path in (ROOT / room).rglob("*.py"))
    modules = {"pillow": "PIL"}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, _ = line.split("==")
            assert re.search(rf"^\s*(import|from) {modules.get(name, name)}\b", code, re.MULTILINE), name


def test_the_pictures_it_shows_are_there():
    for shown in re.findall(r"!\[.*?\]\((.*?)\)", README) + re.findall(r"^thumbnail: (.*)$", README, re.MULTILINE):
        assert Image.open(ROOT / shown).size[0] >= 1200
