"""The one form of all command lines: how they parse, log, refuse, and end.

Exit codes: 0 it worked; 1 it went wrong, and one message says what and what to do; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from foundation.errors import FunnelhouseError, SettingsError
from foundation.logs import set_up_logging
from foundation.settings import load_settings


def run_command(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None = None,
    *,
    log_level: int = logging.INFO,
    when_interrupted: str = "interrupted",
) -> int:
    """Parse, read the settings and call what the parser's default `run` names; returns the exit code.

    `run` takes the parsed options and the settings, and returns the exit code. Here, where a command starts, is the one
    place that catches what went wrong.
    """
    options = parser.parse_args(arguments)
    # what is written tells of people: it is its owner's alone, and so is what is started from here
    os.umask(0o077)
    set_up_logging(log_level)
    try:
        settings = load_settings()
        try:
            return int(options.run(options, settings))
        except (OSError, sqlite3.OperationalError):
            # of a home that can be written it tells nothing, and the traceback may
            _check_home(settings.home)
            raise
    except FunnelhouseError as error:
        print(f"{error.prefix}{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(when_interrupted, file=sys.stderr)
        return 130


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """The `type` of an argument that is a whole number from `low` to `high`."""
    wanted = f"a whole number from {low} to {high}" if high is not None else f"a whole number of at least {low}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return number

    return parse


def _check_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return
    except OSError as error:
        raise SettingsError(
            f"{home} cannot be written ({error.strerror}); set FUNNELHOUSE_HOME to a writable folder"
        ) from error
