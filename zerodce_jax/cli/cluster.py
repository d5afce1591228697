"""``zerodce cluster``."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from zerodce_jax.cli.enhancing import Settings
from zerodce_jax.cli.following import say, summary
from zerodce_jax.errors import UsageError

if TYPE_CHECKING:
    from zerodce_jax.jobs.photos import Result

_MOST_LINES = 100
"""Of messages about single pictures; the report has them all."""


def cluster(
    source: Annotated[Positional[str], arg(metavar="SRC")],
    target: Annotated[Positional[str], arg(metavar="DST")],
    /,
    *,
    address: Annotated[str | None, arg(metavar="auto|HOST:PORT")] = None,
    model: Annotated[str, arg(aliases=["-m"])] = "reduced",
    settings: OmitArgPrefixes[Settings] = Settings(),  # noqa: B008 (frozen)
    engine: Literal["auto", "xla", "onnx"] = "auto",
    actors: Annotated[int | None, arg(metavar="N")] = None,
    gpus_per_actor: Annotated[float, arg(metavar="X")] = 0,
    batch: int = 16,
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
    format: Literal["keep", "png", "jpeg", "webp", "tiff", "avif", "heif"] = "keep",  # noqa: A002
    strip: Annotated[bool, FlagCreatePairsOff] = False,
    report: Annotated[str | None, arg(metavar="FILE.parquet")] = None,
    max_pixels: int = 300_000_000,
) -> int:
    """Light up a folder of photographs on many machines, with Ray.

    Args:
        source: Folder of photographs: a path, or an address such as s3://BUCKET/FOLDER.
        target: Folder for the results, the same way; results that exist are skipped.
        address: Ray cluster to join, auto for that of this machine; where it is not given, Ray is
            started on this machine alone.
        model: Network, as for enhance; it need not be on the other machines.
        settings: How to enhance.
        engine: What computes, as for enhance.
        actors: Processes that enhance; one for each machine (or 16 of its cores), or as many as the
            GPUs allow, where it is not given.
        gpus_per_actor: GPUs that each of them needs, also parts of one.
        batch: Pictures that each takes at one time.
        overwrite: Make results anew that exist already, instead of skipping them.
        format: Format of the results.
        strip: Leave out EXIF, XMP, texts and resolution; the colour profile stays.
        report: Write what became of each file here; DST/report.parquet where it is not given.
        max_pixels: Pixels of the largest picture that is decoded.
    """
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("ray", "pyarrow")):
        raise UsageError("a cluster needs a package: pip install 'zerodce-jax[ray]'")
    from zerodce_jax.config import EnhanceSettings
    from zerodce_jax.enhancer import choose_engine
    from zerodce_jax.jobs.storage import folder_at
    from zerodce_jax.models import serialization

    # Wrong values are wrong for every network.
    EnhanceSettings().changed(**settings.given())
    choose_engine(engine)
    if max_pixels < 1 or batch < 1 or (actors is not None and actors < 1):
        raise UsageError("--max-pixels, --batch and --actors must be whole numbers >= 1")
    if gpus_per_actor < 0:
        raise UsageError("--gpus-per-actor must not be negative")
    network = serialization.load_network(model)
    for note in network.notes:
        say(f"note: {note}")

    from zerodce_jax.jobs.ray_cluster import Options, enhance_all, session
    from zerodce_jax.jobs.worklist import plan_work
    from zerodce_jax.jobs.worklist import report as reporting

    start = time.perf_counter()
    src, dst = folder_at(source), folder_at(target)
    place = folder_at(report) if report is not None else dst
    path = place.root if report is not None else dst.root / "report.parquet"
    work = plan_work(src, dst, format=format, overwrite=overwrite)
    if work.videos:
        say(f"note: {work.videos} videos are left out; enhance takes them")
    options = Options(
        network.settings.changed(**settings.given()),
        engine=engine,
        actors=actors,
        gpus=gpus_per_actor,
        batch=batch,
        strip=strip,
        max_pixels=max_pixels,
    )
    follower = _Follower(len(work))
    results = enhance_all(work, network, options)
    if not work.names and not work.problems and report is None:
        # Nothing to do: neither Ray nor a report that would take the place of the last one.
        follower.follow(results, lambda result: None)
    else:
        with reporting(place, path, work) as add, contextlib.ExitStack() as stack:
            if work.names:
                stack.enter_context(session(address, lambda line: say(f"note: {line}")))
            follower.follow(results, add)
    return follower.end(time.perf_counter() - start)


class _Follower:
    """Shows how far a run is, and counts; of the results it keeps none."""

    def __init__(self, total: int) -> None:
        self._total, self._pixels, self._messages = total, 0, 0
        self._counts: Counter[str] = Counter()
        self._interrupted = False

    def follow(
        self, results: "Generator[Result, None, None]", add: "Callable[[Result], object]"
    ) -> None:
        """Show one picture after another, and pass each on."""
        from tqdm import tqdm

        with tqdm(total=self._total, unit="picture", disable=not sys.stderr.isatty()) as bar:

            def take(result: "Result") -> None:
                self._counts[result.status] += 1
                self._pixels += result.width * result.height
                if result.message:
                    self._say(result)
                bar.update(result.status != "left")
                add(result)

            try:
                for result in results:
                    take(result)
            except KeyboardInterrupt:
                self._interrupted = True
                # It may have struck out here: then the results do not know of it yet.
                with contextlib.suppress(KeyboardInterrupt):
                    take(results.throw(KeyboardInterrupt))
                    for result in results:
                        take(result)

    def end(self, seconds: float) -> int:
        """Print the summary.

        Returns:
            The exit status.

        Raises:
            KeyboardInterrupt: One had struck.
        """
        print(summary(self._counts, self._pixels, seconds))
        if self._interrupted:
            raise KeyboardInterrupt
        return 1 if self._counts["failed"] else 0

    def _say(self, result: "Result") -> None:
        from tqdm import tqdm

        self._messages += 1
        note = "" if result.status == "failed" else "note: "
        with tqdm.external_write_mode(file=sys.stderr):
            if self._messages <= _MOST_LINES:
                say(f"{note}{result.message}")
            elif self._messages == _MOST_LINES + 1:
                say("note: further messages are in the report alone")
