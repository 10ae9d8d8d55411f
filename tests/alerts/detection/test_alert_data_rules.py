"""Data late or missing, validation failed, model drift: what fires, and what is silent with its reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from zoneinfo import ZoneInfo

import duckdb
import pytest
from kpi_tables import date_of, make_book

from alerts.detection.evaluation import evaluate_rules
from alerts.detection.verdicts import Check
from alerts.rules.book import Rule

ZONE = ZoneInfo("America/Los_Angeles")


def make_rule(kind: str) -> Rule:
    values = {"name": kind, "kind": kind, "description": "d", "severity": "info", "owner": "o", "runbook": "r"}
    return Rule.model_validate(values)


def at(index: int, hour: int = 12) -> dt.datetime:
    """A moment in the property's zone on the day at `index`."""
    return dt.datetime.combine(date_of(index), dt.time(hour), ZONE)


def check(
    warehouse: duckdb.DuckDBPyConnection,
    kind: str,
    as_of: dt.datetime,
    *,
    excluded: dict[str, set[dt.date]] | None = None,
) -> list[Check]:
    return evaluate_rules(warehouse, make_book(make_rule(kind)), as_of=as_of, excluded=excluded or {})


def write_ledger(loads: dict[int, dt.datetime], *, intraday: Collection[int] = ()) -> duckdb.DuckDBPyConnection:
    warehouse = duckdb.connect()
    warehouse.execute(
        "create schema ops; create table ops.ingest_ledger (event_date date, kind varchar, loaded_at timestamp)"
    )
    for index, loaded_at in loads.items():
        utc = loaded_at.astimezone(dt.UTC).replace(tzinfo=None)
        kind = "intraday" if index in intraday else "daily"
        warehouse.execute("insert into ops.ingest_ledger values (?, ?, ?)", [date_of(index), kind, utc])
    return warehouse


def each_morning(days: int) -> dict[int, dt.datetime]:
    """Every day comes at seven the morning after."""
    return {index: at(index + 1, 7) for index in range(days)}


@pytest.mark.parametrize(
    ("as_of", "verdict", "hours"),
    [
        (at(20, 8), "normal", 8),  # day 19 arrived an hour ago
        (at(21, 20), "normal", 44),  # day 20 ended 20 hours ago
        (at(22, 11), "normal", 59),  # 35 hours ago
        (at(22, 13), "breach", 61),  # 37 hours ago: later than the 36 it may take
        (at(30, 0), "breach", 240),
    ],
)
def test_a_source_that_stopped_delivering_is_late(as_of: dt.datetime, verdict: str, hours: float) -> None:
    [found] = check(write_ledger(each_morning(20)), "data_late", as_of)
    assert (found.verdict, found.figures.observed, found.figures.band_high, found.date) == (
        verdict,
        hours,
        60,
        as_of.date(),
    )
    assert found.figures.expected == pytest.approx(
        31
    )  # it usually comes seven hours after its end, the next one 24 later
    if verdict == "breach":
        assert found.figures.reason.startswith(f"{date_of(20)} has not arrived {hours - 24:.0f} hours after its end")


def test_a_history_loaded_at_once_says_nothing_of_when_its_days_came() -> None:
    [found] = check(write_ledger({index: at(21, 7) for index in range(20)}), "data_late", at(400))
    assert found.verdict == "untested" and "the source's rhythm is unknown" in found.figures.reason


def test_an_old_export_that_was_copied_day_by_day_is_not_late_by_years() -> None:
    old = {index: at(1_000 + index, 7) for index in range(20)}
    assert check(write_ledger(old), "data_late", at(1_100))[0].verdict == "untested"


def test_rewritten_days_still_count_as_on_time() -> None:
    # GA4 rewrote each of the newest days two days later, and the ledger knows the later version only.
    loads = {index: at(index + 3, 7) for index in range(18)}
    assert check(write_ledger(loads), "data_late", at(30))[0].verdict == "breach"


def test_each_missing_day_is_a_problem_of_its_own_and_what_has_not_come_yet_is_none() -> None:
    loads = each_morning(20)
    del loads[15], loads[12]
    found = check(write_ledger(loads), "data_missing", at(21))
    assert [(each.date, each.fingerprint, each.figures.reason) for each in found if each.verdict == "breach"] == [
        (date, f"data_missing|date={date}|above", f"{date} is missing, but {date_of(19)} has arrived")
        for date in (date_of(12), date_of(15))
    ]
    # day 19 is due just now
    [rest] = [each for each in found if each.verdict == "normal"]
    assert (rest.date, rest.figures.reason) == (date_of(18), "12 of 14 days have arrived")


def test_a_missing_day_that_has_come_is_normal_from_its_load_on() -> None:
    loads = {**each_morning(20), 15: at(25, 7)}
    fingerprint = f"data_missing|date={date_of(15)}|above"
    known = {fingerprint: {date_of(15)}, f"data_missing|date={date_of(12)}|above": set()}
    found = check(write_ledger(loads), "data_missing", at(40), excluded=known)
    [ended] = [each for each in found if each.fingerprint == fingerprint]
    assert (ended.verdict, ended.date, ended.figures.reason) == ("normal", date_of(25), f"{date_of(15)} has arrived")
    assert [each.dimension for each in found] == [None, "date"]


