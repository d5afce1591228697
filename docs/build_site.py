"""Build the documentation site into build/site.

    python docs/build_site.py

The pages are README.md, MODEL_CARD.md, benchmarks/README.md and those in docs/, with links that
also work in the repository. This script copies them to build/pages, where links between them lead
to the site and links to other files lead to the repository, and turns equations (```math, and
``$`...`$``) into MathML, so that no page needs a script for them. Then it runs Zensical.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from os.path import relpath
from pathlib import Path
from urllib.parse import urldefrag

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
DEMO = Path("docs/demo/dist")
ELSEWHERE = {
    Path("README.md"): Path("index.md"),
    Path("MODEL_CARD.md"): Path("model-card.md"),
    Path("benchmarks/README.md"): Path("benchmarks.md"),
    Path("docs/demo/README.md"): Path("demo/index.md"),
}
"""Pages whose place on the site is not that in docs/. The demo takes the place of its README."""
_FILES = {".css", ".csv", ".jpg", ".js", ".png"}
_LINK = re.compile(r"(\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_MATH_BLOCK = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MATH = re.compile(r"\$`([^`]+)`\$")


def sources() -> dict[Path, Path]:
    """Return the place on the site of each page and picture, by its path in the repository."""
    places = dict(ELSEWHERE)
    if (ROOT / DEMO).is_dir():
        del places[DEMO.parent / "README.md"]
    docs = [path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*") if path.is_file()]
    for path in docs:
        is_source = path.parts[:2] != ("docs", "demo") and "node_modules" not in path.parts
        if is_source and path.suffix in _FILES | {".md"} and path not in ELSEWHERE:
            places[path] = path.relative_to("docs")
    return places


def repository() -> str:
    """Return the address of the repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return project["urls"]["Repository"]


def page(path: Path, places: dict[Path, Path], address: str) -> str:
    """Return a page of the repository as it stands on the site.

    Args:
        path: The page, relative to the repository.
        places: The result of `sources`.
        address: The address of the repository, for links to files that are not on the site.

    Raises:
        FileNotFoundError: A link leads to a file that does not exist.
    """

    def link(match: re.Match[str]) -> str:
        start, target = match.groups()
        name, fragment = urldefrag(target)
        if re.match(r"[a-z]+:", target) or not name:
            return match.group()
        file = Path(relpath(ROOT / path.parent / name, ROOT))
        if file == DEMO.parent:
            place = Path("demo/index.html" if (ROOT / DEMO).is_dir() else "demo/index.md")
        elif (place := places.get(file)) is None:
            if not (ROOT / file).exists():
                raise FileNotFoundError(f"{path}: {target} does not exist")
            kind = "tree" if (ROOT / file).is_dir() else "blob"
            return f"{start}{address}/{kind}/main/{file}{fragment and f'#{fragment}'})"
        here = places[path].parent
        return f"{start}{relpath(place, here)}{fragment and f'#{fragment}'})"

    parts = _FENCE.split((ROOT / path).read_text("utf-8"))
    for index, part in enumerate(parts):
        if index % 2:
            parts[index] = _MATH_BLOCK.sub(lambda match: mathml(match[1], "div", "block"), part)
        else:
            part = _LINK.sub(link, part)
            parts[index] = _MATH.sub(lambda match: mathml(match[1], "span", "inline"), part)
    return "".join(parts)


def mathml(tex: str, tag: str, display: str) -> str:
    """Return an equation as MathML, in an element of its own."""
    equation = convert(" ".join(tex.split()), display=display)
    return f'<{tag} class="math">{equation}</{tag}>'


def copy_pages() -> None:
    """Write the pages and pictures to build/pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    places, address = sources(), repository()
    for path, place in places.items():
        target = PAGES / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(page(path, places, address), "utf-8")
        else:
            shutil.copy(ROOT / path, target)
    if (ROOT / DEMO).is_dir():
        shutil.copytree(ROOT / DEMO, PAGES / "demo")


def main() -> int:
    """Build the site, and return the exit status."""
    copy_pages()
    command = ["zensical", "build", "--strict", "--clean"]
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
