"""Run the command line in this process, and read its files and its output."""

import json
import re
from pathlib import Path

from PIL import Image

from zerodce_jax.cli import main

_SUMMARY = (
    r"^(\d+) done, (\d+) skipped, (\d+) failed in \d+\.\d s"
    r"(?: \(\d+\.\d+ megapixels/s\))?(?:, results in .+)?$"
)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def enhance(*arguments: object) -> int:
    return run("enhance", *arguments, "--tile", 32)


def opened(path: Path) -> Image.Image:
    """Return an image whose file is closed."""
    with Image.open(path) as image:
        image.load()
        return image


def summary_of(output: str) -> tuple[int, ...]:
    """Return the numbers of done, skipped and failed files from the last line of the output."""
    found = re.match(_SUMMARY, output.splitlines()[-1])
    assert found, output
    return tuple(map(int, found.groups()))


def rows_of(report: Path) -> list[tuple[str, str]]:
    """Return the names and statuses in a report."""
    return [(Path(row["source"]).name, row["status"]) for row in json.loads(report.read_text())]
