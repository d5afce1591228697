"""What tests have in common: where things are, files to try, whole-image references, servers."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
GOLDENS = ROOT / "tests" / "goldens"
REFERENCE = ROOT.parent / "shared" / "reference"
