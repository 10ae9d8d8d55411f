"""Write a synthetic fashion shop as a GA4 export: `python -m sample_shop [write|deliver-late|live] [options]`."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from pathlib import Path

from foundation.command import run_command, whole_number
from foundation.settings import Settings
from sample_shop.job import deliver_rewritten_day, write_sample_shop
from sample_shop.live import LiveOptions, live, open_live_shop
from sample_shop.options import SWITCHES, SampleOptions


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    return run_command(_make_parser(), arguments)


def _make_parser() -> argparse.ArgumentParser:
    defaults = SampleOptions()
    parser = argparse.ArgumentParser(prog="python -m sample_shop", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("write", "deliver-late", "live"), default="write")
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
    living = parser.add_argument_group(
        "live",
        "a shop whose intraday table grows as time passes, from yesterday morning on; the other options are not its",
    )
    living.add_argument(
        "--speed", type=float, default=1.0, help="times as fast, until it is as late as it is (%(default)g)"
    )
    living.add_argument(
        "--break-at",
        type=dt.time.fromisoformat,
        metavar="HH:MM",
        help="when nobody can pay on mobile, on its first day",
    )
    living.add_argument("--break-hours", type=float, help=f"for how long ({LiveOptions.break_hours:g})")
    living.add_argument("--sessions-a-day", type=whole_number(1), help=f"({LiveOptions.sessions_a_day})")
    living.add_argument("--prepare", action="store_true", help="write the shop as it opens, and end")
    parser.set_defaults(run=_run)
    return parser


def _run(given: argparse.Namespace, settings: Settings) -> int:
    return _live(given, settings) if given.command == "live" else _write(given, settings)


def _live(given: argparse.Namespace, settings: Settings) -> int:
    wanted = {name: getattr(given, name) for name in ("break_at", "break_hours", "sessions_a_day")}
    chosen = {name: value for name, value in wanted.items() if value is not None}
    shop = open_live_shop(settings, LiveOptions(**chosen) if chosen else None, out=given.out)
    zone = shop.calendar.zone
    print(f"sample_shop: it is {shop.clock.astimezone(zone):%a %d %b, %H:%M} in {shop.root / 'export'}", flush=True)
    if given.prepare:
        return 0
    hour = None
    for clock, rows in live(shop, speed=given.speed):
        local = clock.astimezone(zone)
        if local.hour != hour:
            print(f"sample_shop: {local:%a %d %b, %H:%M}, {rows:,} events today", flush=True)
            hour = local.hour
    print("sample_shop: its last day is over; delete the folder to have another one")
    return 0


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
