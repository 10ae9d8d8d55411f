"""Write a synthetic fashion shop as a GA4 export: `python -m sample_shop [write|deliver-late] [options]`."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from pathlib import Path

from foundation.command import run_command
from foundation.settings import Settings
from sample_shop.job import deliver_rewritten_day, write_sample_shop
from sample_shop.options import SWITCHES, SampleOptions


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return run_command(_make_parser(), arguments)


def _make_parser() -> argparse.ArgumentParser:
    defaults = SampleOptions()
    parser = argparse.ArgumentParser(prog="python -m sample_shop", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("write", "deliver-late"), default="write")
    parser.add_argument("--sessions", type=int, default=defaults.sessions, help="sessions (%(default)s)")
    parser.add_argument("--days", type=int, default=defaults.days, help="daily tables (%(default)s)")
    parser.add_argument(
        "--end-date", type=dt.date.fromisoformat, help="last one (default: yesterday, or that of the existing shop)"
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="(%(default)s)")
    parser.add_argument(
        "--out", type=Path, help="folder for export/, truth/ and later/ (default: sample_shop/ in the home folder)"
    )
    parser.add_argument(
        "--processes", type=int, help="does not change the result (default: all cores for large samples)"
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="NAME",
        help=f"leave out a quirk or incident; may be repeated: quirks (all), incidents (all), {', '.join(SWITCHES)}",
    )
    parser.set_defaults(run=_write)
    return parser


def _write(given: argparse.Namespace, settings: Settings) -> int:
    if given.command == "deliver-late":
        for path in deliver_rewritten_day(settings, out=given.out):
            print(f"delivered the later version of {path}")
        return 0
    options = SampleOptions(sessions=given.sessions, days=given.days, end_date=given.end_date, seed=given.seed).without(
        *given.without
    )
    report = write_sample_shop(settings, options, out=given.out, processes=given.processes)
    print(f"sample_shop: {report.message}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
