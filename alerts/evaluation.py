"""Evaluates every rule on the published tables: one list of checks, days in order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import duckdb

from alerts.kpis import read_days
from alerts.rules import Rule, RuleBook
from alerts.verdicts import Check, check_day, make_fingerprint, select_baseline


def evaluate_rules(
    warehouse: duckdb.DuckDBPyConnection,
    book: RuleBook,
    *,
    as_of: dt.datetime,
    excluded: Mapping[str, set[dt.date]],
    since: dt.date | None = None,
) -> list[Check]:
    """Test the days from `since` on (default: the last `check_last_days` complete ones) against every rule.

    `as_of` is the present moment in the property's time zone. `excluded` gives, per fingerprint, the dates that are
    known to belong to incidents; they never enter a baseline. A pure function of the tables, the book and these.
    """
    checks: list[Check] = []
    for rule in book.rules:
        if rule.kind == "kpi":
            checks += _evaluate_kpi(warehouse, book, rule, excluded, since)
    return sorted(checks, key=lambda check: check.date)


def select_baseline_dates(
    warehouse: duckdb.DuckDBPyConnection, rule: Rule, dates: list[dt.date], excluded_dates: set[dt.date]
) -> list[dt.date]:
    """The dates an incident on `dates` is compared with: the trailing window before the first of them."""
    days = read_days(warehouse, rule)
    return [day.date for day in select_baseline(rule, days, min(dates), excluded_dates)]


def _evaluate_kpi(
    warehouse: duckdb.DuckDBPyConnection,
    book: RuleBook,
    rule: Rule,
    excluded: Mapping[str, set[dt.date]],
    since: dt.date | None,
) -> list[Check]:
    days = read_days(warehouse, rule)
    complete = [day for day in days if not day.is_provisional]
    tested = [day for day in complete if since is None or day.date >= since]
    if since is None:
        tested = tested[-book.check_last_days :]
    known = {date for way in rule.directions for date in excluded.get(make_fingerprint(rule.name, None, None, way), ())}
    checks = []
    for day in tested:
        for direction in rule.directions:
            result = check_day(rule, direction, day, select_baseline(rule, days, day.date, known))
            if result.verdict == "breach":
                known.add(day.date)
            checks.append(
                Check(
                    rule=rule.name,
                    kpi=rule.kpi,
                    dimension=None,
                    dimension_value=None,
                    direction=direction,
                    date=day.date,
                    period_days=1,
                    verdict=result.verdict,
                    severity=rule.severity,
                    reason=result.reason,
                    observed=result.observed,
                    expected=result.expected,
                    band_low=result.bound if direction == "below" else None,
                    band_high=result.bound if direction == "above" else None,
                    z=None,
                    volume=result.volume,
                    baseline_days=result.baseline_days,
                )
            )
    return checks
