"""Write, audit, publish: readers never wait, and a killed run leaves what was published."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

from foundation.connect import open_build, open_published
from foundation.errors import NothingPublishedError
from foundation.settings import Settings
from foundation.state import open_state
from tests.dbt_runner import build_and_publish, query, snapshot
from tests.lake_writer import make_event, remove_day, write_day
from warehouse.fingerprint import project_fingerprint
from warehouse.transaction import (
    PublicationError,
    begin,
    begin_scores,
    is_about_scores,
    plan_build,
    publish,
    read_refused_models,
    read_used_models,
    record_champions,
    request_full_rebuild,
    unused_models,
)

PROJECT = Path(__file__).resolve().parents[2]
VERSION = "20260801T090000Z-0123abcd"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three sessions published: built once, copied by each test that starts from it."""
    home = tmp_path_factory.mktemp("template") / "home"
    settings = Settings(home=home, property_timezone="UTC")
    fill(settings)
    build_and_publish(settings)
    return home


@pytest.fixture
def published(settings: Settings, template: Path) -> Settings:
    """Settings over a copy of the template."""
    shutil.copytree(template, settings.home)
    return settings


def fill(settings: Settings, date: str = "2026-08-01", users: int = 3) -> None:
    """A day with one session of one event per user."""
    session = int(date.replace("-", ""))
    events = [make_event("page_view", f"{date}T10:00:00", user=f"u{n}", session=session) for n in range(users)]
    write_day(settings, date, events)


def test_a_full_rebuild_is_asked_for_until_one_is_published(published: Settings) -> None:
    assert plan_build(published).reasons == []
    request_full_rebuild(published)
    plan = plan_build(published)
    assert (plan.is_full_rebuild, plan.reasons) == (True, ["a full rebuild was asked for"])
    begin(published, run_id="killed before it published")
    assert plan_build(published).is_full_rebuild
    begin(published, run_id="second")
    request_full_rebuild(published)
    publish(published, run_id="second")
    # asked for while that one was being made: it may have begun too early
    assert (published.home / "rebuild.requested").exists()
    begin(published, run_id="third", full_rebuild=True)
    publish(published, run_id="third")
    assert not (published.home / "rebuild.requested").exists()


def test_nothing_published_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(NothingPublishedError, match="make run"), open_published(settings):
        pass


def test_an_empty_lake_needs_no_build(settings: Settings) -> None:
    assert plan_build(settings).reasons == []


def test_the_plan_names_what_has_changed(published: Settings) -> None:
    assert plan_build(published).reasons == []
    fill(published, "2026-08-01", users=4)
    fill(published, "2026-08-03")
    plan = plan_build(published)
    assert plan.touched_dates == ["2026-08-01", "2026-08-03"]
    assert not plan.is_full_rebuild
    build_and_publish(published)
    assert plan_build(published).reasons == []
    assert query(published, "select count(*) from marts.fct_sessions") == [(7,)]
    remove_day(published, "2026-08-01")
    assert plan_build(published).touched_dates == ["2026-08-01"]


def test_a_provisional_day_that_has_become_complete_is_a_reason(settings: Settings) -> None:
    today = dt.datetime.now(dt.UTC).date()
    fill(settings, (today - dt.timedelta(days=1)).isoformat())
    build_and_publish(settings)
    assert query(settings, "select is_provisional from marts.agg_kpis_daily") == [(True,)]
    assert plan_build(settings).reasons == []
    later = dt.datetime.combine(today + dt.timedelta(days=3), dt.time(), tzinfo=dt.UTC)
    assert plan_build(settings, now=later - dt.timedelta(seconds=1)).reasons == []
    assert plan_build(settings, now=later).reasons == ["1 provisional days have become complete"]


def test_a_day_that_a_clock_ahead_has_called_complete_is_a_reason(published: Settings) -> None:
    last_hour = dt.datetime(2026, 8, 4, 23, 59, tzinfo=dt.UTC)
    assert plan_build(published, now=last_hour).reasons == [
        "1 days were called complete too early: the clock was ahead"
    ]
    assert plan_build(published, now=last_hour + dt.timedelta(minutes=1)).reasons == []


