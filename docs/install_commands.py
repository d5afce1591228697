"""Write the installation commands of the pages as `zerodce_jax.errors.PACKAGE` says.

python docs/install_commands.py
"""

import re
from pathlib import Path

from zerodce_jax.errors import PACKAGE

ROOT = Path(__file__).parents[1]


def pages() -> list[Path]:
    """Return the pages of the project."""
    patterns = ("*.md", "docs/**/*.md", "benchmarks/*.md", "native/*.md")
    found = [path for pattern in patterns for path in ROOT.glob(pattern)]
    return [path for path in found if "node_modules" not in path.parts]


def with_package(text: str, package: str) -> str:
    """Return a page whose commands install a package: `.` for the clone, or a name on the index."""
    text = re.sub(r"pip install (\.|zerodce-jax)(?=[\s`])", f"pip install {package}", text)
    return re.sub(r"pip install '(\.|zerodce-jax)\[", f"pip install '{package}[", text)


if __name__ == "__main__":
    for page in pages():
        page.write_text(with_package(page.read_text("utf-8"), PACKAGE), "utf-8")
