"""Damage image files at random, and enhance folders of them with the command line.

Run a longer search by hand, from any folder::

    python tests/helpers/fuzz_photo.py --cases 5000 --seed 1

Each chunk of damaged files is enhanced in one process of the command line, together with intact
files. The following is checked: The process neither hangs nor crashes, each failure gives one line,
and the results of the intact files are the same as without the damaged files.
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

# Make both the package and these helpers importable.
sys.path.insert(0, str(Path(__file__).parent.parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from helpers import ROOT
from helpers.damage import damage, intact_files
from helpers.whole_image import random_network
from zerodce_jax.config import NetworkConfig
from zerodce_jax.models import serialization

MEMORY = 12 << 30
"""Memory limit of a process, in bytes, so that a false size cannot take the whole machine."""
# The child sets its own limit: code that subprocess runs between fork and exec is not safe with the
# threads of JAX.
LIMITED = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
CASES_PER_SET = 50
"""Number of damaged files that are made from the same set of intact files."""


@dataclass
class Outcome:
    """Outcome of a chunk."""

    findings: list[str] = field(default_factory=list)
    """Violations of the checks, one line each."""
    counts: Counter[str] = field(default_factory=Counter)
    """Number of damaged files that are done and failed."""
    noise: Counter[str] = field(default_factory=Counter)
    """Lines on standard error that the command line did not write itself."""

    def __iadd__(self, other: "Outcome") -> "Outcome":
        self.findings += other.findings
        self.counts += other.counts
        self.noise += other.noise
        return self


class Fuzzer:
    """Enhances folders of damaged files, and compares the results of the intact files."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        max_pixels: int = 1_000_000,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.folder, self.seed, self.max_pixels = folder, seed, max_pixels
        self.environment = dict(environment)
        self.network = folder / "network.safetensors"
        serialization.save_network(
            random_network(NetworkConfig(features=2, iterations=2)), self.network
        )
        self.intact = {
            f"intact-{i}.{suffix}": data for i, (suffix, data) in enumerate(intact_files(seed))
        }
        self.expected = folder / "expected"
        for name, data in self.intact.items():
            (folder / "intact").mkdir(exist_ok=True)
            (folder / "intact" / name).write_bytes(data)
        result, report = self._enhance(folder / "intact", self.expected)
        assert result.returncode == 0, result.stderr
        assert {row["status"] for row in report} == {"done"}
        self.results = {Path(row["source"]).name: Path(row["target"]).name for row in report}

    def check(self, first: int, cases: int) -> Outcome:
        """Enhance a folder of damaged files: the cases from `first` on."""
        source, target = (self.folder / f"{name}-{first}" for name in ("in", "out"))
        source.mkdir()
        for name, data in self.intact.items():
            (source / name).write_bytes(data)
        for case in range(first, first + cases):
            set_seed = self.seed * 1_000_003 + case // CASES_PER_SET
            if case == first or case % CASES_PER_SET == 0:
                originals = intact_files(set_seed)
            suffix, data = damage(np.random.default_rng((self.seed, case)), originals)
            (source / f"damaged-{case}.{suffix}").write_bytes(data)
        outcome = Outcome()
        try:
            result, report = self._enhance(source, target)
        except subprocess.TimeoutExpired:
            outcome.findings.append(f"{source}: hangs")
            return outcome
        outcome.findings += self._findings(source, target, result, report)
        outcome.counts += Counter(
            row["status"] for row in report if Path(row["source"]).name not in self.intact
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
        report = self.folder / "report.json"
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

    def _findings(
        self,
        source: Path,
        target: Path,
        result: subprocess.CompletedProcess[str],
        report: list[dict],
    ) -> Iterator[str]:
        """Yield violations of the checks, one line each."""
        failed = {row["source"] for row in report if row["status"] == "failed"}
        done = {row["target"]: row for row in report if row["status"] == "done"}
        if result.returncode != (1 if failed else 0):
            yield f"{source}: exit status {result.returncode}: {result.stderr[-2000:]}"
        if "Traceback" in result.stderr:
            yield f"{source}: {result.stderr}"
        sources = sorted(str(path) for path in source.iterdir())
        if sorted(row["source"] for row in report) != sources:
            yield f"{source}: the report does not list every file exactly once"
        if len(failed) + len(done) != len(report):
            yield f"{source}: files that are neither done nor failed"
        lines = result.stderr.splitlines()
        for path in failed:
            messages = [line for line in lines if line.startswith(f"zerodce: {path}: ")]
            if len(messages) != 1:
                yield f"{path}: failed with {len(messages)} lines"
        messages = [line for line in lines if line.startswith(f"zerodce: {source}")]
        if len(messages) != len(failed):
            yield f"{source}: {len(messages)} lines for {len(failed)} failures"
        existing = {str(path) for path in target.rglob("*")}
        for path in existing ^ done.keys():
            yield f"{path}: {'not in the report' if path in existing else 'reported, but missing'}"
        for name, result_name in self.results.items():
            path = target / result_name
            if not path.exists() or path.read_bytes() != (self.expected / result_name).read_bytes():
                yield f"{source / name}: intact, but its result has changed"
        for path, row in done.items():
            if path in existing and (
                problem := _find_problem(Path(path), row["width"], row["height"])
            ):
                yield f"{path}: {problem}"


def _find_problem(path: Path, width: int, height: int) -> str:
    """Return why a result is not an image of a size, or an empty string."""
    try:
        with warnings.catch_warnings():
            # Pillow warns about unusual tags, which results keep from their sources.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                for number in range(getattr(image, "n_frames", 1)):
                    image.seek(number)
                    image.load()
                size = image.size
    except UnidentifiedImageError:
        # Pillow reads neither TIFF files of floats or 16 bits in color, nor JPEG XL.
        read = {".tif": imagecodecs.tiff_decode, ".jxl": imagecodecs.jpegxl_decode}.get(path.suffix)
        size = read(path.read_bytes()).shape[1::-1] if read else None
    except Exception as error:
        return f"not a complete image ({error})"
    return "" if size == (width, height) else f"of size {size}, not {width}x{height}"


def fuzz(fuzzer: Fuzzer, first: int, cases: int, chunk: int) -> Iterator[tuple[int, Outcome]]:
    """Yield the number of the next case and the outcome of each chunk."""
    for start in range(first, first + cases, chunk):
        count = min(chunk, first + cases - start)
        yield start + count, fuzzer.check(start, count)


def main() -> int:
    """Run the search by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000, help="number of damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--chunk", type=int, default=300, help="damaged files per folder")
    parser.add_argument("--max-pixels", type=int, default=1_000_000)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-photo-"))
    fuzzer = Fuzzer(folder, seed=arguments.seed, max_pixels=arguments.max_pixels)
    total = Outcome()
    for end, outcome in fuzz(fuzzer, arguments.first, arguments.cases, arguments.chunk):
        total += outcome
        print(f"{end} cases: {dict(total.counts)}, {len(total.findings)} findings", flush=True)
        print(*outcome.findings, sep="\n", end="\n" if outcome.findings else "", flush=True)
    for line, count in total.noise.most_common(20):
        print(f"{count} x on stderr: {line}")
    if total.findings:
        print(f"see {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