def test_a_day_with_its_intraday_table_alone_is_told_once_a_later_day_has_its_daily_one() -> None:
    # of days 18 and 20 the daily table has not come: day 20 is the newest, and its own may still come
    warehouse = write_ledger(each_morning(21), intraday=(18, 20))
    found = check(warehouse, "data_missing", at(22))
    assert [(each.date, each.figures.reason) for each in found if each.verdict == "breach"] == [
        (
            date_of(18),
            f"{date_of(18)} has only its intraday table, which is not final, but {date_of(19)} has its daily one",
        )
    ]
    fingerprint = f"data_missing|date={date_of(18)}|above"
    found = check(write_ledger(each_morning(21)), "data_missing", at(22), excluded={fingerprint: {date_of(18)}})
    assert [each.verdict for each in found if each.fingerprint == fingerprint] == ["normal"]
    # a property that streams and has no daily tables at all
    assert all(
        each.verdict == "normal"
        for each in check(write_ledger(each_morning(21), intraday=range(21)), "data_missing", at(22))
    )


def test_a_gap_of_yesterday_may_still_be_filled() -> None:
    loads = {**each_morning(18), 19: at(20, 7)}
    assert all(each.verdict == "normal" for each in check(write_ledger(loads), "data_missing", at(20, 8)))
    assert [each.date for each in check(write_ledger(loads), "data_missing", at(21)) if each.verdict == "breach"] == [
        date_of(18)
    ]


def write_validation(rows: list[tuple[str, str, str, int, str]]) -> duckdb.DuckDBPyConnection:
    warehouse = duckdb.connect()
    warehouse.execute(
        "create schema ops; create table ops.validation_results "
        "(suite varchar, expectation varchar, severity varchar, success bigint, validated_at varchar)"
    )
    warehouse.executemany("insert into ops.validation_results values (?, ?, ?, ?, ?)", rows)
    return warehouse


def test_the_newest_failed_expectation_of_a_suite_breaches() -> None:
    rows = [
        ("marts", "unique_sessions", "fail", 0, "2026-06-10T14:00:00+00:00"),
        ("marts", "unique_sessions", "fail", 1, "2026-06-11T14:00:00+00:00"),
        ("landing", "has_events", "fail", 0, "2026-06-11T06:00:00+00:00"),
        ("landing", "few_nulls", "warn", 0, "2026-06-11T06:00:00+00:00"),
    ]
    [found] = check(write_validation(rows), "validation_failed", at(30))
    assert (found.verdict, found.figures.observed, found.figures.reason) == (
        "breach",
        1.0,
        "failed: landing: has_events",
    )
    assert found.date == dt.date(2026, 6, 11)
    late = ("marts", "unique_sessions", "fail", 0, "2026-06-12T03:00:00+00:00")
    warehouse = write_validation([late])
    warehouse.execute("set timezone = 'Asia/Tokyo'")
    assert check(warehouse, "validation_failed", at(30))[0].date == dt.date(2026, 6, 11)  # eight in the evening there
    [found] = check(write_validation([*rows[:2], *rows[3:]]), "validation_failed", at(30))
    assert (found.verdict, found.figures.reason) == ("normal", "all passed")


@pytest.mark.parametrize(
    ("newest", "as_of", "hours"),
    [
        (dt.date(2026, 3, 7), dt.datetime(2026, 3, 9, 12, tzinfo=ZONE), 35),  # the 8th had 23 hours
        (dt.date(2026, 10, 31), dt.datetime(2026, 11, 2, 12, tzinfo=ZONE), 37),  # the 1st had 25
    ],
)
def test_hours_are_counted_as_they_pass_when_the_clocks_change(
    newest: dt.date, as_of: dt.datetime, hours: float
) -> None:
    warehouse = duckdb.connect()
    warehouse.execute(
        "create schema ops; create table ops.ingest_ledger (event_date date, kind varchar, loaded_at timestamp)"
    )
    warehouse.execute("insert into ops.ingest_ledger values (?, 'daily', now()::timestamp)", [newest])
    [found] = check(warehouse, "data_late", as_of)
    assert found.figures.observed == hours


def test_drift_is_read_per_model_and_its_newest_measurement() -> None:
    warehouse = duckdb.connect()
    warehouse.execute(
        "create schema ops; create table ops.model_drift "
        "(model varchar, measure varchar, value double, is_drifted boolean, measured_at timestamp)"
    )
    warehouse.execute(
        """
        insert into ops.model_drift values
            ('propensity', 'psi:country', .3, true, '2026-06-10 12:00'),
            ('propensity', 'psi:device', .05, false, '2026-06-10 12:00'),
            ('propensity', 'base_rate', .5, true, '2026-06-10 12:00'),
            ('segments', 'psi:device', .9, true, '2026-06-03 12:00'),
            ('segments', 'psi:device', .01, false, '2026-06-10 12:00')
        """
    )
    found = {each.dimension_value: each for each in check(warehouse, "model_drift", at(30))}
    assert (
        found["propensity"].verdict == "breach"
        and found["propensity"].figures.reason == "drifted: base_rate, psi:country"
    )
    assert found["propensity"].fingerprint == "model_drift|model=propensity|above"
    assert found["segments"].verdict == "normal"


@pytest.mark.parametrize("kind", ["data_late", "data_missing", "validation_failed", "model_drift"])
def test_what_cannot_be_tested_is_silent_and_says_why(kind: str) -> None:
    [found] = check(duckdb.connect(), kind, at(30))
    assert found.verdict == "untested" and "there is no ops." in found.figures.reason
    warehouse = duckdb.connect()
    warehouse.execute(
        """
        create schema ops;
        create table ops.ingest_ledger (event_date date, kind varchar, loaded_at timestamp);
        create table ops.validation_results
            (suite varchar, expectation varchar, severity varchar, success bigint, validated_at varchar);
        create table ops.model_drift (model varchar, measured_at timestamp);
        """
    )
    [found] = check(warehouse, kind, at(30))
    assert found.verdict == "untested"
    assert found.figures.reason in (
        "no day has been loaded",
        "nothing has been validated",
        "ops.model_drift lacks measure, value, is_drifted",
    )
