"""What the command lines of all rooms share: how they refuse wrong settings, a useless home, and numbers."""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from warehouse.connect import NoBuildError
from warehouse.lake import ManifestError
from warehouse.settings import SettingsError, load_settings

_Arguments = ParamSpec("_Arguments")


def tell_errors(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
    """Let a command line end with one line and exit code 1 where its settings, or their home, cannot be used."""

    @wraps(main)
    def told(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> int:
        try:
            return main(*arguments, **named)
        except (SettingsError, ManifestError, NoBuildError) as error:
            message = str(error)
        except (OSError, sqlite3.OperationalError):
            why = _why_not_writable(load_settings().home)
            if why is None:
                raise  # of a home that can be written it tells nothing, and the traceback may
            message = why
        print(f"error: {message}", file=sys.stderr)
        return 1

    return told


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


def _why_not_writable(home: Path) -> str | None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return None
    except OSError as error:
        return f"{home} cannot be written ({error.strerror}); set FUNNELHOUSE_HOME to a folder that can"
