"""Check the metadata, lists and pages of the project against each other, and its imports."""

import csv
import os
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import zerodce_jax
from zerodce_jax.errors import PACKAGE


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    """Return the project table of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_requirements_txt_lists_the_dependencies(root: Path, project: dict[str, Any]) -> None:
    lines = (root / "requirements.txt").read_text().splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    training = project["optional-dependencies"]["train"]
    assert sorted(listed) == sorted(project["dependencies"] + training)


def test_pages_install_what_the_package_names(root: Path) -> None:
    module = runpy.run_path(str(root / "docs" / "install_commands.py"))
    with_package = module["with_package"]
    texts = {page: page.read_text("utf-8") for page in module["pages"]()}
    assert root / "README.md" in texts
    for page, text in texts.items():
        assert with_package(text, PACKAGE) == text, f"run python docs/install_commands.py: {page}"
    joined = "\n".join(texts.values())
    released = with_package(joined, "zerodce-jax")
    assert "pip install zerodce-jax\n" in released
    assert "pip install 'zerodce-jax[video]'\n" in released
    assert with_package(released, PACKAGE) == joined
    extras = set(re.findall(r"pip install '[\w.-]+\[(\w+)\]'", joined))
    assert extras >= {"app", "evaluate", "heif", "hub", "ray", "train", "video"}
    names = metadata.metadata("zerodce-jax").get_all("Provides-Extra") or []
    assert extras <= set(names)


def test_extra_test_includes_the_core_tests_and_all_that_users_install(
    project: dict[str, Any],
) -> None:
    extras = project["optional-dependencies"]
    included = Requirement(next(line for line in extras["test"] if line.startswith("zerodce-jax[")))
    # pyiqa would install PyTorch; benchmarks and figures have no tests.
    assert included.extras == extras.keys() - {"test", "perceptual", "bench", "cuda", "docs"}


def test_plain_installation_brings_no_package_of_an_extra() -> None:
    installed: set[str] = set()
    pending = ["zerodce-jax"]
    while pending:
        name = canonicalize_name(pending.pop())
        if name in installed:
            continue
        installed.add(name)
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    assert {"onnxruntime", "pillow"} <= installed
    training = {"flax", "grain", "jax", "jaxlib", "optax", "orbax-checkpoint", "tensorboardx"}
    optional = {"av", "gradio", "huggingface-hub", "pillow-heif", "pyarrow", "ray", "rawpy"}
    assert not installed & (training | optional | {"scikit-image", "selenium", "torch"})


def test_project_metadata(project: dict[str, Any]) -> None:
    assert project["name"] == "zerodce-jax"
    assert project["requires-python"] == ">=3.11"
    assert project["license"] == "Apache-2.0"
    assert project["scripts"]["zerodce"] == "zerodce_jax.cli:main"


def test_the_description_on_the_package_index_has_absolute_links(
    root: Path, project: dict[str, Any]
) -> None:
    installed = metadata.metadata("zerodce-jax")
    assert installed["Author"] == project["authors"][0]["name"]
    assert set(installed.get_all("License-File") or []) == set(project["license-files"])
    address = project["urls"]["Repository"]
    assert f"Repository, {address}" in (installed.get_all("Project-URL") or [])
    # Markdown of images and links.
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", installed.get_payload())
    pictures = [link for mark, link in links if mark]
    assert len(pictures) == (root / "README.md").read_text().count("![")
    assert all(link.startswith(f"{address}/raw/main/docs/") for link in pictures)
    assert all(link.startswith(("https://", "#")) for _, link in links)


def test_newest_release_in_the_changelog_is_the_version(root: Path) -> None:
    unreleased, *releases = re.findall(
        r"^## \[(.+)\]", (root / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert unreleased == "Unreleased"
    # Before the first release, the version is the one that the first release will have.
    assert zerodce_jax.__version__ == (releases or ["0.1.0"])[0]


def test_native_package_has_the_version_and_license_of_the_project(root: Path) -> None:
    native = tomllib.loads((root / "native" / "pyproject.toml").read_text())["project"]
    assert native["version"] == zerodce_jax.__version__
    # Its wheel can only hold files of its own folder.
    assert (root / "native" / "LICENSE").read_bytes() == (root / "LICENSE").read_bytes()


def test_license_is_apache_2(root: Path) -> None:
    text = (root / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_readme_contains_the_two_commands_that_ci_runs(root: Path) -> None:
    lines = (root / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("    pip install")][:2] == [
        "    pip install -r requirements.txt && python enhance.py examples -o enhanced",
        "    pip install -e '.[test]' && python -m pytest -n 2",
    ]
    assert os.access(root / ".ci" / "run", os.X_OK)


def test_examples_are_small(root: Path) -> None:
    files = [path for path in (root / "examples").rglob("*") if path.is_file()]
    photographs = [path for path in files if path.suffix in {".jpg", ".png"}]
    assert len(photographs) >= 3
    assert [path.name for path in files if path.stat().st_size > 300_000] == []


def test_repository_contains_no_reference_data(root: Path) -> None:
    # Published weights have licenses of their own, so the project may not hold a copy.
    names = {path.name for path in root.rglob("*") if ".git" not in path.parts}
    assert not {name for name in names if name.startswith(("zero_dce_epoch", "zero_dce_plus"))}
    assert "zero_dce_improved_pretrain.pth" not in names


def test_training_data_are_credited(root: Path) -> None:
    text = (root / "docs/training-data.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines(), strict=True))
    sizes = ["width", "height", "original_width", "original_height"]
    facts = ["file", "source", "author", "license", "license_evidence", "tier"]
    assert list(rows[0]) == facts + sizes
    assert len({row["file"] for row in rows}) == len(rows) == 448
    for row in rows:
        # Also no cell is missing, and none is left over.
        assert all(isinstance(value, str) and value.strip() for value in row.values()), row
        assert re.fullmatch(r"[\w-]+\.jpg", row["file"])
        # The license is stated for each photograph, or for all of its collection.
        assert row["tier"] == "A"
        width, height, *original = (int(row[size]) for size in sizes)
        assert 0 < width <= original[0]
        assert 0 < height <= original[1]
    # A license has one spelling, so that the photographs of each can be counted.
    licenses = {row["license"] for row in rows}
    assert len({re.sub(r"[\W_]", "", name).casefold() for name in licenses}) == len(licenses)
    assert not re.search(r"\bN[CD]\b|NonCommercial|NoDerivatives", " ".join(licenses))


def test_credits_of_the_training_data_are_part_of_the_packages(
    root: Path, project: dict[str, Any]
) -> None:
    assert {"LICENSE", "MODEL_CARD.md", "docs/training-data.csv"} <= set(project["license-files"])
    tool = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    included = tool["hatch"]["build"]["targets"]["sdist"]["include"]
    assert set(project["license-files"]) <= {name.removeprefix("/") for name in included}
    # The model card counts the photographs of each license.
    card = (root / "MODEL_CARD.md").read_text()
    rows = csv.DictReader((root / "docs/training-data.csv").read_text("utf-8").splitlines())
    for name, count in Counter(row["license"] for row in rows).items():
        assert f"| {name} | {count} |\n" in card


def test_importing_the_package_imports_no_large_package(python: Callable) -> None:
    result = python(
        "-c",
        "import sys, zerodce_jax\n"
        "print(sorted({'jax', 'flax', 'orbax', 'grain', 'numpy', 'PIL'} & set(sys.modules)))",
    )
    assert result.stdout == "[]\n", result.stderr


def test_enhancing_imports_no_package_of_training_or_the_command_line(python: Callable) -> None:
    result = python(
        "-c",
        "import sys, zerodce_jax.jobs.photos, zerodce_jax.enhancer\n"
        "print(sorted({'orbax', 'grain', 'tyro'} & set(sys.modules)))",
    )
    assert result.stdout == "[]\n", result.stderr


def test_public_names_exist() -> None:
    for name in zerodce_jax.__all__:
        value = getattr(zerodce_jax, name)
        if name == "__version__":
            assert value == metadata.version("zerodce-jax")
        else:
            assert value.__name__ == name
    with pytest.raises(AttributeError, match="nonesuch"):
        zerodce_jax.nonesuch  # noqa: B018


MODULES = {module.name for module in pkgutil.walk_packages(zerodce_jax.__path__, "zerodce_jax.")}


@pytest.mark.parametrize("name", sorted(MODULES - {"zerodce_jax.__main__"}))
def test_every_module_can_be_imported(name: str) -> None:
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("zerodce_jax"):
            raise
        pytest.skip(f"{error.name} is not installed")


@pytest.mark.slow
@pytest.mark.needs("importlinter")
def test_import_contracts_report_what_breaks_them(root: Path, tmp_path: Path) -> None:
    package = tmp_path / "zerodce_jax"
    shutil.copytree(root / "zerodce_jax", package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "engines" / "tiling.py").open("a") as file:
        file.write("from zerodce_jax import enhancer as _\nfrom PIL import Image as _i\n")
    result = subprocess.run(
        [
            Path(sys.executable).with_name("lint-imports"),
            *("--no-cache", "--config", root / "pyproject.toml"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "zerodce_jax.engines.tiling -> zerodce_jax.enhancer" in result.stdout
    assert "zerodce_jax.engines.tiling -> PIL" in result.stdout
