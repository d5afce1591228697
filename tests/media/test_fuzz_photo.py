"""fuzz_photo.py: some hundred broken files among whole ones, through the command line."""

from pathlib import Path

import pytest

from helpers.fuzz_photo import Fuzzer


@pytest.mark.slow
@pytest.mark.needs("pillow_heif", "tifffile")
def test_broken_files_do_no_harm(tmp_path: Path, environment: dict[str, str]) -> None:
    fuzzer = Fuzzer(tmp_path, seed=0, environment=environment)
    outcome = fuzzer.check(0, 200)
    assert outcome.findings == []
    assert min(outcome.counts["done"], outcome.counts["failed"]) > 20
