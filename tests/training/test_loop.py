"""loop.py, journal.py and checkpoint.py: runs, their files, stops and resumption."""

import dataclasses
import json
import logging
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from zerodce_jax.config import EnhanceSettings, SceneConfig, TrainConfig
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models import checkpoint, serialization
from zerodce_jax.models.network import flatten
from zerodce_jax.training import fit
from zerodce_jax.training.loop import Outcome

TINY = TrainConfig(
    steps=6, batch_size=2, image_size=16, checkpoint_every=2, log_every=1, sample_every=100, lr=1e-3
)


def replace(**changes: object) -> TrainConfig:
    return TrainConfig(**{**vars(TINY), **changes})


def read_log(workdir: Path) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k != "images_per_second"} for x in lines]


def equal(a: dict, b: dict) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def assert_same_training(run: Path, other: Path, *, step: int) -> None:
    """Check that two runs have the same parameters at a step, and the same log of training."""
    assert equal(
        serialization.load_network(f"{run}@{step}").params,
        serialization.load_network(f"{other}@{step}").params,
    )
    logs = [[x for x in read_log(folder) if "total" in x] for folder in (run, other)]
    assert logs[0] == logs[1]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 4])
def test_training_lowers_the_loss(photographs: Path, tmp_path: Path, scale: int) -> None:
    config = replace(steps=60, lr=3e-3, batch_size=4, scale=scale, image_size=32)
    fit(config, data=photographs, workdir=tmp_path / "run")
    totals = [entry["total"] for entry in read_log(tmp_path / "run")]
    assert np.mean(totals[-5:]) < 0.8 * np.mean(totals[:5])


