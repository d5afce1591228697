"""``zerodce cluster``."""

import contextlib
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from zerodce_jax.cli.messages import note
from zerodce_jax.cli.options import Engine, ResultFormat, SettingFlags, unless
from zerodce_jax.config import EnhanceSettings
from zerodce_jax.errors import UsageError, require
from zerodce_jax.media.limits import MAX_PIXELS

_MESSAGE_LIMIT = 100
"""Number of messages about single photographs that are printed; the report has all of them."""


def cluster(
    source: Annotated[Positional[str], arg(metavar="SRC")],
    target: Annotated[Positional[str], arg(metavar="DST")],
    /,
    *,
    address: Annotated[str | None, unless("auto|HOST:PORT", "a Ray of its own")] = None,
    model: Annotated[str, arg(aliases=["-m"], metavar="NET")] = "scene",
    settings: OmitArgPrefixes[SettingFlags] = SettingFlags(),  # noqa: B008 (frozen)
    engine: Engine = "auto",
    actors: Annotated[int | None, unless("N", "as many as fit")] = None,
    gpus_per_actor: Annotated[float, arg(metavar="X")] = 0,
    batch: int = 16,
    overwrite: Annotated[bool, FlagCreatePairsOff] = False,
    format: ResultFormat = "keep",  # noqa: A002
    strip: Annotated[bool, FlagCreatePairsOff] = False,
    report: Annotated[str | None, unless("FILE.parquet", "DST/report.parquet")] = None,
    first_frame: Annotated[bool, FlagCreatePairsOff] = False,
    max_pixels: int = MAX_PIXELS,
) -> int:
    """Light up a folder of photographs on many machines, with Ray.

    Args:
        source: Folder of photographs: a path, or an address such as
            s3://BUCKET/FOLDER.
        target: Folder for the results: a path or an address. Results that
            exist are skipped.
        address: Ray cluster to join; auto is the cluster of this machine.
            By default Ray is started on this machine alone.
        model: Network, as for enhance; the other machines need no copy
            of it.
        settings: How to enhance. The network decides each setting that is
            not given.
        engine: Engine, as for enhance: auto, xla or onnx.
        actors: Number of processes that enhance. By default one for each
            machine (or 16 of its cores), or as many as the GPUs
            allow.
        gpus_per_actor: Number of GPUs for each process, which may be a fraction.
        batch: Number of photographs that a process takes at a time.
        overwrite: Replace results that exist, instead of skipping them.
        format: Format of the results.
        strip: Leave out EXIF, XMP, texts and resolution; the color
            profile stays.
        first_frame: Take only the first frame of animations, and the first
            page of TIFF files.
        report: Parquet file to write, with the outcome of each file. By
            default DST/report.parquet.
        max_pixels: Number of pixels of the largest photograph that is
            decoded.
    """
    require("a cluster", "ray", "ray", "pyarrow")
    from zerodce_jax.cli.progress import Progress
    from zerodce_jax.enhancer import choose_engine
    from zerodce_jax.jobs import reports, runner
    from zerodce_jax.jobs.ray_cluster import Options, RayExecutor
    from zerodce_jax.jobs.storage import Folder, folder_at
    from zerodce_jax.jobs.worklist import plan_work
    from zerodce_jax.models import serialization

    # Invalid values are refused before the network is loaded.
    EnhanceSettings().changed(**settings.overrides())
    choose_engine(engine)
    if max_pixels < 1 or batch < 1 or (actors is not None and actors < 1):
        raise UsageError("--max-pixels, --batch and --actors must be whole numbers >= 1")
    if gpus_per_actor < 0:
        raise UsageError("--gpus-per-actor must not be negative")
    network = serialization.load_network(model)
    note(*network.notes)
    progress = Progress(message_limit=_MESSAGE_LIMIT)
    src, dst = folder_at(source), folder_at(target)
    place = Folder(dst.files, dst.root / "report.parquet") if report is None else folder_at(report)
    work = plan_work(src, dst, format=format, first_frame=first_frame)
    if work.videos:
        note(f"{work.videos} videos are left out; enhance takes them")
    executor = RayExecutor(
        work,
        network,
        network.settings.changed(**settings.overrides()),
        Options(engine, actors, gpus_per_actor, batch, strip, max_pixels, first_frame),
        address=address,
        on_message=note,
    )
    nothing_to_do = not overwrite and not work.problems and None not in work.modified
    if nothing_to_do and report is None:
        # A report would replace that of the last run.
        reporting = contextlib.nullcontext(lambda result: None)
    else:
        reporting = reports.parquet(place.files, place.root, source=src.files, target=dst.files)
    with reporting as add:
        results = runner.run(work, executor, overwrite=overwrite)
        progress.follow(results, len(work), add)
    return progress.end(target)
