"""``zerodce evaluate``."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from zerodce_jax.cli.options import Engine, SettingFlags, prepare_engine


def evaluate(
    networks: Annotated[Positional[tuple[str, ...]], arg(metavar="NETWORK...")],
    /,
    *,
    pairs: Annotated[tuple[Path, Path] | None, arg(metavar="LOW HIGH")] = None,
    images: Annotated[Path | None, arg(metavar="DIR")] = None,
    settings: OmitArgPrefixes[SettingFlags] = SettingFlags(),  # noqa: B008 (frozen)
    engine: Engine = "auto",
    perceptual: Annotated[tuple[str, ...], arg(metavar="NAME...")] = (),
    json: Annotated[Path | None, arg(metavar="FILE")] = None,
    csv: Annotated[Path | None, arg(metavar="FILE")] = None,
    sheet: Annotated[Path | None, arg(metavar="FILE.jpg")] = None,
) -> int:
    """Judge networks side by side, with references or without.

    Args:
        networks: Networks, as for enhance --model.
        pairs: Folder of dark pictures, and folder of the same ones in good light under the same
            names (extensions may differ).
        images: Folder of dark pictures, for the figures that need no references.
        settings: How to enhance, with all networks.
        engine: What computes, as for enhance.
        perceptual: Further figures by their names in pyiqa, such as lpips (beside references) and
            niqe; it fetches their weights when they are first asked for.
        json: Write the figures of each picture, and the means.
        csv: Write the figures of each picture as a table.
        sheet: Write a picture of the first pictures side by side: input, networks, reference.
    """
    from tqdm import tqdm

    from zerodce_jax.errors import UsageError
    from zerodce_jax.evaluation import evaluate as evaluation
    from zerodce_jax.evaluation import perceptual as models
    from zerodce_jax.media import formats, pillow
    from zerodce_jax.models import serialization

    pillow.quiet_decoders()
    if not networks:
        raise UsageError("evaluate: name a network, such as reduced")
    for path in (json, csv, sheet):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"{path}: there is no such folder")
    if sheet is not None and formats.format_of(sheet) in {None, "gif"}:
        raise UsageError(f"{sheet}: name a picture, such as sheet.jpg")
    references = None
    if pairs is not None and images is None:
        matching, alone = evaluation.pairs_of(*pairs)
        files, references = [low for low, _ in matching], [high for _, high in matching]
        for path in alone:
            _say(f"note: {path}: has no partner, left out")
    elif images is not None and pairs is None:
        files = evaluation.pictures_in(images)
    else:
        raise UsageError("evaluate: name either --pairs LOW HIGH or --images DIR")
    measures = models.load(perceptual, references=references is not None)
    loaded = {name: serialization.load(name) for name in networks}
    for network in loaded.values():
        for note in network.notes:
            _say(f"note: {note}")

    from zerodce_jax.enhancer import Enhancer

    engine = prepare_engine(engine)
    enhancers = {name: Enhancer(network, engine=engine) for name, network in loaded.items()}
    given = settings.overrides()
    judged: list[evaluation.Judged] = []
    found = evaluation.evaluate(enhancers, files, references, settings=given, perceptual=measures)
    with tqdm(total=len(files), unit="picture", disable=not sys.stderr.isatty()) as bar:
        for picture in found:
            judged.append(picture)
            if picture.problem:
                with bar.external_write_mode(file=sys.stderr):
                    _say(picture.problem)
            bar.update()
    if json is not None:
        evaluation.write_json(json, judged, given)
    if csv is not None:
        evaluation.write_csv(csv, judged)
    done = [picture for picture in judged if not picture.problem]
    if not done:
        return 1
    if sheet is not None:
        evaluation.write_sheet(sheet, done)
    print(evaluation.markdown(done, measures))
    print(f"means over {len(done)} picture{'s'[: len(done) > 1]}")
    return 1 if len(done) < len(judged) else 0


def _say(line: str) -> None:
    from zerodce_jax.errors import one_line

    print(f"zerodce: {one_line(line)}", file=sys.stderr)
