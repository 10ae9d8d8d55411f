"""Write, audit, publish: readers never wait, and a killed run leaves what was published."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

from tests.dbt_runner import build_and_publish, query, snapshot
from tests.lake_writer import make_event, remove_day, write_day
from warehouse.connect import NothingPublishedError, open_build, open_published
from warehouse.settings import Settings
from warehouse.state import open_state
from warehouse.transaction import begin, plan_build, project_fingerprint, publish

PROJECT = Path(__file__).resolve().parents[2]


def fill(settings: Settings, date: str = "2026-08-01", users: int = 3) -> None:
    write_day(settings, date, [make_event("page_view", f"{date}T10:00:00", user=f"u{n}") for n in range(users)])


def test_nothing_published_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(NothingPublishedError, match="make run"), open_published(settings):
        pass


def test_an_empty_lake_needs_no_build(settings: Settings) -> None:
    assert not plan_build(settings).is_needed


def test_the_plan_names_what_has_changed(settings: Settings) -> None:
    fill(settings, "2026-08-01")
    fill(settings, "2026-08-02")
    build_and_publish(settings)
    assert plan_build(settings).reasons == []
    fill(settings, "2026-08-02", users=4)
    fill(settings, "2026-08-03")
    remove_day(settings, "2026-08-01")
    plan = plan_build(settings)
    assert plan.touched_dates == ["2026-08-01", "2026-08-02", "2026-08-03"]
    assert not plan.is_full_rebuild
    build_and_publish(settings)
    assert plan_build(settings).reasons == []
    assert query(settings, "select count(*) from marts.fct_sessions") == [(7,)]


def test_a_provisional_day_that_has_become_complete_is_a_reason(settings: Settings) -> None:
    today = dt.datetime.now(dt.UTC).date()
    fill(settings, (today - dt.timedelta(days=1)).isoformat())
    build_and_publish(settings)
    assert query(settings, "select is_provisional from marts.agg_kpis_daily") == [(True,)]
    assert plan_build(settings).reasons == []
    later = dt.datetime.combine(today + dt.timedelta(days=3), dt.time(), tzinfo=dt.UTC)
    assert not plan_build(settings, now=later - dt.timedelta(seconds=1)).is_needed
    assert plan_build(settings, now=later).reasons == ["1 provisional days have become complete"]


def test_a_changed_setting_means_a_full_rebuild(settings: Settings) -> None:
    fill(settings)
    build_and_publish(settings)
    changed = settings.model_copy(update={"property_timezone": "Europe/Berlin"})
    assert project_fingerprint(changed) != project_fingerprint(settings)
    plan = plan_build(changed)
    assert plan.is_full_rebuild
    assert plan.touched_dates == ["2026-08-01"]


def test_publish_belongs_to_the_run_that_built(settings: Settings) -> None:
    fill(settings)
    build_and_publish(settings)
    begin(settings, run_id="mine")
    with pytest.raises(RuntimeError, match="belongs to run 'mine'"):
        publish(settings, run_id="other")
    assert publish(settings, run_id="mine")
    # a retried task finds that its run has published
    assert not publish(settings, run_id="mine")
    with pytest.raises(RuntimeError, match="run the build again"):
        publish(settings, run_id="other")


def test_state_is_copied_into_ops(settings: Settings) -> None:
    fill(settings)
    with open_state(settings) as state:
        state.execute("create table notes (id integer, text text, value real)")
        state.execute("insert into notes values (1, 'it''s', 0.5), (2, null, null)")
    build_and_publish(settings)
    assert query(settings, "select * from ops.notes order by id") == [(1, "it's", 0.5), (2, None, None)]


def test_a_failed_state_transaction_leaves_nothing(settings: Settings) -> None:
    with pytest.raises(ZeroDivisionError), open_state(settings) as state:
        state.execute("create table notes (id integer)")
        raise ZeroDivisionError
    with open_state(settings) as state:
        assert state.execute("select count(*) from sqlite_master").fetchone()[0] == 0


def test_begin_throws_away_what_a_killed_run_left(settings: Settings) -> None:
    fill(settings)
    build_and_publish(settings)
    begin(settings, run_id="killed")
    with open_build(settings) as connection:
        connection.execute("drop table marts.fct_sessions")
    settings.build_path.with_name(settings.build_path.name + ".wal").write_bytes(b"rubbish")
    begin(settings, run_id="next")
    with open_build(settings) as connection:
        assert connection.execute("select count(*) from marts.fct_sessions").fetchall() == [(3,)]


def test_readers_read_all_through_a_run(settings: Settings) -> None:
    fill(settings)
    build_and_publish(settings)
    seen: set[int] = set()
    errors: list[Exception] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add(int(query(settings, "select count(*) from marts.fct_sessions")[0][0]))
            except duckdb.Error as error:  # collected for the assertion below
                errors.append(error)
            time.sleep(0.005)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        fill(settings, "2026-08-02", users=4)
        _build_in_another_process(settings)
    finally:
        time.sleep(0.1)
        stop.set()
        reader.join()
    assert errors == []
    assert seen == {3, 7}


@pytest.mark.parametrize("seconds", [0.6, 3.0, 4.5, 6.0, 8.0])
def test_a_killed_build_leaves_what_was_published(settings: Settings, seconds: float) -> None:
    fill(settings)
    build_and_publish(settings)
    before = snapshot(settings)
    fill(settings, "2026-08-02", users=4)
    process = _start_build(settings)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert snapshot(settings) in (before, _after(settings))
    _build_in_another_process(settings)
    assert query(settings, "select count(*) from marts.fct_sessions") == [(7,)]
    assert plan_build(settings).reasons == []


def _after(settings: Settings) -> dict[str, list[tuple[object, ...]]]:
    """What is published, if the killed build had got as far as publishing it."""
    published = snapshot(settings)
    return published if len(published["marts.fct_sessions"]) == 7 else {}


_BUILD = """
from tests.dbt_runner import build_and_publish
from warehouse.settings import Settings
build_and_publish(Settings(home={home!r}, property_timezone="UTC"))
"""


def _start_build(settings: Settings) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _BUILD.format(home=str(settings.home))],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _build_in_another_process(settings: Settings) -> None:
    assert _start_build(settings).wait(timeout=120) == 0
