"""`python -m runner run|up|down|summary|docs|sql`."""

from __future__ import annotations

import argparse
import fcntl
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import requests

from runner.airflow_parts import ADMIN, AirflowStartError, admin_password
from runner.main_job import DAILY, RunFailedError, RunOutcome, run_to_the_end, say, start_and_keep, stop_kept
from runner.summary import summarise
from warehouse.build import BuildFailedError, write_docs
from warehouse.command import tell_errors, whole_number
from warehouse.connect import NothingPublishedError, open_published
from warehouse.settings import PROJECT_DIR, Settings, load_settings
from warehouse.transaction import request_full_rebuild


class BusyError(RuntimeError):
    """Another run works in the same home."""


@tell_errors
def main() -> int:
    """Parse the command line and do what it says; the exit code is 0 only if that worked."""
    parser = argparse.ArgumentParser(prog="python -m runner", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the main job to its end and print what came out")
    run.add_argument("--rebuild", action="store_true", help="make every table anew from the lake")
    up = commands.add_parser("up", help="start Airflow with its page and its schedules, and keep it running")
    up.add_argument("--port", type=whole_number(1, 65535), default=8080)
    commands.add_parser("down", help="stop what `up` started")
    commands.add_parser("summary", help="print what is published")
    commands.add_parser("docs", help="write the static documentation of all tables")
    sql = commands.add_parser("sql", help="query the published warehouse")
    sql.add_argument("query")
    arguments = parser.parse_args()
    # so that `finally` stops Airflow on TERM and on a closed terminal as it does on Ctrl-C
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    try:
        settings = load_settings()
        if arguments.command == "run":
            if arguments.rebuild:
                request_full_rebuild(settings)
            return _run(settings)
        if arguments.command == "up":
            return _up(settings, arguments.port)
        if arguments.command == "down":
            stopped = stop_kept(settings)
            print(f"stopped {stopped} processes" if stopped else "nothing was running")
            return 0
        if arguments.command == "docs":
            return _docs(settings)
        if arguments.command == "sql":
            with open_published(settings) as connection:
                print(connection.sql(arguments.query))
            return 0
        print(summarise(settings))
        return 0
    except KeyboardInterrupt:
        print("interrupted; nothing was left running, and what was published stays", file=sys.stderr)
        return 130
    except (
        RunFailedError,
        AirflowStartError,
        BuildFailedError,
        BusyError,
        NothingPublishedError,
        TimeoutError,
        requests.RequestException,
        duckdb.Error,
    ) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1


def _run(settings: Settings) -> int:
    with _only_one(settings):
        _write_sample_shop(settings)
        outcome = run_to_the_end(settings)
    print("\n" + _what_was_done(outcome) + "\n\n" + summarise(settings))
    return 0


def _what_was_done(outcome: RunOutcome) -> str:
    lines = []
    for report in outcome.of(DAILY, "load_changed_days"):
        if report["days_loaded"]:
            lines.append(
                f"loaded {len(report['days_loaded'])} of {report['days_seen']} days, {report['events_loaded']:,} rows"
            )
        for problem in report["quarantined"]:
            lines.append(f"not loaded: {problem['file']}: {problem['reason']}; {problem['what_to_do']}")
    if any(outcome.of(DAILY, "publish")):
        lines.append(f"published {len(outcome.of(DAILY, 'publish'))} time(s)")
    else:
        lines.append("NOTHING NEW: the export, the models and the SQL are as they were; what is published stays")
    return "\n".join(lines)


def _up(settings: Settings, port: int) -> int:
    with _only_one(settings):
        _write_sample_shop(settings)
        url = start_and_keep(settings, port=port)
    print(f"Airflow is running at {url}\n  user {ADMIN}, password {admin_password(settings)}\n`make down` stops it.")
    return 0


def _docs(settings: Settings) -> int:
    if not settings.published_path.exists():
        raise NothingPublishedError("the documentation shows the published tables: run `make run` first")
    print(f"open {write_docs(settings)}")
    return 0


def _write_sample_shop(settings: Settings) -> None:
    """Without a source, make the sample shop; quick when it is there already."""
    if settings.source is None:
        say("no FUNNELHOUSE_SOURCE is set: using the sample shop")
        subprocess.run([sys.executable, "-m", "sample_shop"], cwd=PROJECT_DIR, check=True)


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"another run works in {settings.home}; wait for it, or choose another FUNNELHOUSE_HOME"
            ) from error
        yield


if __name__ == "__main__":
    sys.exit(main())
