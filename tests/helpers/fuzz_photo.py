"""Break picture files by chance and by lies, and enhance folders of them as anyone would.

By hand, for as long as you like, from anywhere::

    python tests/helpers/fuzz_photo.py --cases 5000 --seed 1

Each chunk of files lies in one folder together with whole ones, and goes through one process of
the command line. What is promised of it is checked: whatever the files hold, nothing hangs or
dies, each failure is one line, and all other results are as if the broken files were not there.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Both the package and these helpers.
sys.path.insert(0, str(Path(__file__).parent.parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from helpers import ROOT
from helpers.damage import damaged, whole_files
from helpers.whole_image import random_network
from zerodce_jax.config import NetworkConfig
from zerodce_jax.models import serialization

MEMORY = 12 << 30
"""Bytes that a process may have, so that no lie takes the whole machine."""
# In the child itself: what subprocess runs between fork and exec does not go with JAX's threads.
LIMITED = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
FILES_OF_A_KIND = 50
"""Broken files that are made of the same whole ones."""


@dataclass
class Outcome:
    """What became of a chunk."""

    findings: list[str] = field(default_factory=list)
    """What is not as promised, a line each."""
    counts: Counter[str] = field(default_factory=Counter)
    """Of the broken files: done and failed."""
    noise: Counter[str] = field(default_factory=Counter)
    """Lines on stderr that are not the command line's own."""

    def __iadd__(self, other: "Outcome") -> "Outcome":
        self.findings += other.findings
        self.counts += other.counts
        self.noise += other.noise
        return self


