"""Help, version and advice of every subcommand, as a terminal of 80 columns shows them."""

import itertools
import re

import pytest

from helpers.command import run
from zerodce_jax import __version__
from zerodce_jax.cli import COMMANDS, main

NAMES = [command.__name__ for command in COMMANDS]


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        run(name, "--help")
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_help_states_defaults_and_fits_the_terminal(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(name, capsys)
    assert "None" not in text
    assert "(default: )" not in text
    _, *lines = text.splitlines()
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_no_line_of_the_help_ends_early(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Lines of one explanation begin in the same column; a flag in front moves the first one.
    lines = re.findall(r"^[│ ] {12,}(\w.{50,})[│ ]$", help_of(name, capsys), re.M)
    assert lines
    for line, following in itertools.pairwise(lines):
        text, word = line.rstrip(), following.split(" ")[0]
        if word.islower() and not text.endswith(")"):
            assert len(text) + len(word) > 48, (text, word)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"zerodce {__version__}\n"


@pytest.mark.parametrize(
    ("command", "expected"),
    [(None, "zerodce enhance --help"), ("python enhance.py", "python enhance.py --help")],
)
def test_advice_names_the_command_that_was_typed(
    command: str | None, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["enhance", "a.jpg"], command=command)
    assert caught.value.code == 2
    assert expected in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("exposure", "bright", "auto or off or a number"),
        ("exposure", "Auto", "auto or off or a number"),
        ("denoise", "much", "auto or a number"),
    ],
)
def test_wrong_words_are_answered_in_one_line(
    option: str, value: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("enhance", "a.jpg", "-o", "out", f"--{option}", value) == 2
    assert capsys.readouterr().err == f"zerodce: --{option} must be {allowed}, not {value}\n"
