"""What a Space reads: the front matter of README.md and requirements.txt, and that no Debian package is needed."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import gradio
import pytest
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # that a Space's card may have


@pytest.fixture(scope="module")
def front() -> dict:
    return SpaceCard.load(ROOT / "README.md").data.to_dict()


@pytest.fixture(scope="module")
def requirements() -> dict[str, Requirement]:
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    return {found.name: found for found in map(Requirement, filter(None, lines))}


def test_the_space_is_one_of_gradio_in_the_version_that_is_pinned_and_installed(front, requirements):
    assert front["sdk"] == "gradio"
    assert str(requirements["gradio"].specifier) == f"=={front['sdk_version']}"
    assert front["sdk_version"] == gradio.__version__


def test_the_space_has_a_python_that_the_package_and_its_requirements_allow(front):
    """A Space takes Python 3.10 unless it is told, which the package does not run on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = front["python_version"]
    assert isinstance(version, str), "unquoted, YAML reads 3.10 as 3.1"
    assert f"{version}.0" in SpecifierSet(project["requires-python"])
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert set(re.findall(r'python-version: "([\d.]+)"', workflow)) == {version}, "what is tested is what runs"


def test_the_files_that_the_space_names_exist(front):
    source = (ROOT / front["app_file"]).read_text()
    assert "from viz.__main__ import main" in source and "main()" in source
    assert Image.open(ROOT / front["thumbnail"]).width >= 1200


def test_the_card_has_values_that_the_hub_takes(front):
    assert {front["colorFrom"], front["colorTo"]} <= COLORS
    assert 0 < len(front["short_description"]) <= 60
    assert front["license"] == "mit" and "MIT" in (ROOT / "LICENSE").read_text()
    assert front["suggested_hardware"] == "cpu-basic"
    assert re.fullmatch(r"\W{1,2}", front["emoji"])
    known = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "tags"}
    assert set(front) <= known | {"short_description", "license", "suggested_hardware", "thumbnail"}


def test_no_two_requirements_contradict_each_other(requirements):
    """As far as they are installed: each pinned version is what every other package asks for."""
    pinned = {name.lower(): str(each.specifier).removeprefix("==") for name, each in requirements.items()}
    for name in pinned:
        for text in importlib.metadata.requires(name) or ():
            asked = Requirement(text)
            is_asked = asked.marker is None or asked.marker.evaluate({"extra": ""})
            if is_asked and asked.name.lower() in pinned:
                assert pinned[asked.name.lower()] in asked.specifier, (name, text)


def test_what_a_space_adds_does_not_contradict_the_pins(requirements):
    """It installs gradio[oauth,mcp] in one call with requirements.txt."""
    extras = [Requirement(text) for text in importlib.metadata.requires("gradio") or () if "extra ==" in text]
    asked = [each for each in extras if any(each.marker.evaluate({"extra": name}) for name in ("oauth", "mcp"))]
    assert "pydantic" in {each.name for each in asked}
    for each in asked:
        if (pin := requirements.get(each.name)) is not None:
            assert str(pin.specifier).removeprefix("==") in each.specifier, each


def test_torch_without_cuda_is_what_the_pin_asks_for(requirements):
    """A build for CPUs is called 2.13.0+cpu: whoever has installed it first keeps it."""
    (pin,) = requirements["torch"].specifier
    assert pin.operator == "==" and f"{pin.version}+cpu" in requirements["torch"].specifier
