"""formats.py: image formats and their suffixes."""

from pathlib import Path

from zerodce_jax.media import formats


def test_format_of_knows_the_suffixes_of_every_format() -> None:
    for name in ("a.jpg", "a.JPEG", "a.png", "a.PNG", "a.webp", "a.tif", "a.tiff", "a.bmp"):
        assert formats.format_of(Path(name)) is not None
    for name in ("a.avif", "a.heic", "a.HEIC", "a.heif", "a.hif", "a.gif", "a.b/c.gif"):
        assert formats.format_of(Path(name)) is not None
    for name in ("a.txt", "a", "a.svg", "a.raw", ".png", "jpg", "a.png/b"):
        assert formats.format_of(Path(name)) is None
    for file_format in ("png", "jpeg", "webp", "tiff", "bmp", "avif", "heif", "gif"):
        assert formats.format_of(Path(f"a{formats.suffix_of(file_format)}")) == file_format


def test_only_gif_is_written_in_another_format() -> None:
    for file_format in ("png", "jpeg", "webp", "tiff", "bmp", "avif", "heif"):
        assert formats.output_format(file_format) == file_format
    assert formats.output_format("gif") == "png"


def test_photographs_are_found_sorted_with_or_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", ".a.png", "sub/c.gif", ".sub/d.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    visible = [tmp_path / name for name in ("a.jpg", "b.png", "sub/c.gif")]
    hidden = [tmp_path / name for name in (".a.png", ".sub/d.png")]
    assert formats.find_photographs(tmp_path) == visible
    assert formats.find_photographs(tmp_path, hidden=True) == hidden + visible
