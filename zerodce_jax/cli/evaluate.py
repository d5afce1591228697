"""``zerodce evaluate``."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from zerodce_jax.atomic import check_place
from zerodce_jax.cli.messages import note, say
from zerodce_jax.cli.options import Engine, SettingFlags, prepare_engine, unless
from zerodce_jax.errors import UsageError


def evaluate(
    networks: Annotated[
        Positional[tuple[str, ...]], arg(metavar="NETWORK...", help_behavior_hint="(required)")
    ],
    /,
    *,
    pairs: Annotated[tuple[Path, Path] | None, unless("LOW HIGH", "--images")] = None,
    images: Annotated[Path | None, unless("DIR", "--pairs")] = None,
    settings: OmitArgPrefixes[SettingFlags] = SettingFlags(),  # noqa: B008 (frozen)
    engine: Engine = "auto",
    perceptual: Annotated[tuple[str, ...], unless("NAME...", "none")] = (),
    json: Annotated[Path | None, unless("FILE", "no file")] = None,
    csv: Annotated[Path | None, unless("FILE", "no file")] = None,
    sheet: Annotated[Path | None, unless("FILE.jpg", "no file")] = None,
) -> int:
    """Compare networks by metrics, with or without reference photographs.

    Args:
        networks: Networks, as for enhance --model.
        pairs: Folder of dark photographs, and folder of well-lit
            references with the same names (extensions may differ).
        images: Folder of dark photographs, for the metrics that need no
            references.
        settings: Settings for all networks.
        engine: Engine, as for enhance: auto, xla or onnx.
        perceptual: Further metrics by their names in pyiqa, such as lpips
            (with references only) and niqe. pyiqa downloads their
            weights at the first use.
        json: Write the scores of each photograph, and their means, to
            this file.
        csv: Write the scores of each photograph to this file as a
            table.
        sheet: Write a contact sheet of the first photographs: input,
            results, reference.
    """
    from tqdm import tqdm

    from zerodce_jax.evaluation import report
    from zerodce_jax.evaluation.evaluate import Evaluation
    from zerodce_jax.evaluation.evaluate import evaluate as evaluate_networks
    from zerodce_jax.evaluation.pairs import pair_by_name
    from zerodce_jax.evaluation.perceptual import load_metrics
    from zerodce_jax.media import formats, pillow
    from zerodce_jax.models.serialization import load_network

    pillow.silence_decoders()
    if not networks:
        raise UsageError("evaluate: name a network, such as scene")
    for path in (json, csv, sheet):
        if path is not None and not path.absolute().parent.is_dir():
            raise UsageError(f"{path}: its folder does not exist")
        if path is not None:
            check_place(path)
    if sheet is not None and not formats.can_write(sheet):
        raise UsageError(f"{sheet}: name a photograph, such as sheet.jpg")
    references = None
    if pairs is not None and images is None:
        matching, unpaired = pair_by_name(*pairs)
        photographs, references = [low for low, _ in matching], [high for _, high in matching]
        for path in unpaired:
            note(f"{path}: skipped, because it has no partner")
    elif images is not None and pairs is None:
        photographs = formats.find_photographs(images)
    else:
        raise UsageError("evaluate: use either --pairs LOW HIGH or --images DIR")
    metrics = load_metrics(perceptual, references=references is not None)
    loaded = {name: load_network(name) for name in networks}
    for network in loaded.values():
        note(*network.notes)

    from zerodce_jax.enhancer import Enhancer

    engine = prepare_engine(engine)
    enhancers = {name: Enhancer(network, engine=engine) for name, network in loaded.items()}
    evaluations: list[Evaluation] = []
    overrides = settings.overrides()
    results = evaluate_networks(
        enhancers, photographs, references, overrides=overrides, perceptual=metrics
    )
    with tqdm(total=len(photographs), unit="photo", disable=not sys.stderr.isatty()) as bar:
        for evaluation in results:
            evaluations.append(evaluation)
            if evaluation.error:
                with bar.external_write_mode(file=sys.stderr):
                    say(evaluation.error)
            bar.update()
    if json is not None:
        report.write_json(json, evaluations, overrides)
    if csv is not None:
        report.write_csv(csv, evaluations)
    successes = [evaluation for evaluation in evaluations if not evaluation.error]
    if not successes:
        return 1
    if sheet is not None:
        report.write_sheet(sheet, successes)
    print(report.markdown_table(successes, metrics))
    print(f"means over {len(successes)} photograph{'s'[: len(successes) > 1]}")
    return 1 if len(successes) < len(evaluations) else 0
