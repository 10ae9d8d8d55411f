"""A model that is refused and files that can't be loaded are incidents for as long as they are."""

from __future__ import annotations

import datetime as dt

import duckdb
import pytest
from alert_warehouse import ShopDay, date_of, publish

from alerts.incidents.check import check_rules
from alerts.incidents.sending import deliver_outbox
from alerts.incidents.store import read_incidents
from alerts.state import open_alerts
from foundation.settings import Settings
from foundation.state import open_state

DAYS = 30


@pytest.fixture(autouse=True)
def shop(settings: Settings) -> None:
    publish(settings, [ShopDay()] * DAYS)
    with open_state(settings) as state:
        state.execute("create table quarantined_files (file_name, reason, what_to_do, resolved_at)")


def check(settings: Settings, run_id: str) -> list[tuple[str, str]]:
    check_rules(settings, run_id=run_id, as_of=dt.datetime.combine(date_of(DAYS), dt.time(12), tzinfo=dt.UTC))
    deliver_outbox(settings)
    with open_alerts(settings) as state:
        return [(each.kind, each.status) for each in read_incidents(state)]


def read_message(settings: Settings, kind: str) -> str:
    [path] = settings.alerts_dir.glob(f"{kind}-*/message.txt")
    return path.read_text(encoding="utf-8")


def count_told(settings: Settings) -> int:
    with open_alerts(settings) as state:
        return int(state.execute("select count(*) from alert_outbox where event <> 'opened'").fetchone()[0])


def refuse(settings: Settings, *rows: tuple[str, str]) -> None:
    with duckdb.connect(str(settings.published_path)) as warehouse:
        warehouse.execute("create schema if not exists ops")
        warehouse.execute("create or replace table ops.refused_models (model varchar, version varchar, reason varchar)")
        for name, reason in rows:
            warehouse.execute("insert into ops.refused_models values (?, null, ?)", [name, reason])


def test_a_refused_model_is_told_once_and_over_when_it_scores_again(settings: Settings) -> None:
    refuse(settings, ("propensity_full", "its sha256 differs"))
    assert check(settings, "first") == [("refused_model", "open")]
    message = read_message(settings, "model")
    assert "The model propensity_full is not used: its scores are empty" in message
    assert "its sha256 differs" in message and "docs/runbooks/refused_model.md" in message
    assert check(settings, "second") == [("refused_model", "open")] and count_told(settings) == 0
    refuse(settings)
    assert check(settings, "third") == [("refused_model", "resolved")]


def test_unreadable_files_are_one_incident_that_tells_each_change(settings: Settings) -> None:
    def report(*names: str) -> None:
        with open_state(settings) as state:
            state.execute("delete from quarantined_files")
            state.executemany(
                "insert into quarantined_files values (?, 'is cut off', 'copy it again', null)", [(n,) for n in names]
            )
            state.execute("insert into quarantined_files values ('old.json', 'was cut off', '', '2026-08-01')")

    report("events_20260801.parquet")
    assert check(settings, "first") == [("unreadable_file", "open")]
    assert "events_20260801.parquet: is cut off; copy it again" in read_message(settings, "files")
    assert check(settings, "second") == [("unreadable_file", "open")] and count_told(settings) == 0
    report("events_20260801.parquet", "events_20260802.parquet")
    assert check(settings, "third") == [("unreadable_file", "open")] and count_told(settings) > 0
    assert "2 file(s)" in read_message(settings, "files") and "old.json" not in read_message(settings, "files")
    report()
    assert check(settings, "fourth") == [("unreadable_file", "resolved")]
