"""The rules that are not about a KPI: data late or missing, validation failed, model drift."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import duckdb
import numpy as np

from alerts.detection.panel import list_columns
from alerts.detection.verdicts import Check, Figures, Verdict, make_fingerprint
from alerts.rules.book import Rule, RuleBook

# Whether days are late can be told only of a source that delivers: of the newest days, so many must have come on
# time, in as many different loads. A history that was loaded at once says nothing about when its days arrived.
CADENCE_DAYS = 14
FEWEST_LOADS = 3
# GA4 rewrites a day for up to three days, and the ledger keeps the newest version's time.
REWRITE_HOURS = 72.0
# What the rule `model_drift` reads: a row per model, measure and measurement; `measured_at` in UTC.
DRIFT_COLUMNS = ("model", "measure", "value", "is_drifted", "measured_at")


def check_data(
    warehouse: duckdb.DuckDBPyConnection,
    book: RuleBook,
    rule: Rule,
    *,
    as_of: dt.datetime,
    excluded: Mapping[str, set[dt.date]],
    since: dt.date | None,
) -> list[Check]:
    """The checks of one rule of a kind other than `kpi`; `as_of` is the present in the property's time zone.

    `excluded` gives, per fingerprint, the dates that are known to belong to incidents.
    """
    if rule.kind == "data_late":
        return [_check_lateness(warehouse, rule, as_of)]
    if rule.kind == "data_missing":
        return _check_gaps(warehouse, book, rule, as_of, excluded, since)
    if rule.kind == "validation_failed":
        return _check_validation(warehouse, rule, as_of)
    return _check_drift(warehouse, rule, as_of)


def _check_lateness(warehouse: duckdb.DuckDBPyConnection, rule: Rule, as_of: dt.datetime) -> Check:
    """Hours since the newest day that has come ended, against those it usually takes; dated by the day of `as_of`."""
    today = as_of.date()
    if not list_columns(warehouse, "ops.ingest_ledger"):
        return _make_check(rule, today, "untested", "there is no ops.ingest_ledger")
    rows = warehouse.execute(
        "select event_date, max(loaded_at) from ops.ingest_ledger group by event_date order by event_date"
    ).fetchall()
    if not rows:
        return _make_check(rule, today, "untested", "no day has been loaded")
    newest = rows[-1][0]
    waiting = _hours_since_end(newest, as_of)
    recent = [
        (date, _hours_since_end(date, _localise(loaded_at, as_of)), loaded_at)
        for date, loaded_at in rows[-CADENCE_DAYS:]
    ]
    prompt = [(delay, loaded_at) for _, delay, loaded_at in recent if delay <= rule.expected_by_hours + REWRITE_HOURS]
    loads = len({loaded_at.date() for _, loaded_at in prompt})
    if loads < FEWEST_LOADS:
        reason = (
            f"the source's rhythm is unknown: of its newest {len(recent)} days, those that arrived within "
            f"{rule.expected_by_hours + REWRITE_HOURS:g} hours arrived in {loads} loads ({FEWEST_LOADS} needed)"
        )
        return _make_check(rule, today, "untested", reason, observed=waiting, volume=len(rows))
    usual = float(np.median([max(0.0, delay) for delay, _ in prompt]))
    # A day cannot be late before it has ended: the next one is due `expected_by_hours` after its own end.
    limit = rule.expected_by_hours + 24
    is_late = waiting > limit
    day = newest + dt.timedelta(days=1)
    reason = (
        f"{day} has not arrived {waiting - 24:.0f} hours after its end (expected within {rule.expected_by_hours:g})"
        if is_late
        else f"the newest day is {newest}"
    )
    return _make_check(
        rule,
        today,
        "breach" if is_late else "normal",
        reason,
        observed=waiting,
        expected=min(usual + 24, limit),
        band_high=limit,
        volume=len(rows),
    )


def _check_gaps(
    warehouse: duckdb.DuckDBPyConnection,
    book: RuleBook,
    rule: Rule,
    as_of: dt.datetime,
    excluded: Mapping[str, set[dt.date]],
    since: dt.date | None,
) -> list[Check]:
    """A breach for each day that is missing, or has only its intraday table, while a later one has come.

    Each is a series of its own, with a normal check, dated by the load, once the day has come.
    """
    if not list_columns(warehouse, "ops.ingest_ledger"):
        return [_make_check(rule, as_of.date(), "untested", "there is no ops.ingest_ledger")]
    ledger = warehouse.execute("select event_date, kind, loaded_at from ops.ingest_ledger").fetchall()
    if not ledger:
        return [_make_check(rule, as_of.date(), "untested", "no day has been loaded")]
    kinds = {date: kind for date, kind, _ in ledger}
    newest_daily = max((date for date, kind in kinds.items() if kind == "daily"), default=dt.date.min)
    # Google makes no daily table where a property has more events than the export's limit
    loads = {date: loaded_at for date, kind, loaded_at in ledger if kind != "intraday" or date > newest_daily}
    first, newest = min(kinds), max(kinds)
    since = since or newest - dt.timedelta(days=book.check_last_days)
    due = [
        date
        for date in (first + dt.timedelta(days=offset) for offset in range((newest - first).days + 1))
        if date >= since and _hours_since_end(date, as_of) > rule.expected_by_hours
    ]
    checks = []
    for date in due:
        if date not in loads:
            reason = (
                f"{date} has only its intraday table, which is not final, but {newest_daily} has its daily one"
                if date in kinds
                else f"{date} is missing, but {newest} has arrived"
            )
            found = {"observed": 1.0, "expected": 0.0, "band_high": 0.0, "volume": 1.0}
            checks.append(_make_check(rule, date, "breach", reason, label=("date", date.isoformat()), **found))
    for date, loaded_at in loads.items():
        label = ("date", date.isoformat())
        if excluded.get(make_fingerprint(rule.name, *label, "above")):
            loaded_on = max(_localise(loaded_at, as_of).date(), date + dt.timedelta(days=1))
            checks.append(_make_check(rule, loaded_on, "normal", f"{date} has arrived", label=label, observed=0.0))
    if due:
        said = f"{len(due) - len(set(due) - loads.keys())} of {len(due)} days have arrived"
        checks.append(_make_check(rule, due[-1], "normal", said, volume=len(due)))
    return checks


def _check_validation(warehouse: duckdb.DuckDBPyConnection, rule: Rule, as_of: dt.datetime) -> list[Check]:
    """Failed expectations in the newest result of each suite, dated by the newest of these results."""
    if not list_columns(warehouse, "ops.validation_results"):
        return [_make_check(rule, as_of.date(), "untested", "there is no ops.validation_results")]
    # The text carries its offset, and DuckDB's cast turns it into UTC whatever the session's zone is.
    rows = warehouse.execute(
        """
        select suite, expectation, success, cast(validated_at as timestamp)
        from ops.validation_results
        where severity = 'fail'
        qualify validated_at = max(validated_at) over (partition by suite)
        order by suite, expectation
        """
    ).fetchall()
    if not rows:
        return [_make_check(rule, as_of.date(), "untested", "nothing has been validated")]
    failed = [f"{suite}: {expectation}" for suite, expectation, success, _ in rows if not success]
    date = _localise(max(row[3] for row in rows), as_of).date()
    reason = f"failed: {', '.join(failed[:5])}{' …' if len(failed) > 5 else ''}" if failed else "all passed"
    return [
        _make_check(
            rule,
            date,
            "breach" if failed else "normal",
            reason,
            observed=float(len(failed)),
            expected=0.0,
            band_high=0.0,
            volume=len(rows),
        )
    ]


def _check_drift(warehouse: duckdb.DuckDBPyConnection, rule: Rule, as_of: dt.datetime) -> list[Check]:
    """One check per model: its drifted measures in the newest measurement, dated by it."""
    columns = list_columns(warehouse, "ops.model_drift")
    if not columns:
        return [_make_check(rule, as_of.date(), "untested", "there is no ops.model_drift: drift is not measured")]
    if missing := [column for column in DRIFT_COLUMNS if column not in columns]:
        reason = f"ops.model_drift lacks {', '.join(missing)}"
        return [_make_check(rule, as_of.date(), "untested", reason)]
    rows = warehouse.execute(
        """
        select
            model,
            count(*),
            count(*) filter (where is_drifted),
            list(measure order by value desc, measure) filter (where is_drifted),
            max(cast(measured_at as timestamp))
        from (
            select * from ops.model_drift qualify measured_at = max(measured_at) over (partition by model)
        )
        group by model
        order by model
        """
    ).fetchall()
    if not rows:
        return [_make_check(rule, as_of.date(), "untested", "no model's drift has been measured")]
    checks = []
    for model, measures, drifted, names, measured_at in rows:
        reason = f"drifted: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}" if drifted else "no measure drifted"
        checks.append(
            _make_check(
                rule,
                _localise(measured_at, as_of).date(),
                "breach" if drifted else "normal",
                reason,
                observed=float(drifted),
                expected=0.0,
                band_high=0.0,
                volume=measures,
                label=("model", str(model)),
            )
        )
    return checks


def _make_check(
    rule: Rule,
    date: dt.date,
    verdict: Verdict,
    reason: str,
    *,
    observed: float | None = None,
    expected: float | None = None,
    band_high: float | None = None,
    volume: float = 0.0,
    label: tuple[str, str] | None = None,
) -> Check:
    return Check(
        rule=rule.name,
        kpi=rule.kpi,
        dimension=label[0] if label else None,
        dimension_value=label[1] if label else None,
        direction="above",
        date=date,
        period_days=1,
        verdict=verdict,
        severity=rule.severity,
        figures=Figures(observed=observed, expected=expected, band_high=band_high, volume=float(volume), reason=reason),
        baseline_days=0,
    )


def _hours_since_end(date: dt.date, moment: dt.datetime) -> float:
    end = dt.datetime.combine(date + dt.timedelta(days=1), dt.time(), moment.tzinfo)
    # in UTC: between two local times of one zone Python counts the hand of the clock, which jumps twice a year
    return (moment.astimezone(dt.UTC) - end.astimezone(dt.UTC)).total_seconds() / 3600


def _localise(utc: dt.datetime, as_of: dt.datetime) -> dt.datetime:
    return utc.replace(tzinfo=dt.UTC).astimezone(as_of.tzinfo)
