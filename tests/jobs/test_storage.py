"""storage.py: folders of pictures here, on S3 over HTTP, and in what fsspec knows."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers import object_store, photo_files
from helpers.inverters import PIXELS, touch
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.jobs.storage import Folder, Local, Remote, folder_at
from zerodce_jax.media import photo
from zerodce_jax.media.photo import Photo

NAMES = ["b.png", "a.JPG", "sub/c.tif", "sub/deep/d.webp", "film.mp4"]
OTHERS = ["notes.txt", ".hidden.png", ".hidden/e.png", "sub/.zerodce-1/f.png"]


@pytest.fixture(scope="module")
def store() -> Iterator[object_store.Store]:
    with object_store.running() as running:
        yield running


@pytest.fixture(params=["local", "s3", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """An empty folder, in each kind of storage."""
    if request.param == "local":
        yield folder_at(str(tmp_path / "base"))
    elif request.param == "s3":
        store = request.getfixturevalue("store")
        name = tmp_path.name.replace("[", "-").strip("]")
        yield folder_at(f"s3://pictures/{name}?endpoint_override={store.address}")
    else:
        pytest.importorskip("pyarrow")
        fsspec = pytest.importorskip("fsspec")
        yield folder_at("memory://base/below")
        fsspec.filesystem("memory").store.clear()


def put(folder: Folder, name: str, content: bytes = b"x") -> Path:
    folder.put(folder.root / name, io.BytesIO(content))
    return folder.root / name


def below(folder: Folder, name: str) -> Folder:
    if isinstance(folder, Local):
        return Local(folder.root / name)
    return Remote(folder.filesystem, folder.root / name, folder.head)


def test_pictures_and_videos_are_found_by_the_rules_of_plan(folder: Folder) -> None:
    for name in [*NAMES, *OTHERS, "out/g.png"]:
        put(folder, name)
    found = list(folder.find(below(folder, "out")))
    assert sorted(str(item.target) for item in found) == sorted(NAMES)
    assert {item.source for item in found} == {folder.root / name for name in NAMES}
    # A folder that lies elsewhere, or above, hides nothing.
    everything = {str(item.target) for item in folder.find(Local(Path("/nonesuch")))}
    assert everything == {*NAMES, "out/g.png"}
    assert {str(i.target) for i in below(folder, "out").find(folder)} == {"g.png"}


def test_stamps_tell_what_is_there_and_what_was_written_anew(folder: Folder) -> None:
    assert folder.stamps() == {}
    path = put(folder, "sub/a.png")
    put(folder, "report.parquet")
    assert set(folder.stamps()) == {"sub/a.png", "report.parquet"}
    assert folder.stamps()["sub/a.png"] == folder.stamp(path) is not None
    assert folder.stamp(folder.root / "b.png") is None
    assert folder.stamp(folder.root / "sub") is None or isinstance(folder, Local)


def test_a_folder_that_does_not_exist(folder: Folder) -> None:
    with pytest.raises(InputError, match=r"nonesuch: there is no such folder$"):
        list(below(folder, "nonesuch").find(folder))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif", "heic", "bmp", "gif"])
def test_pictures_are_read_and_written_as_on_disk(
    suffix: str, folder: Folder, tmp_path: Path
) -> None:
    content = photo_files.file_with_metadata(suffix)
    (tmp_path / f"a.{suffix}").write_bytes(content)
    path, files = put(folder, f"a.{suffix}", content), folder.files
    size = photo.size(tmp_path / f"a.{suffix}")
    assert files.size(path, max_pixels=photo.MAX_PIXELS) == size
    opened = files.read(path, max_pixels=photo.MAX_PIXELS)
    np.testing.assert_array_equal(opened.pixels, photo.decode(content).pixels)
    result = Path("deep/down", f"b.{'png' if suffix == 'gif' else suffix}")
    losses = files.write(folder.root / result, opened)
    assert losses == photo.write(tmp_path / "local" / result, opened)
    written = content_of(folder, result)
    assert written == (tmp_path / "local" / result).read_bytes()
    assert not [name for name in folder.stamps() if ".zerodce-" in name]


def content_of(folder: Folder, name: Path) -> bytes:
    if isinstance(folder, Local):
        return (folder.root / name).read_bytes()
    with folder.filesystem.open_input_file(str(folder.root / name)) as file:
        return file.read()


def test_sizes_of_large_files_whose_header_lies_behind_the_pixels(folder: Folder) -> None:
    rng = np.random.default_rng(0)
    noise = Photo(rng.integers(0, 255, (300, 400, 3), dtype=np.uint8))
    for suffix in ("tif", "png", "webp", "avif"):
        content = photo_files.encode_photo(noise, suffix)[0]
        path = put(folder, f"large.{suffix}", content)
        assert folder.files.size(path, max_pixels=photo.MAX_PIXELS) == (400, 300)


def test_what_cannot_be_read_or_written_is_told_with_its_address(folder: Folder) -> None:
    files, address = folder.files, folder.files.name(folder.root)
    broken = put(folder, "broken.png", b"no picture" * 30_000)
    for act in (files.size, files.read):
        with pytest.raises((InputError, OSError), match=r"missing\.png"):
            act(folder.root / "missing.png", max_pixels=100)
        with pytest.raises(InputError, match=f"^{address}/broken.png: not an image of a known"):
            act(broken, max_pixels=100)
    with pytest.raises(InputError, match=f"^{address}/wide.webp: "):
        files.write(folder.root / "wide.webp", Photo(np.zeros((1, 16_384, 3), np.uint8)))
    with pytest.raises(InputError, match=f"^{address}/a.xyz: no image format"):
        files.write(folder.root / "a.xyz", Photo(PIXELS))
    assert set(folder.stamps()) == {"broken.png"}
    if isinstance(folder, Remote):
        assert address.startswith(("s3://pictures/", "memory://base/below"))


def test_addresses(tmp_path: Path, store: object_store.Store) -> None:
    assert folder_at("some/where") == Local(Path("some/where"))
    assert folder_at(f"file://{tmp_path}") == Local(tmp_path)
    secret = folder_at(f"s3://me:secret@pictures/a?endpoint_override={store.address}")
    assert secret.files.name(secret.root / "b.png") == "s3://pictures/a/b.png"
    for address in ("nonesuch://a/b", "s3://pictures/a?nonesuch=1", "s3://"):
        with pytest.raises(UsageError, match=f"^{address[:9]}") as caught:
            folder_at(address)
        assert len(str(caught.value).splitlines()) == 1


def test_a_bucket_that_does_not_exist(store: object_store.Store) -> None:
    missing = folder_at(f"s3://no-such-bucket/in?endpoint_override={store.address}")
    with pytest.raises(InputError, match=r"^s3://no-such-bucket/in: .+") as caught:
        list(missing.find(missing))
    assert len(str(caught.value).splitlines()) == 1


def test_results_need_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    with pytest.raises(InputError, match="is a file"):
        Local(tmp_path / "file").stamps()
