"""data.py: photographs found, the order of batches, augmentation, and unreadable files."""

import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from zerodce_jax.config import TrainConfig
from zerodce_jax.errors import InputError
from zerodce_jax.training import data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of ten constant images, number i of value i, in five formats, some in a subfolder."""
    (tmp_path / "sub").mkdir()
    suffixes = ["png", "bmp", "tif", "webp", "jpg"]
    for i in range(1, 11):
        parent = tmp_path / "sub" if i > 7 else tmp_path
        image = Image.new("RGB", (40, 30), (i, i, i))
        image.save(parent / f"{i}.{suffixes[i % 5]}", lossless=True)
    return tmp_path


def numbers(files: Sequence[Path]) -> list[int]:
    return [int(path.stem) for path in files]


def test_photographs_of_all_formats_are_found_in_counting_order(folder: Path) -> None:
    (folder / "notes.txt").write_text("not an image")
    assert numbers(data.find_photographs(folder)) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_a_missing_or_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this folder does not exist"):
        data.find_photographs(tmp_path / "missing")
    with pytest.raises(InputError, match="no photographs"):
        data.find_photographs(tmp_path)


@given(count=st.integers(1, 300), fraction=st.floats(0, 0.99))
def test_split_keeps_every_file_once_and_in_order(count: int, fraction: float) -> None:
    files = [Path(str(i)) for i in range(count)]
    train, validation = data.split(files, fraction)
    assert train + validation == files
    assert abs(len(validation) - count * fraction) <= 0.5


def test_every_photograph_comes_once_per_pass_in_changing_order(folder: Path) -> None:
    config = TrainConfig(batch_size=5, image_size=16)
    batches = data.training_batches(data.find_photographs(folder), config)
    first, second = (np.concatenate([next(batches)["files"] for _ in range(2)]) for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)


def test_pixels_belong_to_the_file_of_their_index(folder: Path) -> None:
    files = data.find_photographs(folder)
    config = TrainConfig(batch_size=2, image_size=16)
    for batch in islice(data.training_batches(files, config), 5):
        assert batch["images"].shape == (2, 16, 16, 3)
        assert batch["images"].dtype == np.uint8
        for image, index in zip(batch["images"], batch["files"], strict=True):
            assert abs(int(image.mean().round()) - int(files[index].stem)) <= 1


@pytest.mark.parametrize("cache", [False, True])
def test_a_seed_gives_one_sequence_that_can_start_anywhere(folder: Path, cache: bool) -> None:
    files = data.find_photographs(folder)
    config = TrainConfig(
        batch_size=3, image_size=16, crop=True, flip=True, turn=True, cache=cache, seed=7
    )
    whole = list(islice(data.training_batches(files, config), 12))
    head = list(islice(data.training_batches(files, config), 5))
    tail = list(islice(data.training_batches(files, config, start=5), 7))
    for expected, found in zip(whole, head + tail, strict=True):
        np.testing.assert_array_equal(found["files"], expected["files"])
        np.testing.assert_array_equal(found["images"], expected["images"])


@pytest.mark.slow
@given(
    processes=st.integers(1, 4),
    rows_each=st.integers(1, 3),
    start=st.integers(0, 9),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_of_several_processes_form_the_batches_of_one(
    folder: Path, processes: int, rows_each: int, start: int, seed: int
) -> None:
    files = data.find_photographs(folder)
    config = TrainConfig(
        batch_size=processes * rows_each,
        image_size=16,
        crop=True,
        flip=True,
        turn=True,
        seed=seed % 99,
    )
    whole = islice(data.training_batches(files, config), start, start + 4)
    parts = [
        data.training_batches(
            files, config, rows=range(i * rows_each, (i + 1) * rows_each), start=start
        )
        for i in range(processes)
    ]
    for expected in whole:
        found = [next(part) for part in parts]
        for name, array in expected.items():
            np.testing.assert_array_equal(np.concatenate([x[name] for x in found]), array)


def test_another_seed_gives_another_sequence(folder: Path) -> None:
    files = data.find_photographs(folder)
    a, b = (
        [list(x["files"]) for x in islice(data.training_batches(files, TrainConfig(seed=s)), 5)]
        for s in (1, 2)
    )
    assert a != b


def test_the_next_photograph_replaces_an_unreadable_one_that_is_reported_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "99.png").write_bytes(b"not an image")
    files = data.find_photographs(folder)
    with caplog.at_level(logging.WARNING, logger="zerodce_jax"):
        config = TrainConfig(batch_size=4, image_size=16)
        seen = [batch["files"] for batch in islice(data.training_batches(files, config), 20)]
    assert set(np.concatenate(seen)) == {i for i, file in enumerate(files) if file.stem != "99"}
    # In a pass every file has one position; the one after the bad file gets that position too.
    bad = next(i for i, file in enumerate(files) if file.stem == "99")
    counts = np.bincount(np.concatenate(seen)[:77], minlength=len(files))
    after = (bad + 1) % len(files)
    assert list(counts) == [0 if i == bad else 14 if i == after else 7 for i in range(len(files))]
    assert sum("99.png" in record.getMessage() for record in caplog.records) == 1


def test_a_folder_of_unreadable_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match="none of the 1 photographs can be read"):
        next(data.training_batches(data.find_photographs(tmp_path), TrainConfig(batch_size=1)))


def test_usable_photographs_are_readable_and_for_darkening_well_exposed(tmp_path: Path) -> None:
    for name, value in (("black", 10), ("dim", 60), ("good", 70), ("fair", 150), ("white", 200)):
        pixels = np.full((32, 32, 3), value, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    files = data.find_photographs(tmp_path)
    for darken, expected in (
        (True, {"good", "fair"}),
        (False, {file.stem for file in files} - {"bad"}),
    ):
        found = data.usable(files, TrainConfig(image_size=16, darken=darken))
        assert found == [file for file in files if file.stem in expected]


def test_validation_reads_every_photograph_once_in_order(folder: Path) -> None:
    batches = list(
        data.validation_batches(data.find_photographs(folder), TrainConfig(batch_size=4))
    )
    assert [len(batch["files"]) for batch in batches] == [4, 4, 2]
    assert list(np.concatenate([batch["files"] for batch in batches])) == list(range(10))


def test_scaling_averages_the_whole_area(tmp_path: Path) -> None:
    # Sampling every tenth pixel would find either all of these bright pixels or none.
    pixels = np.zeros((160, 160, 3), np.uint8)
    pixels[5::10, 5::10] = 255
    Image.fromarray(pixels).save(tmp_path / "1.png")
    (batch,) = data.validation_batches([tmp_path / "1.png"], TrainConfig(image_size=16))
    assert abs(float(batch["images"].mean()) - 2.55) < 0.6


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    size=st.integers(1, 40),
    seed=st.integers(0),
)
def test_crops_are_squares_of_the_image(height: int, width: int, size: int, seed: int) -> None:
    image = np.arange(height * width * 3, dtype=np.int64).astype(np.uint8)
    image = image.reshape(height, width, 3)
    crop = data.random_crop(image, size, np.random.default_rng(seed))
    assert crop.shape == (size, size, 3)
    if height >= size and width >= size:
        windows = np.lib.stride_tricks.sliding_window_view(image, (size, size, 3))
        assert (windows == crop).all((-1, -2, -3)).any()
    else:
        assert np.isin(crop, image).all()


def test_scene_networks_see_most_of_a_photograph_at_one_time(tmp_path: Path) -> None:
    # The red channel tells the row, and the green one the column.
    ramp = np.round(np.linspace(0, 255, 300)).astype(np.uint8)
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = ramp[:, None], ramp
    Image.fromarray(pixels).save(tmp_path / "1.png")
    config = TrainConfig(model="scene", batch_size=1, image_size=128)
    shares, tops = [], []
    for batch in islice(data.training_batches([tmp_path / "1.png"], config), 100):
        (image,) = batch["images"]
        assert image.shape == (128, 128, 3)
        corners = image[[0, -1], [0, -1]].astype(float)
        height, width = np.ptp(corners[:, :2], axis=0) / 255 / (127 / 128)
        # Crops are squares, and not mirrored without --flip.
        assert height == pytest.approx(width, abs=0.02)
        assert corners[1, 0] > corners[0, 0]
        shares.append(height)
        tops.append(corners[0, 0] / 255)
    assert data.MIN_SHARE - 0.02 < min(shares) < data.MIN_SHARE + 0.05
    assert 0.95 < max(shares) < 1.02
    assert np.mean(shares) == pytest.approx((1 + data.MIN_SHARE) / 2, abs=0.04)
    assert min(tops) < 0.02
    assert max(tops) > 0.15


def test_flips_and_turns_reach_all_eight_orientations(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[0, 1] = 255
    Image.fromarray(pixels).save(tmp_path / "1.png")
    config = TrainConfig(batch_size=1, image_size=16, crop=True, flip=True, turn=True)
    batches = islice(data.training_batches([tmp_path / "1.png"], config), 60)
    positions = {tuple(np.argwhere(batch["images"][0, :, :, 0])[0].tolist()) for batch in batches}
    assert len(positions) == 8
