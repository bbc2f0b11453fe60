"""What the README shows is what happens."""

import inspect
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
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
        picture = Image.open(ROOT / shown)
        assert picture.size[0] >= (600 if picture.format == "GIF" else 1200)  # an animation has to be small


def test_contributing_shows_the_probe_of_the_docstring():
    """The docstring's probe is run by tests/recording."""
    from viz.probes import site

    (shown,) = re.findall(r"```py\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    docstring = re.sub(r"\n\s*\n", "\n", inspect.cleandoc(site.__doc__)).replace("\n    ", "\n")
    assert re.sub(r"\n\s*\n", "\n", shown.strip()) in docstring


def test_documents_link_to_files_that_exist():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+?)\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), (page.name, link)


def test_documents_name_make_targets_and_paths_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    for page in pages:
        text = page.read_text()
        assert set(re.findall(r"`make ([a-z-]+)`", text)) <= targets, page.name
        for path in re.findall(r"`((?:viz|models|tests|assets|docs)/[\w./]*)`", text):
            assert (ROOT / path).exists(), (page.name, path)


def test_makefile_lists_its_targets():
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    listed = re.findall(r"^# make ([a-z-]+) ", makefile, re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)", makefile, re.MULTILINE)
    assert ["help", *listed] == phony.split()