class Fuzzer:
    """Enhances folders of broken files, and compares with what comes of the whole ones alone."""

    def __init__(
        self,
        workplace: Path,
        *,
        seed: int,
        max_pixels: int = 1_000_000,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.workplace, self.seed, self.max_pixels = workplace, seed, max_pixels
        self.environment = dict(environment)
        self.network = workplace / "network.safetensors"
        serialization.save_network(
            random_network(NetworkConfig(features=2, iterations=2)), self.network
        )
        self.whole = {f"whole-{i}.{k}": data for i, (k, data) in enumerate(whole_files(seed))}
        self.expected = workplace / "expected"
        for name, data in self.whole.items():
            (workplace / "whole").mkdir(exist_ok=True)
            (workplace / "whole" / name).write_bytes(data)
        result, report = self._enhance(workplace / "whole", self.expected)
        assert result.returncode == 0, result.stderr
        assert {row["status"] for row in report} == {"done"}
        self.results = {Path(row["source"]).name: Path(row["target"]).name for row in report}

    def check(self, first: int, cases: int) -> Outcome:
        """Enhance one folder of broken files: the cases from `first` on."""
        source, target = (self.workplace / f"{name}-{first}" for name in ("in", "out"))
        source.mkdir()
        for name, data in self.whole.items():
            (source / name).write_bytes(data)
        for case in range(first, first + cases):
            kind = self.seed * 1_000_003 + case // FILES_OF_A_KIND
            if case == first or case % FILES_OF_A_KIND == 0:
                originals = whole_files(kind)
            suffix, data = damaged(np.random.default_rng((self.seed, case)), originals)
            (source / f"broken-{case}.{suffix}").write_bytes(data)
        outcome = Outcome()
        try:
            result, report = self._enhance(source, target)
        except subprocess.TimeoutExpired:
            outcome.findings.append(f"{source}: hangs")
            return outcome
        outcome.findings += self._wrong(source, target, result, report)
        outcome.counts += Counter(
            row["status"] for row in report if Path(row["source"]).name not in self.whole
        )
        lines = result.stderr.splitlines()
        outcome.noise += Counter(line for line in lines if not line.startswith("zerodce: "))
        if not outcome.findings:
            shutil.rmtree(source)
            shutil.rmtree(target, ignore_errors=True)
        return outcome

    def _enhance(
        self, source: Path, target: Path
    ) -> tuple[subprocess.CompletedProcess[str], list[dict]]:
        report = self.workplace / "report.json"
        report.unlink(missing_ok=True)
        options = {"-o": target, "-m": self.network, "--tile": 128, "--report": report}
        options["--max-pixels"] = self.max_pixels
        words = [str(word) for pair in options.items() for word in pair]
        result = subprocess.run(
            [sys.executable, "-c", LIMITED, str(MEMORY), ROOT / "enhance.py", source, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            check=False,
            timeout=900,
        )
        return result, json.loads(report.read_text()) if report.exists() else []

    def _wrong(
        self,
        source: Path,
        target: Path,
        result: subprocess.CompletedProcess[str],
        report: list[dict],
    ) -> Iterator[str]:
        """What is not as promised."""
        failed = {row["source"] for row in report if row["status"] == "failed"}
        done = {row["target"]: row for row in report if row["status"] == "done"}
        if result.returncode != (1 if failed else 0):
            yield f"{source}: exit status {result.returncode}: {result.stderr[-2000:]}"
        if "Traceback" in result.stderr:
            yield f"{source}: {result.stderr}"
        sources = sorted(str(path) for path in source.iterdir())
        if sorted(row["source"] for row in report) != sources:
            yield f"{source}: not every file is in the report, and once"
        if len(failed) + len(done) != len(report):
            yield f"{source}: files that are neither done nor failed"
        lines = result.stderr.splitlines()
        for path in failed:
            told = [line for line in lines if line.startswith(f"zerodce: {path}: ")]
            if len(told) != 1:
                yield f"{path}: failed with {len(told)} lines"
        told = [line for line in lines if line.startswith(f"zerodce: {source}")]
        if len(told) != len(failed):
            yield f"{source}: {len(told)} lines of failures for {len(failed)}"
        there = {str(path) for path in target.rglob("*")}
        for path in there ^ done.keys():
            yield f"{path}: {'left over' if path in there else 'promised and not there'}"
        for name, made in self.results.items():
            path = target / made
            if not path.exists() or path.read_bytes() != (self.expected / made).read_bytes():
                yield f"{source / name}: whole, and not as ever"
        for path, row in done.items():
            if path in there and (problem := _problem(Path(path), row["width"], row["height"])):
                yield f"{path}: {problem}"


def _problem(path: Path, width: int, height: int) -> str:
    """Why a result is no picture of that size, or nothing."""
    try:
        with warnings.catch_warnings():
            # Of odd tags, which a result has from its source.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                image.load()
                size = image.size
    except UnidentifiedImageError:
        # Pillow knows no TIFF of floats in colour.
        is_tiff = path.suffix == ".tif"
        size = imagecodecs.tiff_decode(path.read_bytes()).shape[1::-1] if is_tiff else None
    except Exception as error:
        return f"no whole picture ({error})"
    return "" if size == (width, height) else f"of size {size}, not {width}x{height}"


def fuzz(fuzzer: Fuzzer, first: int, cases: int, chunk: int) -> Iterator[tuple[int, Outcome]]:
    """Yield what came of each chunk, and where the next one begins."""
    for start in range(first, first + cases, chunk):
        count = min(chunk, first + cases - start)
        yield start + count, fuzzer.check(start, count)


def main() -> int:
    """Fuzz by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000, help="broken files (default: 5000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--chunk", type=int, default=300, help="broken files of a folder")
    parser.add_argument("--max-pixels", type=int, default=1_000_000)
    given = parser.parse_args()
    workplace = Path(tempfile.mkdtemp(prefix="fuzz-photo-"))
    fuzzer = Fuzzer(workplace, seed=given.seed, max_pixels=given.max_pixels)
    total = Outcome()
    for end, outcome in fuzz(fuzzer, given.first, given.cases, given.chunk):
        total += outcome
        print(f"{end} cases: {dict(total.counts)}, {len(total.findings)} findings", flush=True)
        print(*outcome.findings, sep="\n", end="\n" if outcome.findings else "", flush=True)
    for line, count in total.noise.most_common(20):
        print(f"{count} x on stderr: {line}")
    if total.findings:
        print(f"see {workplace}")
        return 1
    shutil.rmtree(workplace)
    return 0


if __name__ == "__main__":
    sys.exit(main())