def test_a_changed_setting_means_a_full_rebuild(published: Settings) -> None:
    changed = published.model_copy(update={"property_timezone": "Europe/Berlin"})
    assert project_fingerprint(changed) != project_fingerprint(published)
    plan = plan_build(changed)
    assert (plan.is_full_rebuild, plan.keeps_staging, plan.touched_dates) == (True, True, [])
    plan = plan_build(published.model_copy(update={"release_parameter": "build"}))
    assert (plan.is_full_rebuild, plan.keeps_staging, plan.touched_dates) == (True, False, ["2026-08-01"])


def test_another_champion_is_a_reason_and_an_unused_one_is_named(published: Settings) -> None:
    assert unused_models(published, ["segments"]) == ["segments"]
    champion = published.models_dir / "segments" / "champion.json"
    champion.parent.mkdir(parents=True)
    champion.write_text(json.dumps({"version": VERSION}), encoding="utf-8")
    assert plan_build(published).reasons == ["the champion models have changed"]
    assert unused_models(published, ["segments"]) == ["segments"]
    begin(published, run_id="scored")
    record_champions(published, seen={"segments": VERSION}, used={}, refused={"segments": "its file has changed"})
    publish(published, run_id="scored")
    with open_published(published) as connection:
        assert read_used_models(connection) == {}
        assert read_refused_models(connection) == {"segments": "its file has changed"}
    # seen and refused: no reason to build again and again, and one to train
    assert plan_build(published).reasons == []
    assert unused_models(published, ["segments"]) == ["segments"]
    begin(published, run_id="scored again")
    record_champions(published, seen={"segments": VERSION}, used={"segments": VERSION}, refused={})
    publish(published, run_id="scored again")
    assert plan_build(published).reasons == []
    assert unused_models(published, ["segments", "other"]) == ["other"]
    with open_published(published) as connection:
        assert read_refused_models(connection) == {}
    # damaged since: a reason to build, without its scores, and to train
    champion.write_text("{", encoding="utf-8")
    assert plan_build(published).reasons == ["the champion models have changed"]
    assert unused_models(published, ["segments"]) == ["segments"]


def test_scores_alone_are_made_anew_on_the_marts_as_they_stand(published: Settings) -> None:
    reasons = ["the champion models have changed", "a training was asked for"]
    assert is_about_scores(reasons) and is_about_scores(reasons[:1])
    assert not is_about_scores([]) and not is_about_scores([*reasons, "1 days are new, rewritten or gone"])
    info = "select as_of, project_fingerprint from ops.build_info"
    before, made = snapshot(published), query(published, info)
    fill(published, "2026-08-02")  # comes while the scores are made: it waits for the next build
    published.build_path.parent.mkdir(exist_ok=True)
    published.build_path.write_bytes(b"left by a run that was killed")
    begin_scores(published, run_id="scores", reasons=reasons)
    record_champions(published, seen={}, used={}, refused={})
    publish(published, run_id="scores")
    assert snapshot(published) == before
    assert query(published, info) == made
    assert query(published, "select run_id, reasons from ops.build_info") == [("scores", reasons)]
    assert query(published, "select count(*) from ops.touched_dates") == [(0,)]
    assert plan_build(published).touched_dates == ["2026-08-02"]


def test_publish_belongs_to_the_run_that_built(published: Settings) -> None:
    begin(published, run_id="mine")
    with pytest.raises(PublicationError, match="belongs to run 'mine'"):
        publish(published, run_id="other")
    assert publish(published, run_id="mine")
    # a retried task finds that its run has published
    assert not publish(published, run_id="mine")
    with pytest.raises(PublicationError, match="run the build again"):
        publish(published, run_id="other")


def test_state_is_copied_into_ops_at_begin_and_at_publication(published: Settings) -> None:
    with open_state(published) as state:
        state.execute("create table notes (id integer, text text, value real)")
        state.execute("insert into notes values (1, 'it''s', 0.5), (2, null, null)")
    begin(published, run_id="with notes")
    with open_build(published) as connection:
        rows = connection.execute("select * from ops.notes order by id").fetchall()
    assert rows == [(1, "it's", 0.5), (2, None, None)]
    with open_state(published) as state:
        state.execute("insert into notes values (3, 'late', 1)")
    publish(published, run_id="with notes")
    assert query(published, "select text from ops.notes order by id") == [("it's",), (None,), ("late",)]


