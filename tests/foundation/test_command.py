"""Every command line refuses what it cannot work with in one line that says what to do."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from foundation.errors import SettingsError
from foundation.settings import load_settings

COMMANDS = [
    "ingest",
    "expectations landing",
    "ml train",
    "alerts list",
    "sample_shop",
    "runner run",
]


@pytest.fixture(autouse=True)
def _same_signal_handlers() -> Iterator[None]:
    """`runner` takes signals for its own process."""
    kinds = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(kind) for kind in kinds]
    yield
    for kind, handler in zip(kinds, before, strict=True):
        signal.signal(kind, handler)


def _run(monkeypatch: pytest.MonkeyPatch, command: str) -> int:
    room, *arguments = command.split()
    monkeypatch.setattr("sys.argv", [room, *arguments])
    try:
        return int(import_module(f"{room}.__main__").main())
    except SystemExit as end:  # argparse
        return int(str(end.code))


def _one_error(capsys: pytest.CaptureFixture[str]) -> str:
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_setting_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FUNNELHOUSE_PROPERTY_TIMEZONE", "Europe/Berlln")
    monkeypatch.setenv("FUNNELHOUSE_DUCKDB_MEMORY_LIMIT", "lots")
    assert _run(monkeypatch, command) == 1
    line = _one_error(capsys)
    assert "FUNNELHOUSE_PROPERTY_TIMEZONE: 'Europe/Berlln' is not an IANA time zone" in line
    assert "FUNNELHOUSE_DUCKDB_MEMORY_LIMIT: 'lots' is not a size such as '6GB'" in line
    assert "Correct it in the environment or in .env" in line


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "sample_shop"])
def test_a_home_that_cannot_be_written_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    home = tmp_path / "file"
    home.touch()
    monkeypatch.setenv("FUNNELHOUSE_SOURCE", str(tmp_path))
    for unusable in (home, home / "below"):
        monkeypatch.setenv("FUNNELHOUSE_HOME", str(unusable))
        assert _run(monkeypatch, command) == 1
        assert f"{unusable} cannot be written" in (line := _one_error(capsys)) and "set FUNNELHOUSE_HOME" in line


def test_an_error_that_is_not_the_homes_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "lake" / "events").mkdir(parents=True)
    (tmp_path / "home" / "lake" / ".lock").mkdir()
    with pytest.raises(IsADirectoryError):
        _run(monkeypatch, "ingest")


def test_scoring_without_a_build_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(tmp_path / "home"))
    assert _run(monkeypatch, "ml score") == 1
    assert "no build has started; `make run` starts one" in _one_error(capsys)


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        ("runner up --port 99999999", "'99999999' is not a whole number from 1 to 65535"),
        ("runner up --port 0", "'0' is not a whole number from 1 to 65535"),
        ("alerts serve --port 65536", "'65536' is not a whole number from 0 to 65535"),
        ("alerts backtest --simulate --years 0", "'0' is not a whole number of at least 1"),
        ("alerts backtest --simulate --years 1 --seed -1", "'-1' is not a whole number of at least 0"),
        ("alerts backtest --days ten", "'ten' is not a whole number of at least 1"),
    ],
)
def test_numbers_out_of_range_are_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, refused: str
) -> None:
    assert _run(monkeypatch, command) == 2
    assert capsys.readouterr().err.strip().endswith(refused)


@pytest.mark.parametrize("value", ["6GB", "6 gb", "1.5GiB", "512m", "75%", "100B", ""])
def test_memory_limits_as_duckdb_takes_them(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FUNNELHOUSE_DUCKDB_MEMORY_LIMIT", value)
    assert load_settings().duckdb_memory_limit == (value or None)


@pytest.mark.parametrize("value", ["6", "6PB", "GB", "6GB each", "-1", "1_0GB"])
def test_other_memory_limits_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FUNNELHOUSE_DUCKDB_MEMORY_LIMIT", value)
    with pytest.raises(SettingsError, match="is not a size"):
        load_settings()


def test_no_secret_is_in_the_message_about_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNNELHOUSE_SMTP_PASSWORD", "hunter22")
    monkeypatch.setenv("FUNNELHOUSE_SMTP_PORT", "hunter22")
    with pytest.raises(SettingsError, match="FUNNELHOUSE_SMTP_PORT: Input should be a valid integer") as error:
        load_settings()
    assert "hunter22" not in str(error.value) and error.value.__suppress_context__
