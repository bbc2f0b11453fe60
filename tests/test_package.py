"""What `pip install .` installs works from any directory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import viz

ROOT = Path(__file__).parent.parent
SOURCES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")
FOLDERS = ("models", "viz", "assets")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package installed into it, without its dependencies, from a copy of the sources."""
    copy, target = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("installed")
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "screenshots"))
    (copy / "viz" / "page" / "viewer.pyi").touch()  # Gradio leaves such stubs beside the sources
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(copy)]
    subprocess.run(command, check=True)
    return target


def run(installed: Path, *command: str) -> str:
    """The output of a Python command in the empty folder beside the package, with the package on the path."""
    elsewhere = installed / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *command], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_wheel_holds_every_source_file(installed):
    for folder, suffixes in {"models": {".py"}, "viz": {".py", ".js", ".css"}}.items():
        sources = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.suffix in suffixes}
        assert sources
        assert {path for path in sources if not (installed / path).is_file()} == set()


@pytest.mark.slow
def test_wheel_holds_the_data_inside_the_package(installed):
    for folder in ("classic", "critters", "gallery", "page"):
        data = {path.relative_to(ROOT / "assets") for path in (ROOT / "assets" / folder).rglob("*") if path.is_file()}
        assert data
        assert {path for path in data if not (installed / "models" / "data" / path).is_file()} == set()
    assert not list(installed.rglob("*.pyi"))
    assert {path.name for path in installed.iterdir()} - {"elsewhere"} == {
        "bin",
        "models",
        "viz",
        *(path.name for path in installed.glob("pixelgaze-*.dist-info")),
    }


@pytest.mark.slow
def test_pixelgaze_command_explains_itself(installed):
    assert "usage: pixelgaze" in run(installed, str(installed / "bin" / "pixelgaze"), "--help")


@pytest.mark.slow
def test_installed_package_opens_its_own_model_and_gallery(installed):
    code = """if True:
        import models, viz
        from viz.page.gallery import exhibits
        exhibit = exhibits()[0]
        print(viz.__file__)
        print(viz.Trace.load(exhibit.trace).steps == exhibit.steps)
        print(type(models.load("critters")).__name__)
    """
    where, same_steps, pipeline = run(installed, "-c", code).split()
    assert Path(where) == installed / "viz" / "__init__.py"
    assert (same_steps, pipeline) == ("True", "CritterPipeline")


def test_viz_lists_its_names_without_loading_torch():
    code = """if True:
        import sys, viz
        print(set(viz.__all__) <= set(dir(viz)), "torch" in sys.modules)
    """
    listed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert listed.split() == ["True", "False"]
    names = [getattr(viz, name).__name__ for name in viz.__all__]
    assert names == ["Caption", "Layer", "Trace", "Word", "caption_of", "daam", "figure", "look_at", "plan", "record"]
    with pytest.raises(AttributeError, match=r"'recrod'.*look_at"):
        _ = viz.recrod
