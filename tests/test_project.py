"""The project as a whole: style, types, import rules, and pages that agree with the truth."""

import importlib
import inspect
import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import zerodce_jax

BIN = Path(sys.executable).parent


def assert_clean(root: Path, name: str, *arguments: str) -> None:
    result = subprocess.run(
        [BIN / name, *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_style(root: Path) -> None:
    assert_clean(root, "ruff", "check", "--no-cache")


def test_format(root: Path) -> None:
    assert_clean(root, "ruff", "format", "--check", "--no-cache")


def test_import_rules(root: Path) -> None:
    assert_clean(root, "lint-imports", "--no-cache")


@pytest.mark.slow
def test_types(root: Path) -> None:
    assert_clean(root, "basedpyright", "--pythonpath", sys.executable)


def test_import_rules_are_seen_when_broken(root: Path, tmp_path: Path) -> None:
    package = tmp_path / "zerodce_jax"
    shutil.copytree(root / "zerodce_jax", package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "engines" / "tiling.py").open("a") as file:
        file.write("from zerodce_jax import enhancer as _\nfrom PIL import Image as _i\n")
    config = root / "pyproject.toml"
    result = subprocess.run(
        [BIN / "lint-imports", "--no-cache", "--config", config],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "zerodce_jax.engines.tiling -> zerodce_jax.enhancer" in result.stdout
    assert "zerodce_jax.engines.tiling -> PIL" in result.stdout


def test_both_lists_of_requirements_are_the_same(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = (root / "requirements.txt").read_text().splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    assert sorted(listed) == sorted(project["dependencies"])


def test_a_plain_installation_brings_none_of_the_front_ends() -> None:
    found, waiting = set(), ["zerodce-jax"]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    assert {"jax", "flax", "pillow"} <= found
    assert not found & {"av", "gradio", "huggingface-hub", "onnx", "onnxruntime", "pillow-heif"}
    assert not found & {"ray", "scikit-image", "selenium", "torch"}


def test_project_metadata(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["name"] == "zerodce-jax"
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "Apache-2.0"
    assert project["scripts"]["zerodce"] == "zerodce_jax.cli:main"
    assert f"[{project['version']}]" in (root / "CHANGELOG.md").read_text() or (
        "[Unreleased]" in (root / "CHANGELOG.md").read_text()
    )


def test_license_is_apache_2(root: Path) -> None:
    text = (root / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_readme_holds_the_two_commands_that_ci_runs(root: Path) -> None:
    lines = (root / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("    pip install")][:2] == [
        "    pip install -r requirements.txt && python enhance.py examples -o enhanced",
        "    pip install -e '.[test]' && python -m pytest",
    ]
    assert os.access(root / ".ci" / "run", os.X_OK)


def test_examples_are_small(root: Path) -> None:
    files = [path for path in (root / "examples").rglob("*") if path.is_file()]
    pictures = [path for path in files if path.suffix in {".jpg", ".png"}]
    assert len(pictures) >= 3
    assert [path.name for path in files if path.stat().st_size > 300_000] == []


def test_reference_data_stay_outside(root: Path) -> None:
    # Published weights carry licences of their own; the project may not hold a copy.
    names = {path.name for path in root.rglob("*") if ".git" not in path.parts}
    assert not {name for name in names if name.startswith(("zero_dce_epoch", "zero_dce_plus"))}
    assert "zero_dce_improved_pretrain.pth" not in names


def test_importing_the_package_is_cheap(python: Callable) -> None:
    result = python(
        "-c",
        "import sys, zerodce_jax\n"
        "print(sorted({'jax', 'flax', 'orbax', 'grain', 'numpy', 'PIL'} & set(sys.modules)))",
    )
    assert result.stdout == "[]\n"


def test_heavy_packages_wait_until_they_are_needed(python: Callable) -> None:
    result = python(
        "-c",
        "import sys, zerodce_jax.jobs.photos, zerodce_jax.enhancer\n"
        "print(sorted({'orbax', 'grain', 'tyro'} & set(sys.modules)))",
    )
    assert result.stdout == "[]\n", result.stderr


def test_public_names_exist() -> None:
    for name in zerodce_jax.__all__:
        value = getattr(zerodce_jax, name)
        assert value == "0.1.0" if name == "__version__" else value.__name__ == name
    with pytest.raises(AttributeError, match="nonesuch"):
        zerodce_jax.nonesuch  # noqa: B018


def modules() -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(zerodce_jax.__path__, "zerodce_jax."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def public(space: ModuleType | type) -> Iterator[tuple[str, Callable]]:
    """Functions and methods, by their names, that are defined here and not private."""
    module = space.__name__ if isinstance(space, ModuleType) else space.__module__
    for name, value in vars(space).items():
        if isinstance(value, (classmethod, staticmethod)):
            value = value.__func__
        if isinstance(value, property):
            value = value.fget
        if name.startswith("_") and name not in {"__init__", "__call__"}:
            continue
        if getattr(value, "__module__", None) != module:
            continue
        if inspect.isfunction(value):
            yield f"{space.__name__}.{name}", value
        elif inspect.isclass(value) and isinstance(space, ModuleType):
            yield from public(value)


def test_public_functions_are_annotated_and_described() -> None:
    checked = 0
    for module in modules():
        assert module.__doc__, module.__name__
        for name, function in public(module):
            signature = inspect.signature(function)
            for parameter in signature.parameters.values():
                if parameter.name not in {"self", "cls"}:
                    assert parameter.annotation is not parameter.empty, f"{name}: {parameter}"
            assert signature.return_annotation is not signature.empty, name
            assert function.__doc__ or name.endswith("__init__"), name
            checked += 1
    assert checked > 50
