"""Damaged files among intact ones, enhanced by the command line (helpers/fuzz_photo.py)."""

from pathlib import Path

import pytest

from helpers.fuzz_photo import Fuzzer


@pytest.mark.slow
@pytest.mark.needs("pillow_heif", "rawpy", "tifffile")
def test_damaged_files_fail_with_one_line_and_do_not_affect_others(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    fuzzer = Fuzzer(tmp_path, seed=0, environment=environment)
    outcome = fuzzer.check(0, 200)
    assert outcome.findings == []
    assert min(outcome.counts["done"], outcome.counts["failed"]) > 20
