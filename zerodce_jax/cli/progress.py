"""Show the progress of a run: a bar, a line for each failure, and a summary."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from itertools import chain
from typing import Any

from tqdm import tqdm

from zerodce_jax.cli.messages import note, say
from zerodce_jax.errors import one_line
from zerodce_jax.jobs.plan import Item
from zerodce_jax.jobs.runner import Result


class Progress:
    """Shows the progress of a run, and counts its results without keeping them.

    Args:
        message_limit: Number of messages about single files that are printed; None prints all.
    """

    def __init__(self, *, message_limit: int | None = None) -> None:
        self._start = time.perf_counter()
        self._counts: Counter[str] = Counter()
        self._pixels = self._frames = self._messages = 0
        self._message_limit = message_limit
        self._video: Item | None = None
        # `follow` opens the first bar that shows.
        self._bar: tqdm[Any] = tqdm(disable=True)
        self._unit = ""
        self.interrupted = False

    def follow(
        self, results: Generator[Result, None, None], total: int, add: Callable[[Result], object]
    ) -> None:
        """Show and count each result of `runner.run`, and pass it to `add`, for a report.

        The bar starts with `total` photographs.
        """
        self._open_bar("photograph" if total else "frame", total)
        try:
            for result in results:
                # What `add` announces counts, even if it is interrupted.
                self._count(result)
                add(result)
                self._show(result)
        except KeyboardInterrupt:
            self.interrupted = True
            # If it was raised here, the run does not know of it yet.
            with contextlib.suppress(KeyboardInterrupt):
                first = results.throw(KeyboardInterrupt)
                for result in chain([first], results):
                    self._count(result)
                    add(result)
        finally:
            self._bar.close()

    def on_frame(self, item: Item, done: int, total: int | None) -> None:
        """Show the number of frames of a video that are done."""
        if self._unit != "frame":
            self._open_bar("frame")
        if item is not self._video:
            self._video = item
            self._bar.reset(total)
            self._bar.set_description(item.source.name, refresh=False)
        # The file may state a wrong number.
        self._bar.total = max(total, done) if total else None
        self._bar.update(done - self._bar.n)

    def end(self, place: object) -> int:
        """Print the summary, with the place of the results.

        Returns:
            The exit status.

        Raises:
            KeyboardInterrupt: An interrupt ended the run.
        """
        if self._counts["skipped"]:
            note("skipped results exist, maybe with other settings; --overwrite replaces them")
        seconds = time.perf_counter() - self._start
        counts = [f"{self._counts[status]} {status}" for status in ("done", "skipped", "failed")]
        if self._counts["not_started"]:
            counts.append(f"{self._counts['not_started']} not started")
        summary = f"{', '.join(counts)} in {seconds:.1f} s"
        if self._counts["done"]:
            rate = f"{self._pixels / 1e6 / seconds:.2f} megapixels/s"
            if self._video is not None:
                rate += f", {self._frames} frames"
            summary += f" ({rate})"
        if self._counts["done"] or self._counts["skipped"]:
            summary += f", results in {one_line(place)}"
        print(summary)
        if self.interrupted:
            raise KeyboardInterrupt
        return 1 if self._counts["failed"] else 0

    def _count(self, result: Result) -> None:
        self._counts[result.status] += 1
        self._pixels += result.width * result.height * result.frames
        if result.item.is_video and result.status == "done":
            self._frames += result.frames

    def _open_bar(self, unit: str, total: int | None = None) -> None:
        self._bar.close()
        self._unit = unit
        self._bar = tqdm(total=total or None, unit=unit, disable=not sys.stderr.isatty())

    def _show(self, result: Result) -> None:
        """Advance the bar by a photograph, and print the message of a result, up to the limit."""
        if not result.item.is_video:
            self._bar.update(result.status != "not_started")
        if not result.message:
            return
        self._messages += 1
        with tqdm.external_write_mode(file=sys.stderr):
            if self._message_limit is None or self._messages <= self._message_limit:
                (say if result.status == "failed" else note)(result.message)
            elif self._messages == self._message_limit + 1:
                note("the report has the other messages")
