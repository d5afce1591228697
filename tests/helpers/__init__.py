"""Helpers of the tests: paths, sample files, a second implementation, and servers."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
GOLDENS = ROOT / "tests" / "goldens"
REFERENCE = ROOT.parent / "shared" / "reference"
