"""What a user installs: the wheel's contents, and that it works outside the checkout."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import timecost

ROOT = Path(__file__).parents[1]
FOLDERS = {"timecost": "timecost", "timecost.verifiers": "verifiers", "timecost.recipes": "recipes"}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def run(*command, cwd: Path, **env: str) -> str:
    options = {"cwd": cwd, "env": {**os.environ, **env}, "capture_output": True, "text": True, "timeout": 300}
    result = subprocess.run([sys.executable, *command], **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built by way of the source distribution, from a copy: a build leaves folders in its source tree."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    run("-m", "build", "--no-isolation", "--outdir", "dist", cwd=source)
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder that holds the installed wheel and, in `bin`, its command."""
    target = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=target)
    return target


@pytest.mark.slow
def test_the_wheel_holds_what_the_checkout_holds(wheel):
    files = {info.filename: info.file_size for info in zipfile.ZipFile(wheel).infolist()}
    assert {name.split("/")[0] for name in files} == {"timecost", f"timecost-{timecost.__version__}.dist-info"}
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".jinja", ".css", ".js", ".json", ".safetensors"):
                assert f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder).as_posix()}" in files
    for model in ("arithmetic_base", "arithmetic_base_bmojo"):
        assert 0 < files[f"timecost/tasks/{model}/model.safetensors"] <= 4 * 2**20
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in files)


@pytest.mark.slow
def test_the_packages_of_an_installed_wheel_are_its_own(installed, tmp_path):
    code = "import timecost.verifiers as v, timecost.recipes as r; print(*v.__path__, *r.__path__, sep='\\n')"
    paths = run("-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).splitlines()
    assert Path(paths[0]) == installed / "timecost" / "verifiers"
    assert installed / "timecost" / "recipes" in map(Path, paths)


@pytest.mark.slow
def test_the_installed_command_answers(installed, tmp_path):
    printed = run(str(installed / "bin" / "timecost"), "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    assert "train" in printed and "evaluate" in printed


@pytest.mark.slow
def test_an_installed_recipe_and_the_base_model_are_found(installed, tmp_path):
    code = (
        "from importlib.resources import files\n"
        "from timecost.tasks import resolve_model\n"
        "print(files('timecost.recipes').joinpath('arithmetic_levin.yaml').is_file(), resolve_model('arithmetic_base'))"
    )
    found, folder = run("-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert found == "True"
    assert Path(folder) == installed / "timecost" / "tasks" / "arithmetic_base"


def test_every_folder_with_modules_is_a_listed_package():
    found = set()
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            found.add(".".join([package, *path.parent.relative_to(ROOT / folder).parts]))
    setuptools = PYPROJECT["tool"]["setuptools"]
    data = {
        f"{package}.{glob.partition('/')[0]}" for package, globs in setuptools["package-data"].items() for glob in globs
    }
    assert found - set(setuptools["packages"]) - data == set()


def test_constraints_pin_every_dependency_within_its_bounds():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    extras = PYPROJECT["project"]["optional-dependencies"]["dev"]
    for requirement in map(Requirement, [*PYPROJECT["project"]["dependencies"], *extras]):
        assert pins[requirement.name] in requirement.specifier


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(timecost.__version__)}$", citation, re.MULTILINE)
