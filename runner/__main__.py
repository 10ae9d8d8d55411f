"""`python -m runner run|up|demo|down|summary|docs|sql`."""

from __future__ import annotations

import argparse
import fcntl
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from foundation.command import run_command, whole_number
from foundation.connect import open_for_queries
from foundation.dag_names import PIPELINE
from foundation.errors import FunnelhouseError, NothingPublishedError
from foundation.settings import PROJECT_DIR, Settings
from runner.airflow_parts import ADMIN, admin_password, airflow_environment
from runner.demo import SPEED, run_demo
from runner.kept import stop_kept
from runner.main_job import RunOutcome, run_to_the_end, say, start_and_keep
from runner.retention import remove_old
from runner.summary import summarise
from sample_shop.job import LIVE_NAME
from warehouse.build import write_docs
from warehouse.transaction import request_full_rebuild


class BusyError(FunnelhouseError):
    """Another run works in the same home."""


class SampleShopError(FunnelhouseError):
    """The sample shop could not be made."""


class QueryError(FunnelhouseError):
    """DuckDB refuses a query."""


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do what it says; the exit code is 0 only if that worked."""
    # so that `finally` stops Airflow on TERM and on a closed terminal as it does on Ctrl-C
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    interrupted = "interrupted; nothing was left running, and what was published stays"
    return run_command(_make_parser(), arguments, when_interrupted=interrupted)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runner", description=__doc__)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="run the main job to the end and print the results")
    run.add_argument("--rebuild", action="store_true", help="rebuild every table from the lake")
    run.set_defaults(run=_run)
    up = commands.add_parser("up", help="start Airflow with its UI and schedules, and keep it running")
    up.add_argument("--port", type=whole_number(1, 65535), default=8080)
    up.set_defaults(run=_up)
    demo = commands.add_parser("demo", help="let a shop live, break and be mended, and show the alerts as they come")
    demo.add_argument("--port", type=whole_number(1, 65535), default=8080)
    demo.add_argument("--speed", type=float, default=SPEED, help="times as fast as the clock (%(default)g)")
    demo.set_defaults(run=_demo)
    commands.add_parser("down", help="stop what `up` started").set_defaults(run=_down)
    tidy = commands.add_parser("tidy", help="remove old task logs and Airflow's old records, also while it runs")
    tidy.set_defaults(run=_tidy)
    commands.add_parser("summary", help="print what is published").set_defaults(run=_summarise)
    commands.add_parser("docs", help="write the static documentation of all tables").set_defaults(run=_docs)
    sql = commands.add_parser("sql", help="query the published warehouse")
    sql.add_argument("query")
    sql.set_defaults(run=_sql)
    return parser


def _run(options: argparse.Namespace, settings: Settings) -> int:
    if options.rebuild:
        request_full_rebuild(settings)
    with _only_one(settings), _sample_shop(settings) as wait_for_shop:
        outcome = run_to_the_end(settings, when_ready=wait_for_shop)
    print("\n" + _what_was_done(outcome) + "\n\n" + summarise(settings))
    return 0


def _what_was_done(outcome: RunOutcome) -> str:
    lines = []
    for report in outcome.of(PIPELINE, "load_changed_days"):
        if report["days_loaded"]:
            lines.append(
                f"loaded {len(report['days_loaded'])} of {report['days_seen']} days, {report['events_loaded']:,} rows"
            )
            rewritten = [day["event_date"] for day in report["days_loaded"] if day["change"] == "rewritten"]
            if rewritten:
                lines.append(f"  loaded again, since the export has rewritten them: {_shorten(rewritten)}")
        for problem in report["quarantined"]:
            lines.append(f"not loaded: {problem['file']}: {problem['reason']}; {problem['what_to_do']}")
    if any(outcome.of(PIPELINE, "publish")):
        lines.append(f"published {len(outcome.of(PIPELINE, 'publish'))} time(s)")
        lines.extend(f"  because {'; '.join(reasons)}" for reasons in outcome.of(PIPELINE, "plan_build") if reasons)
    else:
        lines.append("NOTHING NEW: the export, the models and the SQL have not changed; what is published stays")
    return "\n".join(lines)


def _shorten(dates: list[str], *, shown: int = 5) -> str:
    more = f" and {len(dates) - shown} more" if len(dates) > shown else ""
    return ", ".join(dates[:shown]) + more


def _up(options: argparse.Namespace, settings: Settings) -> int:
    with _only_one(settings):
        with _sample_shop(settings) as wait_for_shop:
            wait_for_shop()  # before the schedules begin
        url = start_and_keep(settings, port=options.port)
    print(f"Airflow is running at {url}\n  user {ADMIN}, password {admin_password(settings)}\n`make down` stops it.")
    return 0


def _demo(options: argparse.Namespace, settings: Settings) -> int:
    with _only_one(settings):
        run_demo(settings, port=options.port, speed=options.speed)
    return 0


def _down(options: argparse.Namespace, settings: Settings) -> int:
    stopped = stop_kept(settings)
    print(f"stopped {stopped} processes" if stopped else "nothing was running")
    return 0


def _tidy(options: argparse.Namespace, settings: Settings) -> int:
    if not (settings.airflow_home / "airflow.db").exists():
        print("Airflow has not run yet: there is nothing old")
        return 0
    print("\n".join(remove_old(settings, airflow_environment(settings, port=0))))
    return 0


def _summarise(options: argparse.Namespace, settings: Settings) -> int:
    print(summarise(settings))
    return 0


def _docs(options: argparse.Namespace, settings: Settings) -> int:
    if not settings.published_path.exists():
        raise NothingPublishedError("the documentation shows the published tables: run `make run` first")
    print(f"open {write_docs(settings)}")
    return 0


def _sql(options: argparse.Namespace, settings: Settings) -> int:
    with open_for_queries(settings) as connection:
        try:
            print(connection.sql(options.query))
        except duckdb.Error as error:
            raise QueryError(str(error)) from error
    return 0


@contextmanager
def _sample_shop(settings: Settings) -> Iterator[Callable[[], None]]:
    """Without a source, begin to make the sample shop; yields what waits until it is there."""
    if settings.source is not None:
        yield lambda: None
        return
    if (settings.sample_export_dir.parent / LIVE_NAME).exists():
        say("no FUNNELHOUSE_SOURCE is set: using the shop that lives in this home, as it is")
        yield lambda: None
        return
    say("no FUNNELHOUSE_SOURCE is set: using the sample shop")
    with subprocess.Popen([sys.executable, "-m", "sample_shop"], cwd=PROJECT_DIR) as shop:

        def wait() -> None:
            if shop.wait():
                raise SampleShopError("the sample shop could not be made; it has said why above")

        try:
            yield wait
        finally:
            shop.terminate()


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"another run is working in {settings.home}; wait for it, or choose another FUNNELHOUSE_HOME"
            ) from error
        yield


if __name__ == "__main__":
    sys.exit(main())
