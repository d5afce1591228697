"""storage.py: photographs on disk, on S3 over HTTP, and in a file system of fsspec."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers import object_store, photo_files
from helpers.inverters import PIXELS, touch
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.jobs.storage import Files, Folder, LocalFiles, RemoteFiles, folder_at
from zerodce_jax.media import decoding, photo
from zerodce_jax.media.photograph import Photo

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
    folder.files.put(folder.root / name, io.BytesIO(content))
    return folder.root / name


def find(folder: Path, files: Files, leave_out: Path | None = None) -> set[str]:
    return {str(item.target) for item in files.find(folder, leave_out)}


def names_in(folder: Folder) -> set[str]:
    return set(folder.files.modification_times(folder.root))


def test_photographs_and_videos_are_found_by_the_rules_of_plan(folder: Folder) -> None:
    files, root = folder.files, folder.root
    for name in [*NAMES, *OTHERS, "out/g.png"]:
        put(folder, name)
    found = list(files.find(root, root / "out"))
    assert sorted(str(item.target) for item in found) == sorted(NAMES)
    assert {item.source for item in found} == {root / name for name in NAMES}
    # A folder that lies elsewhere, or above, hides nothing.
    assert find(root, files) == {*NAMES, "out/g.png"}
    assert find(root, files, Path("/nonesuch")) == {*NAMES, "out/g.png"}
    assert find(root / "out", files, root) == {"g.png"}


def test_modification_times(folder: Folder) -> None:
    files, root = folder.files, folder.root
    assert files.modification_times(root) == {}
    path = put(folder, "sub/a.png")
    put(folder, "report.parquet")
    times = files.modification_times(root)
    assert set(times) == {"sub/a.png", "report.parquet"}
    assert times["sub/a.png"] == files.modification_time(path) is not None
    assert files.modification_time(root / "b.png") is None
    assert files.modification_time(root / "sub") is None or files == LocalFiles()


def test_a_folder_that_does_not_exist(folder: Folder) -> None:
    with pytest.raises(InputError, match=r"nonesuch: the folder does not exist$"):
        find(folder.root / "nonesuch", folder.files)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif", "heic", "bmp", "gif"])
def test_photographs_are_read_and_written_as_on_disk(
    suffix: str, folder: Folder, tmp_path: Path
) -> None:
    content = photo_files.file_with_metadata(suffix)
    (tmp_path / f"a.{suffix}").write_bytes(content)
    path, files = put(folder, f"a.{suffix}", content), folder.files
    size = photo.size(tmp_path / f"a.{suffix}")
    assert files.size(path, max_pixels=photo.MAX_PIXELS) == size
    opened = files.read(path, max_pixels=photo.MAX_PIXELS)
    np.testing.assert_array_equal(opened.pixels, decoding.decode(content).pixels)
    result = Path("deep/down", f"b.{'png' if suffix == 'gif' else suffix}")
    losses = files.write(folder.root / result, opened)
    assert losses == photo.write(tmp_path / "local" / result, opened)
    written = content_of(folder, result)
    assert written == (tmp_path / "local" / result).read_bytes()
    assert not [name for name in names_in(folder) if ".zerodce-" in name]


def content_of(folder: Folder, name: Path) -> bytes:
    if not isinstance(folder.files, RemoteFiles):
        return (folder.root / name).read_bytes()
    with folder.files.filesystem.open_input_file(str(folder.root / name)) as file:
        return file.read()


def test_sizes_of_large_files_whose_header_follows_the_pixels(folder: Folder) -> None:
    rng = np.random.default_rng(0)
    noise = Photo(rng.integers(0, 255, (300, 400, 3), dtype=np.uint8))
    for suffix in ("tif", "png", "webp", "avif"):
        content = photo_files.encode_photo(noise, suffix)[0]
        path = put(folder, f"large.{suffix}", content)
        assert folder.files.size(path, max_pixels=photo.MAX_PIXELS) == (400, 300)


def test_errors_name_the_address_of_the_file(folder: Folder) -> None:
    files, address = folder.files, folder.name
    broken = put(folder, "broken.png", b"no picture" * 30_000)
    for method in (files.size, files.read):
        with pytest.raises((InputError, OSError), match=r"missing\.png"):
            method(folder.root / "missing.png", max_pixels=100)
        with pytest.raises(InputError, match=f"^{address}/broken.png: not an image of a known"):
            method(broken, max_pixels=100)
    with pytest.raises(InputError, match=f"^{address}/wide.webp: "):
        files.write(folder.root / "wide.webp", Photo(np.zeros((1, 16_384, 3), np.uint8)))
    with pytest.raises(InputError, match=f"^{address}/a.xyz: no image format"):
        files.write(folder.root / "a.xyz", Photo(PIXELS))
    assert names_in(folder) == {"broken.png"}
    if isinstance(files, RemoteFiles):
        assert address.startswith(("s3://pictures/", "memory://base/below"))


def test_addresses(tmp_path: Path, store: object_store.Store) -> None:
    assert folder_at("some/where") == Folder(LocalFiles(), Path("some/where"))
    assert folder_at(f"file://{tmp_path}") == Folder(LocalFiles(), tmp_path)
    secret = folder_at(f"s3://me:secret@pictures/a?endpoint_override={store.address}")
    assert secret.files.name(secret.root / "b.png") == "s3://pictures/a/b.png"
    for address in ("nonesuch://a/b", "s3://pictures/a?nonesuch=1", "s3://"):
        with pytest.raises(UsageError, match=f"^{address[:9]}") as caught:
            folder_at(address)
        assert len(str(caught.value).splitlines()) == 1


def test_a_bucket_that_does_not_exist(store: object_store.Store) -> None:
    missing = folder_at(f"s3://no-such-bucket/in?endpoint_override={store.address}")
    with pytest.raises(InputError, match=r"^s3://no-such-bucket/in: .+") as caught:
        find(missing.root, missing.files)
    assert len(str(caught.value).splitlines()) == 1


def test_the_folder_for_results_is_a_file(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    with pytest.raises(InputError, match="is a file"):
        LocalFiles().modification_times(tmp_path / "file")
