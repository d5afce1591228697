"""Check that type checkers see the types of the installed package, as its users would."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import zerodce_jax

pytestmark = pytest.mark.slow

# Each expression is checked if its first name is public.
EXPRESSIONS = [
    'Enhancer.load("reduced")',
    'Enhancer.load("reduced").network',
    'Enhancer.load("reduced")(image)',
    'Enhancer.load("reduced").many([image])',
    "EnhanceSettings()",
    "EnhanceSettings().gamma",
    "EnhanceSettings.adaptive()",
    "NetworkConfig()",
    "NetworkConfig().features",
    "SceneConfig()",
    "SceneConfig().features",
    "EnhanceSettings.scene()",
    'load_network("reduced")',
    'load_network("reduced").config',
    "apply_curves(image, image, iterations=8)",
    "curve_gain(image, image, iterations=8)",
    "DCENet.forward",
    "SceneNet.forward",
]
# NumPy and JAX themselves describe arrays of any shape and data types with Any, and parameters
# are nested dictionaries of arrays, as Flax has them. Functions for NumPy and JAX return the type
# of array that they receive; Any is only the bound of that type variable.
ALLOWED = re.compile(
    r"(?:builtins\.)?tuple\[Any, \.\.\.\]|(?:numpy\.)?dtype\[Any\]|type\[Any\]"
    r"|params: dict\[Any, Any\]|\[Array <: Any\]"
)


@pytest.fixture(scope="module")
def interpreter(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment that has the package and its dependencies installed."""
    place = tmp_path_factory.mktemp("consumer") / "venv"
    venv.create(place, with_pip=False)
    (packages,) = place.glob("lib/python*/site-packages")
    paths = [str(root), sysconfig.get_path("purelib")]
    (packages / "installed.pth").write_text("\n".join(paths))
    return place / "bin" / "python"


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program that uses every public name and asks the type checker for its type."""
    names = sorted(zerodce_jax.__all__)
    calls = [line for line in EXPRESSIONS if re.split(r"\W", line)[0] in names]
    lines = [
        "import numpy as np",
        "from typing_extensions import reveal_type",
        f"from zerodce_jax import {', '.join(names)}",
        "image = np.zeros((4, 4, 3), np.float32)",
        *(f"reveal_type({expression})" for expression in (*names, *calls)),
    ]
    path = tmp_path_factory.mktemp("consumer") / "consumer.py"
    path.write_text("\n".join(lines) + "\n")
    return path


def program(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or pytest.skip(f"{name} is not installed")


def assert_types_are_known(consumer: Path, types: dict[int, str]) -> None:
    lines = consumer.read_text().splitlines()
    expected = [number for number, line in enumerate(lines, 1) if line.startswith("reveal_type(")]
    assert sorted(types) == expected
    unknown = [
        f"{lines[number - 1]}: {text}"
        for number, text in types.items()
        if re.search(r"\b(Any|Unknown)\b", ALLOWED.sub("", text))
    ]
    assert unknown == []


def test_mypy_knows_the_types_of_all_public_names(consumer: Path, interpreter: Path) -> None:
    result = subprocess.run(
        [program("mypy"), "--python-executable", interpreter, "--cache-dir=/dev/null", consumer],
        cwd=consumer.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found = re.findall(r'^[^:]+:(\d+): note: Revealed type is "(.*)"$', result.stdout, re.MULTILINE)
    assert_types_are_known(consumer, {int(line): text for line, text in found})


def test_basedpyright_knows_the_types_of_all_public_names(
    consumer: Path, interpreter: Path
) -> None:
    result = subprocess.run(
        [program("basedpyright"), "--outputjson", "--pythonpath", interpreter, consumer],
        cwd=consumer.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(result.stdout)["generalDiagnostics"]
    assert [entry["message"] for entry in report if entry["severity"] == "error"] == []
    types = {
        entry["range"]["start"]["line"] + 1: entry["message"]
        for entry in report
        if entry["message"].startswith("Type of ")
    }
    assert_types_are_known(consumer, types)
