"""Every code block of the pages runs, or stands in a list with the reason why it cannot."""

import functools
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from helpers import GOLDENS, ROOT, pth_files, video_files
from helpers.whole_image import random_network
from zerodce_jax import cli
from zerodce_jax.config import NetworkConfig, SceneConfig
from zerodce_jax.models import serialization
from zerodce_jax.models.pytorch_layout import to_torch

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/*.md", "native/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
NEEDS = {"docs/videos.md": ["av"], "docs/networks.md": ["skimage"]}
"""Packages without which the commands of a page cannot run."""

# Commands that do not run here, by how they begin, and why. What the project's own command line
# takes is parsed nevertheless; scripts must exist and have the options.
NOT_RUN = {
    "pip install": "installs packages; their extras and folders must exist",
    "npm": "tests/test_export_web.py and tests/test_demo.py run it",
    "cd": "changes to the folder for npm",
    "docker": "needs Docker; what the container runs is parsed",
    "pre-commit install": "changes the clone",
    "python -m http.server": "serves until it is stopped",
    "tensorboard": "serves until it is stopped",
    "ssh": "needs another machine",
    "srun": "needs a cluster",
    "ffmpeg": "needs ffmpeg; tests/cli/test_enhance_process.py pipes frames",
    "python benchmarks/": "takes minutes, and photographs that the repository does not hold",
    "OPENBLAS_NUM_THREADS=1 python benchmarks/": "takes minutes",
    "python examples/": "tests and authors run it; takes photographs of scikit-image",
    "python docs/build_site.py": "needs the extra docs; .ci/run runs it",
    "zerodce app": "serves until it is stopped; tests/test_webapp.py",
    "zerodce watch": "waits until it is stopped; tests/cli/test_watch_process.py",
    "zerodce train": "takes minutes or hours; tests/cli/test_train_command.py",
    "python train.py": "takes minutes or hours; tests/cli/test_train_command.py",
    "zerodce export": "tests/test_export.py runs it",
    "zerodce push": "needs a hub; tests/models/test_hub.py",
    "zerodce cluster": "starts Ray; tests/jobs/test_ray_cluster.py",
    "zerodce enhance - ": "reads standard input; tests/cli/test_enhance_process.py",
    "zerodce enhance /photos": "the folder is an example for clusters",
    "zerodce enhance photographs/ -o bright -m hf:": "needs a hub; tests/models/test_hub.py",
    "zerodce enhance examples -o bright --engine xla": "takes 10 s to compile; tests/cli",
    "zerodce evaluate scene reduced --pairs parts/": "measures photographs not in the repository",
    "zerodce evaluate scene reduced seed.pth": "measures networks of others",
    "zerodce evaluate scene reduced --pairs low/ high/ --perceptual": "needs pyiqa and weights",
    "zerodce convert run": "would replace the shipped networks",
}
# Pages whose Python code other tests run, with the files that it needs, and compare its results.
TESTED_ELSEWHERE = {
    "docs/export/litert.md": "tests/test_export.py",
    "docs/export/onnx_runtime.md": "tests/test_export.py",
    "docs/export/stablehlo.md": "tests/test_export.py",
}


class Block(NamedTuple):
    """A code block."""

    language: str
    line: int
    code: str


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text("utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[1], text.count("\n", 0, m.start()) + 1, m[2]) for m in found]


def commands_of(code: str) -> list[str]:
    """Return the commands of a shell block; lines that a command continues on are joined."""
    joined = re.sub(r"(\\|(?<=\|))\n\s*", " ", code)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [
        re.sub(r"\s+", " ", part).strip() for line in lines for part in re.split(r"&&|\|", line)
    ]


def own_arguments(command: str) -> list[str] | None:
    """Return the arguments of a command of this project's command line, or None for others."""
    words = shlex.split(command)
    if ">" in words:
        words = words[: words.index(">")]
    if found := [word for word in words if re.fullmatch(r"zerodce(:\w+)?", word)]:
        arguments = words[words.index(found[0]) + 1 :]
        # `docker build -t zerodce .` names an image, and no command.
        return None if words[:2] == ["docker", "build"] else arguments
    if words[0] == "python" and words[1] in {"enhance.py", "train.py"}:
        return [words[1].removesuffix(".py"), *words[2:]]
    return None


def reason_not_to_run(command: str) -> str | None:
    return next((NOT_RUN[start] for start in NOT_RUN if command.startswith(start)), None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with everything that the pages name, small enough to be fast."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)

    def photograph(name: str, light: float = 0.2) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        scene = np.linspace(0, 255 * light, 48)[:, None, None] + rng.uniform(0, 20, (48, 64, 3))
        Image.fromarray(scene.astype(np.uint8)).save(folder / name)

    for name in ("night.jpg", "holiday/beach.jpg", "holiday/evening/party.jpg", "more/garden.jpg"):
        photograph(name)
    for number in range(4):
        photograph(f"photographs/{number}.jpg", 0.8)
    for number in range(2):
        photograph(f"low/{number}.png")
        photograph(f"high/{number}.png", 0.8)
    (folder / "examples").mkdir()
    for path in sorted((ROOT / "examples").glob("*.[jp][pn]g")):
        with Image.open(path) as image:
            image.reduce(8).save(folder / "examples" / path.name)
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "training-data.csv", folder / "docs")
    shutil.copy(GOLDENS / "reduced_random.pth", folder / "Epoch99.pth")
    network = random_network(NetworkConfig(features=2, iterations=2))
    checkpoint = {"params": to_torch(network), "params_ema": to_torch(network)}
    (folder / "net_g_latest.pth").write_bytes(pth_files.both(checkpoint)[0])
    serialization.save_network(network, folder / "run")
    serialization.save_network(random_network(SceneConfig(features=8)), folder / "run_scene")
    if find_spec("av"):
        frames = [video_files.frame(video_files.still())] * 3
        video_files.write(folder / "clip.mp4", frames)
        shutil.copy(folder / "clip.mp4", folder / "holiday")
    return folder


@pytest.fixture
def in_copy(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of the folder, so that pages do not see each other's files."""
    folder = tmp_path / "work"
    shutil.copytree(place, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Return a function that parses a command line as the program does, and runs nothing."""
    parsed: list[str] = []

    def unused(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def note(*_: object, **__: object) -> int:
            parsed.append(command.__name__)
            return 0

        return note

    monkeypatch.setattr(cli, "COMMANDS", [unused(command) for command in cli.COMMANDS])
    monkeypatch.setattr(sys.modules["zerodce_jax.cli.train"], "train", unused(cli.train))

    def check(arguments: list[str]) -> None:
        assert cli.main(arguments) == 0
        assert parsed.pop() == arguments[0]

    return check


def test_pages_have_only_code_that_is_tested() -> None:
    assert {"README.md", "MODEL_CARD.md", "docs/get-started.md"} <= set(PAGES)
    found = [(page, block) for page in PAGES for block in blocks_of(page)]
    assert {block.language for _, block in found} <= {"python", "bash", "math", "text"}
    indented = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
        indented += re.findall(r"^\n    (\S.*)$", text, re.MULTILINE)
    # The only code without a fence: .ci/run runs both commands, which test_project.py compares.
    assert [line.split()[:2] for line in indented] == [["pip", "install"]]
    commands = [
        c for _, block in found if block.language == "bash" for c in commands_of(block.code)
    ]
    unused = [start for start in NOT_RUN if not any(c.startswith(start) for c in commands)]
    assert unused == []
    for page, test in TESTED_ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text("utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
@pytest.mark.usefixtures("no_compilation_cache")
def test_commands_that_cannot_run_here_exist(page: str, parse: Callable[[list[str]], None]) -> None:
    for block in blocks_of(page):
        for command in commands_of(block.code) if block.language == "bash" else []:
            where = f"{page}:{block.line}: {command}"
            words = shlex.split(command)
            if (arguments := own_arguments(command)) is not None:
                parse(arguments)
            elif words[:2] == ["pip", "install"]:
                check_installation(words[2:])
            elif script := next((word for word in words if word.endswith(".py")), None):
                text = (ROOT / script).read_text("utf-8").replace("_", "-")
                options = re.findall(r" --([a-z-]+)", command)
                assert [name for name in options if name not in text] == [], where
            else:
                assert reason_not_to_run(command), f"{where}: neither run nor excused"


def check_installation(words: list[str]) -> None:
    """Check that the extras and the folders of an installation exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for word in words:
        if found := re.fullmatch(r"(?:\.|zerodce-jax)\[(.+)\]", word):
            assert set(found[1].split(",")) <= extras.keys()
        elif word.startswith("./"):
            assert (ROOT / word / "pyproject.toml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
@pytest.mark.usefixtures("no_compilation_cache")
def test_code_of_the_page_runs(
    page: str, in_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in NEEDS.get(page, []):
        pytest.importorskip(package)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks_of(page):
        if block.language == "python" and page not in TESTED_ELSEWHERE:
            # The empty lines make a traceback name the line of the page.
            exec(compile("\n" * block.line + block.code, ROOT / page, "exec"), names)
        for command in commands_of(block.code) if block.language == "bash" else []:
            if reason_not_to_run(command) is None:
                arguments = own_arguments(command)
                assert arguments is not None, f"{page}:{block.line}: {command}"
                status = cli.main(arguments)
                assert status == 0, f"{page}:{block.line}: {command}\n{capsys.readouterr().err}"
