"""What surrounds the package: the version, the container, the workflows."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import zerodce_jax

ARGUMENT = re.compile(r"^ARG (\w+)=(.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def dockerfile(root: Path) -> str:
    """Return the instructions, without comments and with whole lines."""
    lines = (root / "Dockerfile").read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def test_the_version_is_the_same_everywhere(root: Path) -> None:
    citation = (root / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {zerodce_jax.__version__}\n" in citation
    assert "## [Unreleased]" in (root / "CHANGELOG.md").read_text("utf-8")
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "zerodce_jax/__init__.py"


def test_the_container_copies_what_it_installs(root: Path, dockerfile: str) -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
    paths = [path for line in copied for path in line.split()]
    assert {"zerodce_jax", "native", "pyproject.toml"} <= set(paths)
    allowed = (root / ".dockerignore").read_text("utf-8").splitlines()
    for path in paths:
        assert (root / path).exists(), path
        assert f"!{path}" in allowed, path
    # What the build of the package reads.
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    read = [*project["project"]["license-files"], "README.md"]
    assert set(read) <= set(paths)


def test_the_container_installs_extras_that_exist(root: Path, dockerfile: str) -> None:
    arguments = dict(ARGUMENT.findall(dockerfile))
    comments = (root / "Dockerfile").read_text("utf-8")
    named = [arguments["EXTRAS"], *re.findall(r"--build-arg EXTRAS=(\S+)", comments)]
    assert len(named) == 2
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    for extras in named:
        assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    major, minor = arguments["PYTHON"].split(".")
    assert (int(major), int(minor)) >= (3, 11)


@pytest.mark.slow
def test_the_container_runs_the_command_without_privileges(
    dockerfile: str, root: Path, open_folder: Path
) -> None:
    *_, stage = dockerfile.split("\nFROM ")
    instructions = stage.splitlines()
    user = next(line for line in instructions if line.startswith("USER "))
    entry = 'ENTRYPOINT ["zerodce"]'
    assert instructions.index(user) < instructions.index(entry)
    assert user != "USER root"
    command = [sys.executable, "-m", "zerodce_jax", "--version"]
    variables = os.environ | {"PYTHONPATH": str(root), "XDG_CACHE_HOME": str(open_folder)}
    result = subprocess.run(
        command, env=variables, cwd=open_folder, capture_output=True, text=True, check=True
    )
    assert zerodce_jax.__version__ in result.stdout


def test_workflows_run_the_commands_of_the_project(root: Path) -> None:
    tests = (root / ".github/workflows/tests.yml").read_text("utf-8")
    assert "- run: .ci/run\n" in tests
    assert "pip install -e '.[test-core]'" in tests
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    (versions,) = re.findall(r"python: \[(.*)\]", tests)
    assert versions.replace('"', "").split(", ")[0] == oldest
    release = (root / ".github/workflows/release.yml").read_text("utf-8")
    assert "id-token: write" in release
    assert "password" not in release.replace("no password", "")