def test_a_run_writes_checkpoints_log_samples_and_tensorboard_events(
    photographs: Path, network: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []
    caplog.set_level("INFO", "zerodce_jax")
    outcome = fit(
        replace(val_fraction=0.3, keep=2, ema=0.5),
        data=photographs,
        workdir=tmp_path,
        init=serialization.load_network(network),
        on_metrics=lambda step, steps, values: seen.append((step, steps, set(values))),
    )
    assert outcome == Outcome(6)
    assert caplog.messages == ["5 photographs, 540 parameters, steps 1 to 6; compiling"]
    log = read_log(tmp_path)
    terms = {"total", "spatial", "exposure", "color", "smoothness"}
    trained = [entry for entry in log if "total" in entry]
    assert [entry["step"] for entry in trained] == [1, 2, 3, 4, 5, 6]
    assert all(set(entry) == terms | {"step", "grad_norm", "lr"} for entry in trained)
    validated = {entry["step"]: entry["val_total"] for entry in log if "val_total" in entry}
    assert set(validated) == {2, 4, 6}
    assert [(step, steps) for step, steps, names in seen if "total" in names] == [
        (step, 6) for step in range(1, 7)
    ]
    steps = {int(entry.name) for entry in tmp_path.iterdir() if entry.name.isdecimal()}
    assert steps == {4, 6} | {min(validated, key=validated.__getitem__)}
    with Image.open(tmp_path / "samples" / "0000006.png") as grid:
        assert grid.size == (3 * 16, 2 * 16)
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents*"))
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["train"]["ema"] == 0.5
    assert serialization.load_network(tmp_path).settings == EnhanceSettings.adaptive()


@pytest.mark.slow
def test_loading_takes_the_best_by_validation_or_the_newest_or_a_given_step(
    photographs: Path, tmp_path: Path
) -> None:
    # The learning rate is so large that the losses rise and fall.
    fit(
        replace(lr=0.02, val_fraction=0.4, keep=3), data=photographs, workdir=tmp_path / "validated"
    )
    validated = tmp_path / "validated"
    losses = {
        entry["step"]: entry["val_total"] for entry in read_log(validated) if "val_total" in entry
    }
    best = min(losses, key=losses.__getitem__)
    assert equal(
        serialization.load_network(validated).params,
        serialization.load_network(f"{validated}@{best}").params,
    )
    others = [step for step in losses if step != best]
    assert not equal(
        serialization.load_network(validated).params,
        serialization.load_network(f"{validated}@{others[0]}").params,
    )
    fit(replace(), data=photographs, workdir=tmp_path / "unvalidated")
    newest = serialization.load_network(f"{tmp_path / 'unvalidated'}@6").params
    assert equal(serialization.load_network(tmp_path / "unvalidated").params, newest)
    with pytest.raises(InputError, match="no checkpoint of step 5; existing steps: 2, 4, 6"):
        serialization.load_network(f"{tmp_path / 'unvalidated'}@5")


@pytest.mark.slow
def test_a_run_with_a_moving_average_is_loaded_as_the_average(
    photographs: Path, tmp_path: Path
) -> None:
    fit(replace(ema=0.9), data=photographs, workdir=tmp_path / "ema")
    fit(replace(), data=photographs, workdir=tmp_path / "plain")
    # The same seed takes the same steps, so only the average can differ.
    assert read_log(tmp_path / "ema") == read_log(tmp_path / "plain")
    assert not equal(
        serialization.load_network(tmp_path / "ema").params,
        serialization.load_network(tmp_path / "plain").params,
    )


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(photographs: Path, tmp_path: Path) -> None:
    config = replace(ema=0.9, crop=True, flip=True, val_fraction=0.3, warmup_steps=2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(config, data=photographs, workdir=whole)
    for steps in (2, 5, 6):
        config = replace(**{**vars(config), "steps": steps})
        fit(config, data=photographs, workdir=parts)
    assert_same_training(whole, parts, step=6)


@pytest.mark.slow
def test_a_finished_run_is_not_changed(photographs: Path, tmp_path: Path) -> None:
    fit(replace(), data=photographs, workdir=tmp_path)
    before = read_log(tmp_path)
    assert fit(replace(), data=photographs, workdir=tmp_path).step == 6
    assert read_log(tmp_path) == before


@pytest.mark.slow
def test_a_cosine_run_is_not_resumed_with_another_length(photographs: Path, tmp_path: Path) -> None:
    # The length decides the learning rate of every step.
    config = replace(schedule="cosine", steps=4)
    assert fit(config, data=photographs, workdir=tmp_path).step == 4
    with pytest.raises(InputError, match=r"differs in steps \(4, now 6\)"):
        fit(replace(schedule="cosine", steps=6), data=photographs, workdir=tmp_path)


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_recipe_or_folder(
    photographs: Path, tmp_path: Path
) -> None:
    fit(replace(), data=photographs, workdir=tmp_path)
    with pytest.raises(InputError, match=r"differs in lr \(0.001, now 0.1\), .*number of photo"):
        fit(replace(lr=0.1, val_fraction=0.2), data=photographs, workdir=tmp_path)
    with pytest.raises(InputError, match="differs in features"):
        fit(replace(model="original"), data=photographs, workdir=tmp_path)
    with pytest.raises(InputError, match="already holds a run"):
        fit(replace(), data=photographs, workdir=tmp_path, resume="never")


@pytest.mark.slow
def test_init_gives_weights_and_architecture(
    photographs: Path, tmp_path: Path, goldens: Path
) -> None:
    network = serialization.load_network(goldens / "original_random.pth")
    config = replace(lr=1e-12, weight_decay=0.0, steps=1)
    fit(config, data=photographs, workdir=tmp_path, init=network)
    trained = serialization.load_network(tmp_path)
    assert trained.config == network.config
    for name, array in flatten(trained.params).items():
        np.testing.assert_allclose(array, flatten(network.params)[name], atol=1e-10)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(
    photographs: Path, tmp_path: Path
) -> None:
    config = replace(lr=1e30, checkpoint_every=1)
    with pytest.raises(InputError) as raised:
        fit(config, data=photographs, workdir=tmp_path)
    message = str(raised.value)
    assert message.startswith("step 2: the loss is not finite")
    assert "total nan" in message or "total inf" in message or "grad_norm" in message
    assert message.count(".png") == config.batch_size
    for step in checkpoint_steps(tmp_path):
        params = serialization.load_network(f"{tmp_path}@{step}").params
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


def checkpoint_steps(workdir: Path) -> list[int]:
    return sorted(int(entry.name) for entry in workdir.iterdir() if entry.name.isdecimal())


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_the_run(
    photographs: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    def interrupt(step: int, _steps: int, _values: dict) -> None:
        if step == 3:
            signal.raise_signal(signum)

    config = replace(checkpoint_every=100)
    before = signal.getsignal(signum)
    outcome = fit(config, data=photographs, workdir=tmp_path, on_metrics=interrupt)
    assert outcome.stopped_by == signum
    assert checkpoint_steps(tmp_path) == [outcome.step]
    assert 3 <= outcome.step < 6
    assert signal.getsignal(signum) == before


@pytest.mark.slow
def test_an_incomplete_checkpoint_is_never_loaded(photographs: Path, tmp_path: Path) -> None:
    fit(replace(steps=2), data=photographs, workdir=tmp_path)
    # A kill during writing leaves a folder with this name.
    (tmp_path / "2").rename(tmp_path / "4.orbax-checkpoint-tmp")
    with pytest.raises(InputError, match="no finished checkpoint"):
        serialization.load_network(tmp_path)
    assert fit(replace(), data=photographs, workdir=tmp_path).step == 6
    assert checkpoint_steps(tmp_path) == [2, 4, 6]
    assert not list(tmp_path.glob("*tmp*"))


@pytest.mark.slow
def test_log_lines_after_the_checkpoint_are_dropped(
    photographs: Path, network: Path, tmp_path: Path
) -> None:
    init = serialization.load_network(network)
    fit(replace(steps=4), data=photographs, workdir=tmp_path, init=init)
    expected = read_log(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "total": 1.0}\n{"step": 6, "to')
    fit(replace(steps=4), data=photographs, workdir=tmp_path, init=init)
    assert read_log(tmp_path) == expected


def test_the_log_has_the_last_step(photographs: Path, network: Path, tmp_path: Path) -> None:
    init = serialization.load_network(network)
    fit(replace(steps=3, log_every=2), data=photographs, workdir=tmp_path, init=init)
    assert [entry["step"] for entry in read_log(tmp_path)] == [2, 3]


@pytest.mark.slow
def test_unreadable_photographs_are_reported_once_and_do_not_stop_a_run(
    photographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for path in photographs.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "bad.png").write_bytes((folder / "0.png").read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        for part in ({"val_fraction": 0.3}, {}):
            workdir = tmp_path / f"run{len(part)}"
            assert fit(replace(**part), data=folder, workdir=workdir).step == 6
    # The runs read the bad file many times, for validation and for training.
    assert sum("bad.png" in record.getMessage() for record in caplog.records) == 1


def test_invalid_settings_are_refused(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fewer than a batch"):
        fit(replace(batch_size=50), data=photographs, workdir=tmp_path)
    for bad in ({"lr": 0}, {"ema": 1.0}, {"steps": -1}, {"image_size": 15}, {"grad_clip": -1.0}):
        with pytest.raises(UsageError, match="must be"):
            replace(**bad)


def test_darkening_needs_well_exposed_photographs(photographs: Path, tmp_path: Path) -> None:
    wanted = "none of the 7 photographs can be read and has a mean brightness of 0.25 to 0.6"
    with pytest.raises(InputError, match=wanted):
        fit(replace(darken=True), data=photographs, workdir=tmp_path)


def test_epochs_have_whole_batches_only(photographs: Path, network: Path, tmp_path: Path) -> None:
    config, init = replace(steps=0, epochs=2), serialization.load_network(network)
    assert fit(config, data=photographs, workdir=tmp_path, init=init).step == 2 * (7 // 2)


SCENE = dataclasses.replace(
    TrainConfig.recipe("scene"),
    steps=4,
    warmup_steps=1,
    batch_size=2,
    image_size=128,
    ema=0.5,
    checkpoint_every=2,
    log_every=1,
    val_fraction=0.3,
)
SMALL_SCENE = SceneConfig(features=8, blocks=1, levels=3)


@pytest.mark.slow
def test_a_run_with_a_scene_network_writes_its_losses_and_a_network_with_its_settings(
    photographs: Path, tmp_path: Path
) -> None:
    assert fit(SCENE, data=photographs, workdir=tmp_path, network=SMALL_SCENE) == Outcome(4)
    log = read_log(tmp_path)
    terms = {"total", "regions", "pixels", "mean", "edges", "error", "smoothness"}
    trained = [entry for entry in log if "total" in entry]
    assert [entry["step"] for entry in trained] == [1, 2, 3, 4]
    assert all(set(entry) == terms | {"step", "grad_norm", "lr"} for entry in trained)
    assert [entry["step"] for entry in log if "val_total" in entry] == [2, 4]
    with Image.open(tmp_path / "samples" / "0000004.png") as sheet:
        assert sheet.size == (3 * 128, 2 * 128)
    network = serialization.load_network(tmp_path)
    assert network.config == SMALL_SCENE
    assert network.settings == EnhanceSettings.scene()
    assert json.loads((tmp_path / "config.json").read_text())["network"]["architecture"] == "scene"


@pytest.mark.slow
def test_a_resumed_run_with_a_scene_network_equals_an_uninterrupted_one(
    photographs: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(SCENE, schedule="constant")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(config, data=photographs, workdir=whole, network=SMALL_SCENE)
    for steps in (1, 3, 4):
        part = dataclasses.replace(config, steps=steps)
        fit(part, data=photographs, workdir=parts, network=SMALL_SCENE)
    assert_same_training(whole, parts, step=4)


@pytest.mark.slow
def test_runs_of_earlier_versions_can_be_continued(photographs: Path, tmp_path: Path) -> None:
    fit(replace(steps=2), data=photographs, workdir=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["network"]["levels"] = 1
    config["train"]["scale"] = None
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert fit(replace(steps=4), data=photographs, workdir=tmp_path).step == 4


def test_a_damaged_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: damaged"):
        checkpoint.read_config(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="does not describe a network"):
        checkpoint.read_config(tmp_path)