def test_a_failed_state_transaction_leaves_nothing(settings: Settings) -> None:
    with pytest.raises(ZeroDivisionError), open_state(settings) as state:
        state.execute("create table notes (id integer)")
        raise ZeroDivisionError
    with open_state(settings) as state:
        assert state.execute("select count(*) from sqlite_master").fetchone()[0] == 0


def test_begin_throws_away_what_a_killed_run_left(published: Settings) -> None:
    begin(published, run_id="killed")
    with open_build(published) as connection:
        connection.execute("drop table marts.dim_users")
    published.build_path.with_name(published.build_path.name + ".wal").write_bytes(b"rubbish")
    begin(published, run_id="next")
    with open_build(published) as connection:
        assert connection.execute("select count(*) from marts.fct_sessions").fetchall() == [(3,)]


def test_readers_read_all_through_a_run(published: Settings) -> None:
    seen: set[int] = set()
    errors: list[Exception] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add(int(query(published, "select count(*) from marts.fct_sessions")[0][0]))
            except duckdb.Error as error:  # collected for the assertion below
                errors.append(error)
            time.sleep(0.05)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        fill(published, "2026-08-02", users=4)
        _build_in_another_process(published)
    finally:
        time.sleep(0.1)
        stop.set()
        reader.join()
    assert errors == []
    assert seen == {3, 7}


def test_killed_builds_leave_what_was_published_and_the_next_one_completes(published: Settings) -> None:
    before = snapshot(published)
    fill(published, "2026-08-02", users=4)
    killed = 0
    # from before the copy of the published file to the middle of dbt's models, wherever this machine is by then
    for seconds in (0.3, 1.5, 4.0, 7.0):
        process = _start_build(published)
        time.sleep(seconds)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        if len(snapshot(published)["intermediate.int_session_facts"]) == 3:
            assert snapshot(published) == before
    assert killed >= 2
    _build_in_another_process(published)
    assert query(published, "select count(*) from marts.fct_sessions") == [(7,)]
    assert plan_build(published).reasons == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_around_the_rename_is_made_good_by_the_retry(published: Settings, moment: str) -> None:
    """Killed just before or just after the published file is replaced: the retried publication ends the same way."""
    request_full_rebuild(published)
    _begin_and_answer(published, run_id="r")
    with open_build(published) as connection:
        connection.execute("create table marts.new_table as select 1 as one")
    process = subprocess.run(
        [sys.executable, "-c", _PUBLISH_AND_DIE, str(published.home), moment], cwd=PROJECT, check=False
    )
    assert process.returncode == -signal.SIGKILL
    assert query(published, "select count(*) from marts.fct_sessions") == [(3,)]
    assert (published.home / "rebuild.requested").exists()
    assert publish(published, run_id="r") is (moment == "before")
    # the retry also does what the killed one had left to do
    assert not (published.home / "rebuild.requested").exists()
    assert query(published, "select one from marts.new_table") == [(1,)]


def _begin_and_answer(settings: Settings, *, run_id: str) -> None:
    """A build that answers the request for a full rebuild, made as if by dbt: of what was published."""
    with open_published(settings) as connection:
        (sessions,) = connection.execute("select count(*) from marts.fct_sessions").fetchall()
    begin(settings, run_id=run_id)
    with open_build(settings) as connection:
        connection.execute("create table marts.fct_sessions as select unnest(range(?)) as session", sessions)


# The operating system's own rename is wrapped so that the process dies at a known point of it.
_PUBLISH_AND_DIE = """
import os, pathlib, signal, sys
from foundation.settings import Settings
from warehouse.transaction import publish
home, moment = sys.argv[1:]
settings = Settings(home=home, property_timezone="UTC")
replace = pathlib.Path.replace
def die_around(self, target):
    if target == settings.published_path and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(self, target)
    if target == settings.published_path:
        os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.replace = die_around
publish(settings, run_id="r")
"""

_BUILD = """
from tests.dbt_runner import build_and_publish
from foundation.settings import Settings
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
    assert _start_build(settings).wait(timeout=400) == 0
