"""A day that is missing is one incident, from when it is noticed until it has arrived."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb
import pytest
from alert_warehouse import ShopDay, date_of, publish

from alerts.incidents.check import check_rules
from alerts.incidents.sending import deliver_outbox
from alerts.incidents.store import read_incidents
from alerts.state import open_alerts
from foundation.settings import Settings

RULES = """
rules:
  - name: data_missing
    kind: data_missing
    title: Data missing
    description: A day is missing, but later ones have come.
    severity: warning
    owner: data team
    runbook: docs/runbooks/data_missing.md
"""


@pytest.fixture
def settings(make_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES, encoding="utf-8")
    return make_settings(alert_rules=rules)


def check(settings: Settings, loads: Iterable[tuple[int, int]], day: int) -> None:
    """Check at noon of `day`, when the days of `loads` have come, each at seven of another day."""
    publish(settings, [ShopDay()] * day)
    with duckdb.connect(str(settings.published_path)) as warehouse:
        warehouse.execute(
            "create schema ops; create table ops.ingest_ledger (event_date date, kind varchar, loaded_at timestamp)"
        )
        for index, loaded in loads:
            moment = dt.datetime.combine(date_of(loaded), dt.time(7))
            warehouse.execute("insert into ops.ingest_ledger values (?, 'daily', ?)", [date_of(index), moment])
    as_of = dt.datetime.combine(date_of(day), dt.time(12), tzinfo=dt.UTC)
    check_rules(settings, run_id=f"run-{day}", as_of=as_of)


def lives(settings: Settings) -> list[tuple[str, str]]:
    with open_alerts(settings) as state:
        found = sorted(read_incidents(state), key=lambda each: each.incident_id)
    return [(str(each.dimension_value), each.status) for each in found]


def test_two_missing_days_are_two_incidents_each_open_until_its_day_has_come(settings: Settings) -> None:
    all_but_two = [(index, index + 1) for index in range(20) if index not in (12, 15)]
    twelve, fifteen = date_of(12).isoformat(), date_of(15).isoformat()
    check(settings, all_but_two, 21)
    assert lives(settings) == [(twelve, "open"), (fifteen, "open")]
    deliver_outbox(settings)
    # it stays so, whatever else comes, for as long as it takes
    check(settings, [*all_but_two, *((index, index + 1) for index in range(20, 70))], 71)
    assert lives(settings) == [(twelve, "open"), (fifteen, "open")]
    check(settings, [*all_but_two, *((index, index + 1) for index in range(20, 72)), (15, 72)], 73)
    assert lives(settings) == [(twelve, "open"), (fifteen, "resolved")]
    deliver_outbox(settings)
    said = "\n".join(path.read_text(encoding="utf-8") for path in sorted(settings.alerts_dir.rglob("reply-*.txt")))
    assert said == f"✅ Data missing, {fifteen} is over: {fifteen} has arrived.\n"
    check(settings, [*all_but_two, *((index, index + 1) for index in range(20, 72)), (15, 72)], 75)
    assert lives(settings) == [(twelve, "open"), (fifteen, "resolved")]
