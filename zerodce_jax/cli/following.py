"""What ``zerodce enhance`` shows of its work: progress, a line for what went wrong, a summary."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

    from zerodce_jax.jobs.photos import Result
    from zerodce_jax.jobs.plan import Item


class Follower:
    """Follows one run after another, and tells what became of all of them."""

    def __init__(self, *, fail_fast: bool) -> None:
        self._start = time.perf_counter()
        self._seen: list[Result] = []
        self._fail_fast, self._interrupted = fail_fast, False
        self._video: Item | None = None
        self._bar: tqdm[Any] | None = None

    def pictures(self, items: "Sequence[Item]", results: "Generator[Result, None, None]") -> None:
        """Show one picture after another."""
        with self._shown(total=len(items), unit="picture") as bar:
            self._follow(items, results, lambda result: bar.update(result.status != "left"))

    def videos(self, items: "Sequence[Item]", results: "Generator[Result, None, None]") -> None:
        """Show the frames of one video after another, as `frame` hears of them."""
        with self._shown(unit="frame"):
            self._follow(items, results, lambda result: None)

    def frame(self, item: "Item", done: int, total: int | None) -> None:
        """Show that so many frames of a video are done."""
        if self._bar is None:
            return
        if item is not self._video:
            self._video = item
            self._bar.reset(total)
            self._bar.set_description(item.source.name, refresh=False)
        # What the file says of their number may be wrong.
        self._bar.total = max(total, done) if total else None
        self._bar.update(done - self._bar.n)

    def end(self, report: Path | None) -> int:
        """Print the summary and write the report.

        Returns:
            The exit status.

        Raises:
            KeyboardInterrupt: One had struck.
        """
        counts = Counter(result.status for result in self._seen)
        pixels = sum(each.width * each.height * each.frames for each in self._seen)
        rates = ""
        done = [each for each in self._seen if each.status == "done"]
        frames = sum(each.frames for each in done if each.item.is_video)
        if self._video is not None:
            rates = f", {frames} frames"
        if report is not None:
            from zerodce_jax.jobs import photos

            photos.write_report(report, self._seen)
        print(summary(counts, pixels, time.perf_counter() - self._start, rates))
        if self._interrupted:
            raise KeyboardInterrupt
        return 1 if counts["failed"] else 0

    @contextlib.contextmanager
    def _shown(self, **how: Any) -> "Generator[tqdm[Any], None, None]":
        from tqdm import tqdm

        with tqdm(disable=not sys.stderr.isatty(), **how) as self._bar:
            yield self._bar
        self._bar = None

    def _follow(
        self,
        items: "Sequence[Item]",
        results: "Generator[Result, None, None]",
        show: "Callable[[Result], object]",
    ) -> None:
        from zerodce_jax.jobs.photos import Result

        if self._interrupted or (self._fail_fast and any(r.status == "failed" for r in self._seen)):
            self._seen += [Result(item, "left") for item in items]
            return
        try:
            for result in results:
                self._seen.append(result)
                if result.message:
                    self._say(result)
                show(result)
        except KeyboardInterrupt:
            self._interrupted = True
            # It may have struck out here: then the results do not know of it yet.
            with contextlib.suppress(KeyboardInterrupt):
                self._seen.append(results.throw(KeyboardInterrupt))
                self._seen.extend(results)

    def _say(self, result: "Result") -> None:
        from tqdm import tqdm

        note = "" if result.status == "failed" else "note: "
        with tqdm.external_write_mode(file=sys.stderr):
            say(f"{note}{result.message}")


def summary(counts: "Counter[str]", pixels: int, seconds: float, rates: str = "") -> str:
    """One line on a whole run.

    Args:
        counts: How many items there are of each status.
        pixels: That were written.
        seconds: That it took.
        rates: What else there is to say of its speed.
    """
    said = ", ".join(f"{counts[each]} {each}" for each in ("done", "skipped", "failed"))
    said += f", {counts['left']} left" if counts["left"] else ""
    return f"{said} in {seconds:.1f} s ({pixels / 1e6 / seconds:.2f} megapixels/s{rates})"


def say(line: str) -> None:
    """Print a line on standard error."""
    print(f"zerodce: {line}", file=sys.stderr)
